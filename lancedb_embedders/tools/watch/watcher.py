"""What is told of vectors as they are written, and hands them over a window at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from lancedb_embedders import observers
from lancedb_embedders.embedder import Embedder

#: Called with a function, vectors and texts: a row each.
Check = Callable[[Embedder, list[Any], list[Any]], None]

# Rows that may wait for their check; what comes beyond is counted, and not looked at.
_WAITING = 20_000
# Rows of a batch that are kept for the check, at most.
_MOST_ROWS = 20_000


class Watcher:
    """Gathers what functions of one configuration make, and has it checked on another thread.

    The write only copies vectors and goes on.

    Parameters
    ----------
    function : Embedder
        The function; those that LanceDB rebuilds from a table count as well.
    check : callable
        What is done with a window.
    window : int
        Rows that are gathered before they are checked.
    """

    def __init__(self, function: Embedder, check: Check, window: int) -> None:
        self._keys = _keys(function)
        self._function = function
        self._check = check
        self._window = window
        self._lock = threading.Lock()
        self._vectors: list[Any] = []
        self._texts: list[Any] = []
        self._running: dict[Future[None], int] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="monitor")
        self.skipped = 0
        for key in self._keys:
            observers.add(key, self._told)

    def flush(self) -> None:
        """Check what has been gathered, and wait until it is done."""
        with self._lock:
            self._submit(forced=True)
            running = list(self._running)
        wait(running)

    def stop(self) -> None:
        """Watch no more; what has been gathered is checked."""
        for key in self._keys:
            observers.remove(key, self._told)
        self.flush()
        self._pool.shutdown()
        if self.skipped:
            observers.report(
                f"{self.skipped:,} rows were written faster than they could be checked, and were "
                "not looked at; check the table by check_table"
            )

    def _told(self, _function: Embedder, batch: Any, vectors: Any) -> None:
        if batch.role != "document":
            return
        index = batch.index
        chosen = np.arange(len(index))
        if len(chosen) > _MOST_ROWS:
            chosen = np.sort(np.random.default_rng(0).choice(chosen, _MOST_ROWS, replace=False))
        # What LanceDB was given is its own from now on.
        if isinstance(vectors, np.ndarray):
            rows = list(vectors[chosen])
        else:
            rows = [None if vectors[i] is None else np.array(vectors[i]) for i in chosen.tolist()]
        texts = [batch.inputs[i] if i >= 0 else None for i in index[chosen].tolist()]
        with self._lock:
            self._vectors += rows
            self._texts += texts
            if len(self._vectors) >= self._window:
                self._submit()

    def _submit(self, forced: bool = False) -> None:
        if not self._vectors:
            return
        self._running = {job: rows for job, rows in self._running.items() if not job.done()}
        if sum(self._running.values()) < _WAITING or forced:
            job = self._pool.submit(self._work, self._vectors, self._texts)
            self._running[job] = len(self._vectors)
        else:
            self.skipped += len(self._vectors)
        self._vectors, self._texts = [], []

    def _work(self, vectors: list[Any], texts: list[Any]) -> None:
        try:
            self._check(self._function, vectors, texts)
        except Exception as error:
            observers.report(
                f"watching {self._function.registry_name} failed, its vectors are not affected: "
                f"{type(error).__name__}: {error}"
            )


def _keys(function: Embedder) -> set[observers.Key]:
    """Return what a function, and what LanceDB makes of it, are known by."""
    rebuilt = type(function).create(**function.safe_model_dump())
    return {(type(one), one.identity()) for one in (function, rebuilt)}
