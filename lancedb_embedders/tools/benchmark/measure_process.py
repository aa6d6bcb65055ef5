"""A process of its own for each function under measurement.

Peaks of memory do not mix that way, and a model that takes all memory ends its own process only.
"""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import EmbeddingError
from lancedb_embedders.hosted.embedder import HostedEmbedder
from lancedb_embedders.local.worker_messages import environment, own_pipes, receive, send
from lancedb_embedders.settings import settings
from lancedb_embedders.tools.benchmark.measure import Loaded, Subject

_PATIENCE = 5.0  # seconds that a process may take to end
_LINES = 6


class MeasureError(EmbeddingError):
    """A function could not be measured; the message says why.

    Parameters
    ----------
    message : str
        The reason.
    memory : bool
        Whether memory ran out.
    """

    def __init__(self, message: str, memory: bool = False) -> None:
        super().__init__(message)
        self.memory = memory


class Measured:
    """A function under measurement, in a process of its own where that can be.

    A function behind an API is measured in this process, and so is one whose class cannot be
    imported, as of a notebook.

    Parameters
    ----------
    function : Embedder
        What to measure; its model is loaded at once.
    texts, queries : list of str
        Rows, and single queries.

    Attributes
    ----------
    loaded : Loaded
        What is known by now.
    note : str or None
        Why it is measured in this process.

    Raises
    ------
    MeasureError
        The model cannot be loaded.
    """

    loaded: Loaded

    def __init__(self, function: Embedder, texts: list[str], queries: list[str]) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: Any = None
        self._subject: Subject | None = None
        # One of a table has options of this process that its pickle would not have.
        function = function.model_copy(update=function.given_options())
        self.note = _kept_here(function)
        try:
            if self.note is None:
                self._start(pickle.dumps(function), texts, queries)
            if self.note is not None:
                self._subject = _guarded(lambda: Subject(lambda: function, texts, queries, False))
                self.loaded = self._subject.loaded
        except BaseException:
            self.close()
            raise

    def ask(self, method: str, *args: Any) -> Any:
        """Return what a method of `Subject` returns.

        Raises
        ------
        MeasureError
            It fails, or the process ends.
        """
        if self._subject is not None:
            return _guarded(partial(getattr(self._subject, method), *args))
        kind, value = self._exchange((method, args))
        if kind == "error":
            raise MeasureError(*value)
        return value

    def close(self) -> None:
        """End the process, and with it the model."""
        self._subject = None
        if self._process is not None:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.kill()  # it holds nothing that could be lost
            self._process.wait(_PATIENCE)
            with suppress(OSError):
                self._process.stdin.close()
            self._process.stdout.close()
            self._errors.close()

    def _start(self, pickled: bytes, texts: list[str], queries: list[str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, closed with the process
        # Not by multiprocessing, which would run the user's own script once more in the process.
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment(),
        )
        given = settings.current().model_dump(exclude_defaults=True)
        kind, value = self._exchange((given, pickled, texts, queries))
        if kind == "unknown":
            self.note = f"measured in this process, others cannot import it: {value}"
            self.close()
            self._process = None
        elif kind == "error":
            raise MeasureError(*value)
        else:
            self.loaded = value

    def _exchange(self, message: Any) -> tuple[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            send(self._process.stdin, message)
            answer: tuple[str, Any] = receive(self._process.stdout)
        except (EOFError, OSError):
            code = self._process.wait(_PATIENCE)
            if code == -9:
                raise MeasureError(
                    "its process was killed, as a system does that is out of memory", memory=True
                ) from None
            self._errors.seek(0)
            lines = self._errors.read().decode(errors="replace").splitlines()[-_LINES:]
            raise MeasureError(
                f"its process ended with {code}: {' '.join(lines) or 'it wrote nothing'}",
                memory=any(map(_tells_of_memory, lines)),
            ) from None
        return answer


def main() -> None:
    """Measure what comes in by standard input, until that is closed."""
    requests, replies = own_pipes()
    # Ctrl+C goes to all processes of a terminal; the parent ends this one when it is time.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Where memory runs out, this process is the one to go.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    given, pickled, texts, queries = receive(requests)
    for name, value in given.items():
        setattr(settings, name, value)
    try:
        subject = _guarded(lambda: Subject(partial(_loads, pickled), texts, queries, True))
    except _UnknownError as error:
        send(replies, ("unknown", str(error)))
        return
    except MeasureError as error:
        send(replies, ("error", (str(error), error.memory)))
        return
    send(replies, ("done", subject.loaded))
    with suppress(EOFError):
        while True:
            method, args = receive(requests)
            try:
                answer = ("done", _guarded(partial(getattr(subject, method), *args)))
            except MeasureError as error:
                answer = ("error", (str(error), error.memory))
            send(replies, answer)


class _UnknownError(Exception):
    """What a pickle names cannot be imported."""


def _loads(pickled: bytes) -> Embedder:
    try:
        function: Embedder = pickle.loads(pickled)
    except (ImportError, AttributeError) as error:
        if isinstance(error, EmbeddingError):
            raise
        raise _UnknownError(str(error)) from None
    return function


def _kept_here(function: Embedder) -> str | None:
    if isinstance(function, HostedEmbedder):
        return "behind an API: memory is not measured"
    if type(function).__module__ == "__main__":
        return "measured in this process, for its class is defined in it: memory is not measured"
    try:
        pickle.dumps(function)
    except Exception as error:
        return f"measured in this process, since it cannot be pickled: {error}"
    return None


def _guarded(work: Any) -> Any:
    """Do `work`; whatever is raised becomes a `MeasureError`, which any process can have."""
    try:
        return work()
    except (_UnknownError, MeasureError):
        raise
    except Exception as error:
        said = str(error) or "no more is known"
        own = isinstance(error, EmbeddingError)
        raise MeasureError(
            said if own else f"{type(error).__name__}: {said}",
            isinstance(error, MemoryError) or _tells_of_memory(str(error)),
        ) from None


def _tells_of_memory(text: str) -> bool:
    lowered = text.lower()
    return any(saying in lowered for saying in _SAYINGS)


# What allocators say, of torch, OpenVINO, C++ and others; in lower case.
_SAYINGS = (
    "out of memory",
    "not enough memory",
    "bad_alloc",
    "bad allocation",
    "memoryerror",
    "cannot allocate memory",
    "could not create a primitive",  # oneDNN
    "can't allocate memory",
    "defaultcpuallocator",
    "cublas_status_alloc_failed",
    "does not fit into the memory",
)


if __name__ == "__main__":
    main()
