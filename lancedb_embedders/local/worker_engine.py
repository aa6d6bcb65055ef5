"""The engine of several devices: torch in a process for each, and batches to whichever is free."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from lancedb_embedders.errors import ConfigurationError, EmbeddingError
from lancedb_embedders.local.devices import threads_for
from lancedb_embedders.local.engine import ALIKE, EngineOptions, Role
from lancedb_embedders.local.tokens import Tokens
from lancedb_embedders.local.worker_messages import Loaded, pack
from lancedb_embedders.local.worker_process import WorkerDiedError, WorkerProcess
from lancedb_embedders.output import Float32

_logger = logging.getLogger(__name__)

# A batch that ends one process after the other is given up, before it has ended them all twice.
_TRIES = 3


class WorkerPool:
    """Processes, one a device; those that end are started again.

    Parameters
    ----------
    folder : pathlib.Path
        The model's folder.
    pooling : str, optional
        Pooling in place of the model's own.
    options : sequence of EngineOptions
        One a device.
    """

    def __init__(self, folder: Path, pooling: str | None, options: Sequence[EngineOptions]) -> None:
        self._starts = [partial(WorkerProcess, folder, pooling, own) for own in options]
        self.workers: list[WorkerProcess] = []
        self._started_again = [False] * len(options)
        self._is_closed = False
        self._owner = os.getpid()
        self._lock = threading.Lock()
        try:
            for start in self._starts:
                self.workers.append(start())
            loaded: list[Loaded] = [worker.loaded.result() for worker in self.workers]
            self.loaded = loaded[0]
        except BaseException:
            self.close()
            raise

    def run(self, method: str, *args: Any) -> Any:
        """Have something done by the process that has least to do.

        Raises
        ------
        EmbeddingError
            Processes end again and again.
        """
        for _ in range(_TRIES):
            place, worker = self._choose()
            try:
                value = worker.submit(method, *args).result()
            except WorkerDiedError as died:
                _logger.warning("%s; its work is done again", died)
                reason = died
            else:
                self._started_again[place] = False
                return value
        raise EmbeddingError(f"a batch ended {_TRIES} processes one after the other; {reason}")

    def close(self) -> None:
        """End all processes, unless this one is a fork of the one that started them."""
        if os.getpid() != self._owner:
            return
        with self._lock:
            self._is_closed = True
            for worker in self.workers:
                worker.stop()

    def _choose(self) -> tuple[int, WorkerProcess]:
        with self._lock:
            for place, worker in enumerate(self.workers):
                if worker.load is None and not (self._started_again[place] or self._is_closed):
                    self.workers[place] = self._starts[place]()
                    self._started_again[place] = True
            loads = [(worker.load, place) for place, worker in enumerate(self.workers)]
            living = [(load, place) for load, place in loads if load is not None]
            if not living:
                reason = self.workers[0].death()
                self._started_again = [False] * len(self.workers)  # the next call may try
                raise EmbeddingError(
                    f"no process is left that could embed, and none can be started; {reason}"
                )
            _, place = min(living)
            return place, self.workers[place]


class PoolEngine:
    """A model on several devices.

    Parameters
    ----------
    folder : pathlib.Path
        The model's folder.
    pooling : str, optional
        Pooling in place of the model's own.
    options : EngineOptions
        Precision, trust, threads.
    devices : list of str
        Where it runs, each in a process of its own.

    Raises
    ------
    EmbeddingError
        What loading raised in one of the processes.
    """

    def __init__(
        self, folder: Path, pooling: str | None, options: EngineOptions, devices: list[str]
    ) -> None:
        own = [
            replace(options, device=name, threads=threads_for(name, devices, options.threads))
            for name in devices
        ]
        self.pool = WorkerPool(folder, pooling, own)
        # Also at the end of the interpreter, where no one lets go of the engine before.
        weakref.finalize(self, self.pool.close)
        self._first_device = devices[0]
        self.facts = self.pool.loaded.facts
        self.batch_tokens = self.pool.loaded.batch_tokens
        self.tokenizer = self.pool.loaded.tokenizer
        self.likeness = ALIKE
        self.workers = 2 * len(devices)  # while one batch runs, the next is on its way

    @property
    def images(self) -> NoReturn:
        """Pictures are for one device."""
        raise ConfigurationError(
            f"pictures run on one device: take device={self._first_device!r} for them"
        )

    def tokenize(
        self, texts: Sequence[str], prompt: str, role: Role, max_length: int | None
    ) -> Tokens:
        """Put `prompt` before each text, tokenize, and cut to `max_length` tokens."""
        if self.tokenizer is not None:
            return self.tokenizer.encode([prompt + text for text in texts], max_length)
        tokens: Tokens = self.pool.run("tokenize", list(texts), prompt, role, max_length)
        return tokens

    def overhead(self, prompt: str) -> int:
        """Return how many tokens `prompt` and the special tokens take."""
        if self.tokenizer is not None:
            return self.tokenizer.overhead(prompt)
        return int(self.pool.run("overhead", prompt))

    def forward(self, items: Sequence[Any], prompt: str, role: Role) -> Float32:
        """Run one batch; returns float32, shape ``(len(items), dim)``."""
        return self._run("forward", pack(items), prompt, role)

    def forward_spans(
        self, items: Sequence[Any], spans: Sequence[npt.NDArray[np.int64]], prompt: str, role: Role
    ) -> Float32:
        """Run one batch, pool each span of tokens; returns float32, shape ``(spans, dim)``."""
        return self._run("forward_spans", pack(items), list(spans), prompt, role)

    def _run(self, *request: Any) -> Float32:
        vectors, batch_tokens = self.pool.run(*request)
        # A worker that ran out of memory takes less from then on.
        self.batch_tokens = min(self.batch_tokens, batch_tokens)
        return np.asarray(vectors)
