"""Functions to measure whose figures are known, in a module that other processes can import."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lancedb_embedders import Batch, Embedder, SbertEmbeddings
from lancedb_embedders.stored import process_option
from tests.counting import vectors_for

#: Bytes that `Hungry` holds, and that processes under a limit may still take.
HELD = 300_000_000
ALLOWED = 400_000_000


class Logged(Embedder, registry_name="logged"):
    """Gives vectors at once, and notes process, role and number of texts of each call."""

    name: str = "logged"
    log: str | None = process_option()

    def ndims(self) -> int:
        return self.column_dims(16)

    def embed(self, batch: Batch) -> npt.NDArray[np.float32]:
        if self.log is not None:
            with Path(self.log).open("a") as file:
                file.write(f"{self.name} {os.getpid()} {batch.role} {len(batch.inputs)}\n")
        return vectors_for([str(text) for text in batch.inputs], dim=16)


class Hungry(Logged, registry_name="hungry"):
    """Holds a large array from its first text on."""

    def embed(self, batch: Batch) -> npt.NDArray[np.float32]:
        if "array" not in _HELD:
            _HELD["array"] = np.ones(HELD, dtype=np.uint8)
        return super().embed(batch)


class Failing(Logged, registry_name="failing-at-times"):
    """Fails in its second turn, in a way that is nobody's plan; or ends its process."""

    killed: bool = False

    def embed(self, batch: Batch) -> npt.NDArray[np.float32]:
        if batch.role == "document":
            _HELD["calls"] = _HELD.get("calls", 0) + 1
            if _HELD["calls"] == 3:  # once before the first turn
                if self.killed:
                    os.kill(os.getpid(), signal.SIGKILL)
                raise ZeroDivisionError("nobody's plan")
        return super().embed(batch)


class Stepped(Embedder, registry_name="stepped"):
    """Is fast from 512 tokens a batch on; above 1024 does what `fate` says."""

    name: str = "stepped"
    batch_tokens: int | None = process_option(ge=1)
    fate: str = "array"

    def ndims(self) -> int:
        return self.column_dims(16)

    def embed(self, batch: Batch) -> npt.NDArray[np.float32]:
        tokens = self.process_options()["batch_tokens"] or 256
        if tokens > 1500 and self.fate == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if tokens > 1500 and self.fate == "array":
            limit_memory()
            np.empty(2 * ALLOWED, dtype=np.uint8)
        if tokens > 1500 and self.fate == "defect":
            raise ZeroDivisionError("nobody's plan")
        time.sleep(0.02 if tokens >= 512 else 0.2)
        return vectors_for([str(text) for text in batch.inputs], dim=16)


class Cramped(SbertEmbeddings, registry_name="cramped"):
    """A model under a real limit of memory, set once it is loaded."""

    def embed(self, batch: Batch) -> Any:
        self.prepared_model(batch.role)
        super().embed(Batch(["a word"], np.zeros(1, dtype=np.intp), batch.role))
        limit_memory(ALLOWED // 2)
        return super().embed(batch)


_HELD: dict[str, Any] = {}


def limit_memory(allowed: int = ALLOWED) -> None:
    """Let this process take so many bytes more than now, and no more."""
    if "limited" not in _HELD:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + allowed
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        _HELD["limited"] = True
