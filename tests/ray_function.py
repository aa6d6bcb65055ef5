"""Functions that workers of a cluster import, and that tell what became of them there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import SecretStr

from lancedb_embedders import Batch, InputError, SbertEmbeddings, settings
from lancedb_embedders.stored import process_option, secret_option
from tests.counting import Counting, embedded_texts


class Risky(Counting, registry_name="risky"):
    """Refuses the text "refused", dies of the text "deadly", and logs what key it has.

    Parameters
    ----------
    api_key : SecretStr, optional
        Its hash goes to the log as well.
    """

    api_key: SecretStr | None = secret_option()

    def embed(self, batch: Batch) -> npt.NDArray[np.float32]:
        if "refused" in batch.inputs:
            raise InputError("a text is refused", batch.rows([batch.inputs.index("refused")]))
        if "deadly" in batch.inputs:
            os.kill(os.getpid(), signal.SIGKILL)
        log = self.process_options()["log"]
        if self.api_key is not None and log:
            note(log, hashed(self.api_key.get_secret_value()))
        return super().embed(batch)


class NotedSbert(SbertEmbeddings, registry_name="noted-sbert"):
    """The bundled model; each batch puts the number of threads into the log."""

    log: str | None = process_option()

    def embed(self, batch: Batch) -> Any:
        log = self.process_options()["log"]
        if log:
            note(log, f"{settings.threads} threads")
        return super().embed(batch)


def note(log: str, what: str) -> None:
    """Add a line to a log that several processes write to."""
    with Path(log).open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\t{what}\n")


def hashed(text: str) -> str:
    """Return a hash of a text."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


# -- calls, and what happens meanwhile ----------------------------------------------------------


def lines(log: Path) -> int:
    """Return how many texts a log of `Counting` has."""
    return sum(count.total() for count in embedded_texts(log).values())


class Meanwhile:
    """Does something in a thread once a log has so many texts; the block ends after it."""

    def __init__(self, log: Path, after: int, call: Callable[[], object]) -> None:
        self._ended = threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self._due = lambda: lines(log) >= after
        self._call = call

    def _run(self) -> None:
        while not self._due():
            assert not self._ended.wait(0.02), "the block ended before it was time"
        self._call()

    def __enter__(self) -> None:
        self._running = self._pool.submit(self._run)

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._running.result(60)


CALL = """
import sys, lancedb
from lancedb_embedders import tables
from tests.counting import Counting
function = Counting.create(log=sys.argv[2], wait=float(sys.argv[3]))
table = lancedb.connect(sys.argv[1]).open_table("t")
report = tables.attach(table, "text", "vector", function, engine="ray", workers=2,
                       checkpoint_rows=20)
print(report.embedded, report.resumed)
"""


def called(db: Any, log: Path, wait: float, **env: str) -> subprocess.Popen[str]:
    """Attach in a process of its own, that prints how many rows it embedded and found finished."""
    return subprocess.Popen(
        [sys.executable, "-c", CALL, db.uri, str(log), str(wait)],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
