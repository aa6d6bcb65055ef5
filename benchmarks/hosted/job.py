"""What a process is asked to do, and how it is started; nothing heavy is imported here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.hosted.server import KEY, ROOT
from benchmarks.topics.memory import peak

OURS = "cached-openai"
LANCEDB = "openai"
LANGCHAIN = "langchain"
NOBODY = "nobody"
MODEL = "text-embedding-3-small"


class WorkerError(RuntimeError):
    """A job failed; the message holds the end of what its process said."""


@dataclass(frozen=True)
class Job:
    """One run in a process of its own.

    Attributes
    ----------
    who : str
        `OURS`, `LANCEDB`, `LANGCHAIN` or `NOBODY`.
    what : str
        ``"add"``: add the texts to a new table; ``"embed"``: embed them, no table; ``"discard"``:
        ask for vectors and throw them away; ``"inspect"``: count what the table holds.
    url : str
        The server.
    folder : str
        Where the database is.
    store : str
        Folder of the cache.
    texts_file : str
        JSON.
    rows : int
        How many of the texts.
    batch : int
        Rows of a record batch; 0: all rows in one.
    """

    who: str
    what: str
    url: str
    folder: str
    store: str
    texts_file: str
    rows: int
    batch: int = 0

    def texts(self) -> list[str]:
        """Return the texts to embed."""
        found: list[str] = json.loads(Path(self.texts_file).read_text(encoding="utf-8"))
        return found[: self.rows]

    def dumps(self) -> str:
        """Return the job as JSON."""
        return json.dumps(asdict(self))


def start(job: Job, python: str = sys.executable, key: str = KEY) -> subprocess.Popen[str]:
    """Start the process of a job."""
    module = "langchain_worker" if job.who == LANGCHAIN else "worker"
    return subprocess.Popen(
        [python, "-m", f"benchmarks.hosted.{module}", job.dumps()],
        cwd=ROOT,
        env={**os.environ, "OPENAI_API_KEY": key, "LANCEDB_EMBEDDERS_CACHE_DIR": job.store},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(job: Job, python: str = sys.executable, key: str = KEY) -> dict[str, Any]:
    """Run a job and return what it found."""
    process = start(job, python, key)
    out, err = process.communicate()
    if process.returncode:
        raise WorkerError(f"{job.what} failed for {job.who}:\n{err[-2000:]}")
    return result_of(out)


def result_of(out: str) -> dict[str, Any]:
    """Read what a process found, which is the last line of what it wrote."""
    found: dict[str, Any] = json.loads(out.strip().rpartition("\n")[2])
    return found


def main(measure: Callable[[Job], dict[str, Any]]) -> None:
    """Be the process: do the job that the command line holds, and write what was found."""
    found = measure(Job(**json.loads(sys.argv[1])))
    sys.stdout.write(f"\n{json.dumps(found)}\n")


def measured(call: Callable[[], object]) -> dict[str, Any]:
    """Return seconds and CPU seconds of a call, and peak memory before and after it in MiB."""
    before = peak()
    cpu, started = time.process_time(), time.perf_counter()
    call()
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {"seconds": seconds, "cpu": cpu, "before": before, "peak": peak()}
