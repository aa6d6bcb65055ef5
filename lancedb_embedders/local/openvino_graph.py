"""A graph that runs: in streams for many texts, on all idle cores for one."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from lancedb_embedders.local.cores import cores, idle_cores
from lancedb_embedders.local.openvino_source import Compiled, Source
from lancedb_embedders.output import Float32

if TYPE_CHECKING:
    import openvino

_logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# Above, what more streams bring is eaten by the memory that they take: each has its own.
_MOST_STREAMS = 8
# Weights that are packed for both ways of running; larger ones are packed once.
_LARGE_BYTES = 500_000_000


class Requests:
    """A compiled graph and the requests that run it, each by one thread at a time."""

    def __init__(self, compiled: Compiled, streams: int) -> None:
        self.compiled = compiled
        self._free: queue.LifoQueue[openvino.InferRequest] = queue.LifoQueue()
        for _ in range(streams):
            self._free.put(compiled.graph.create_infer_request())

    def run(
        self,
        inputs: Mapping[str, Any],
        output: int,
        use: Callable[[Float32], Result],
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
    source : Source
        What to run.
    hint : str
        Arithmetic, as `arithmetic` names it.
    threads : int, optional
        Cores to use; None: all that there are.
    """

    def __init__(self, source: Source, hint: str, threads: int | None = None) -> None:
        self._source = source
        self._hint = hint
        self._threads = threads or cores()
        #: How many batches run at once.
        self.streams = 1 if source.size > _LARGE_BYTES else min(self._threads, _MOST_STREAMS)
        self._streamed = self._compile(self.streams, self._threads)
        self._joined: Requests | None = None
        self._joining: threading.Thread | None = None
        self._lock = threading.Lock()

    def run(
        self,
        inputs: Mapping[str, Any],
        output: int,
        use: Callable[[Float32], Result],
        quick: bool = False,
    ) -> Result:
        """Run one batch and return what `use` makes of an output, which is gone afterwards.

        Parameters
        ----------
        inputs : mapping
            Arrays by the names of the graph's inputs.
        output : int
            Which of its outputs is wanted.
        use : callable
            Takes the output.
        quick : bool
            Whether someone waits for this one batch.
        """
        if quick and self._joined is None:
            self._join_later()
        if quick and self._joined is not None and idle_cores() >= self._team:
            try:
                return self._joined.run(inputs, output, use, wait=False)
            except queue.Empty:  # another query is in it
                pass
        return self._streamed.run(inputs, output, use)

    @property
    def ports(self) -> tuple[list[Any], list[Any]]:
        """Inputs and outputs of the graph."""
        graph = self._streamed.compiled.graph
        return graph.inputs, graph.outputs

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
        return Requests(self._source.compile(settings), streams)

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
