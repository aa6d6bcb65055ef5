"""OpenVINO itself: how it is imported, and how it runs a graph on this machine's cores."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from lancedb_embedders.output import Float32

if TYPE_CHECKING:
    import openvino

_logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# Above, what more streams bring is eaten by the memory that they take: each has its own.
_MOST_STREAMS = 8
# Weights that are packed for both ways of running; larger ones are packed once.
_LARGE_BYTES = 500_000_000
# Fewer tokens than these are a query, or a row or two: they are to be quick.
_FEW_TOKENS = 512
# A precision, OpenVINO's hint for it, and what it calls a CPU that has instructions for it.
_SIXTEEN_BITS = {
    "auto": ("bf16", "BF16"),
    "int8": ("bf16", "BF16"),  # for what is not in eight bits
    "bfloat16": ("bf16", "BF16"),
    "float16": ("f16", "FP16"),
}
_REPORTING = "openvino_telemetry"
_import_lock = threading.RLock()


@contextmanager
def without_reports() -> Iterator[None]:
    """Keep what is imported from reporting its use to a server of its makers.

    OpenVINO's converter, which ``import openvino`` loads, forks this process at once to do so.
    Without the module that reports it works just as well.
    """
    with _import_lock:
        if _REPORTING in sys.modules:  # someone else has imported it, and wants it
            yield
            return
        sys.modules[_REPORTING] = None  # type: ignore[assignment]
        try:
            yield
        finally:
            del sys.modules[_REPORTING]


def import_openvino() -> Any:
    """Import OpenVINO; see `without_reports`."""
    with without_reports():
        import openvino

    return openvino


@lru_cache(maxsize=1)
def core() -> openvino.Core:
    """Return the one entry to OpenVINO of this process."""
    found: openvino.Core = import_openvino().Core()
    return found


def arithmetic(precision: str) -> str:
    """Return OpenVINO's name of the arithmetic that a precision comes to on this CPU.

    Sixteen bits only where the CPU has instructions for them, which OpenVINO knows.
    """
    able = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    hint, capability = _SIXTEEN_BITS.get(precision, ("f32", ""))
    if capability in able:
        return hint
    if precision in {"bfloat16", "float16"}:
        _logger.info("this CPU has no instructions for %s: float32 is used", precision)
    return "f32"


def cores() -> int:
    """Return how many cores this process may use, by its affinity and its container's limit."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limit = Path("/sys/fs/cgroup/cpu.max")
    try:
        quota, period = limit.read_text(encoding="ascii").split()
        return max(1, min(usable or 1, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or "max": no limit
        return usable or 1


def idle_cores() -> int:
    """Return how many of the machine's cores have nothing to do, the caller's own among them."""
    try:
        running = Path("/proc/loadavg").read_text(encoding="ascii").split()[3].split("/")[0]
    except (OSError, IndexError):
        return os.cpu_count() or 1
    return (os.cpu_count() or 1) - int(running) + 1


class Requests:
    """A compiled graph and the requests that run it, each by one thread at a time."""

    def __init__(self, compiled: openvino.CompiledModel, streams: int) -> None:
        self._free: queue.LifoQueue[openvino.InferRequest] = queue.LifoQueue()
        for _ in range(streams):
            self._free.put(compiled.create_infer_request())

    def run(
        self,
        inputs: Mapping[str, Any],
        use: Callable[[Float32], Result],
        output: int,
        *,
        wait: bool = True,
    ) -> Result:
        """Run one batch and return what `use` makes of its output, which is gone afterwards.

        Raises
        ------
        queue.Empty
            All requests are in use, and `wait` is False.
        """
        request = self._free.get(block=wait)
        try:
            found = request.infer(dict(inputs), share_inputs=True, share_outputs=True)
            return use(np.asarray(found[output]))
        finally:
            self._free.put(request)


class Graph:
    """A graph on this machine's cores, for many texts and for one.

    Many go through in streams of one thread each, which wait for nobody. A query goes through
    all idle cores together; where others keep these busy, its threads would wait for each other,
    and it is quicker in a stream as well.

    Parameters
    ----------
    model : openvino.Model
        What to run.
    output : int
        Which of its outputs is wanted.
    hint : str
        Arithmetic, as `arithmetic` names it.
    threads : int, optional
        Cores to use; None: all that there are.
    """

    def __init__(
        self, model: openvino.Model, output: int, hint: str, threads: int | None = None
    ) -> None:
        self._model = model
        self._output = output
        self._hint = hint
        self._threads = threads or cores()
        size = sum(
            node.get_byte_size() for node in model.get_ops() if node.get_type_name() == "Constant"
        )
        #: How many batches run at once.
        self.streams = 1 if size > _LARGE_BYTES else min(self._threads, _MOST_STREAMS)
        self._streamed = self._compile(self.streams, self._threads)
        self._joined: Requests | None = None
        self._joining: threading.Thread | None = None
        self._lock = threading.Lock()

    def run(
        self, inputs: Mapping[str, Any], use: Callable[[Float32], Result], quick: bool = False
    ) -> Result:
        """Run one batch and return what `use` makes of its output, which is gone afterwards.

        Parameters
        ----------
        inputs : mapping
            Arrays by the names of the graph's inputs.
        use : callable
            Takes the output.
        quick : bool
            Whether someone waits for this one batch.
        """
        if quick and self._joined is None:
            self._join_later()
        if quick and self._joined is not None and idle_cores() >= self._team:
            try:
                return self._joined.run(inputs, use, self._output, wait=False)
            except queue.Empty:  # another query is in it
                pass
        return self._streamed.run(inputs, use, self._output)

    @property
    def _team(self) -> int:
        return min(self._threads, _MOST_STREAMS)

    def _compile(self, streams: int, threads: int) -> Requests:
        settings = {
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": self._hint,
            # Bound to a core, a thread waits for whatever else runs there.
            "ENABLE_CPU_PINNING": False,
        }
        return Requests(core().compile_model(self._model, "CPU", settings), streams)

    def _join_later(self) -> None:
        """Compile for queries while the first ones already get their vectors."""
        if self.streams == 1:  # all cores are together already
            return
        with self._lock:
            if self._joining is None:
                self._joining = threading.Thread(target=self._join, name="openvino-compile")
                self._joining.start()

    def _join(self) -> None:
        try:
            self._joined = self._compile(1, self._team)
        except Exception as error:  # it runs without, only less quickly
            _logger.debug("not compiled for single texts: %s", error)
