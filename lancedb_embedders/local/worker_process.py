"""A worker as its parent sees it: a process that answers many requests at the same time."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from lancedb_embedders.errors import EmbeddingError
from lancedb_embedders.local.engine import EngineOptions
from lancedb_embedders.local.worker_messages import environment, receive, send

_logger = logging.getLogger(__name__)

_KEPT_LINES = 12
_PATIENCE = 5.0  # seconds that a process may take to end


class WorkerDiedError(EmbeddingError):
    """The process ended before it answered; the message holds the last lines it wrote."""


class WorkerProcess:
    """A process that loads a model on one device.

    It begins to load at once; requests wait until it is done.

    Parameters
    ----------
    folder : pathlib.Path
        The model's folder.
    pooling : str, optional
        Pooling in place of the model's own.
    options : EngineOptions
        How it runs; one device.

    Attributes
    ----------
    loaded : concurrent.futures.Future
        `worker_messages.Loaded`, or the error that loading raised.
    """

    def __init__(self, folder: Path, pooling: str | None, options: EngineOptions) -> None:
        self.device = options.device
        # Not by multiprocessing, which would run the user's own script once more in the process.
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "lancedb_embedders.local.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment(),
            )
        except OSError as error:
            raise EmbeddingError(
                f"no process for {self.device} can be started by {sys.executable!r}: {error}"
            ) from None
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._numbers = count()
        self._waiting: dict[int, Future[Any]] = {}
        self._ended = False
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._load_error: Exception | None = None
        self._errors = _start(self._read_errors)
        self.loaded = self.submit("load", folder.absolute(), pooling, options)
        _start(self._read_replies)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def load(self) -> int | None:
        """How many requests it has; None once the process has ended."""
        with self._lock:
            return None if self._ended else len(self._waiting)

    def submit(self, method: str, *args: Any) -> Future[Any]:
        """Ask for something; the future raises `WorkerDiedError` if the process ends before."""
        future: Future[Any] = Future()
        with self._lock:
            if self._ended:
                future.set_exception(self.death())
                return future
            number = next(self._numbers)
            self._waiting[number] = future
        assert self._process.stdin is not None
        # If it has ended, the thread that reads finds that and tells.
        with self._writing, suppress(OSError, ValueError):
            send(self._process.stdin, (number, method, args))
        return future

    def stop(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.terminate()
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read_replies(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as replies:
            try:
                while True:
                    number, value, error = receive(replies)
                    with self._lock:
                        future = self._waiting.pop(number)
                    if future is self.loaded:
                        self._load_error = error
                    if error is None:
                        future.set_result(value)
                    else:
                        future.set_exception(error)
            except Exception as error:
                if not isinstance(error, EOFError):
                    _logger.exception("%s: an answer that makes no sense", self.device)
                    self._process.kill()
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        self._process.wait()
        self._errors.join(_PATIENCE)
        with self._lock:
            self._ended = True
            waiting = list(self._waiting.values())
            self._waiting.clear()
        for future in waiting:
            future.set_exception(self.death())

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            for line in stream:
                text = line.decode(errors="replace").rstrip()
                self._lines.append(text)
                _logger.info("%s: %s", self.device, text)

    def death(self) -> WorkerDiedError:
        """Return the error that says how it ended."""
        said = str(self._load_error or "\n".join(self._lines) or "it wrote nothing")
        return WorkerDiedError(
            f"the process for {self.device} ended with {self._process.returncode}: {said}"
        )


def _start(work: Any) -> threading.Thread:
    thread = threading.Thread(target=work, name="lancedb-embedders-worker", daemon=True)
    thread.start()
    return thread
