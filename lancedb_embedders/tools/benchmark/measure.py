"""One function under measurement: its load, its speed, its memory, in whatever process this is."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import EmbeddingWarning
from lancedb_embedders.functions.long_document import LongDocumentEmbeddings
from lancedb_embedders.hosted.embedder import HostedEmbedder
from lancedb_embedders.local.devices import device_names
from lancedb_embedders.local.embedder import LocalTextEmbedder
from lancedb_embedders.settings import settings
from lancedb_embedders.tools.benchmark.process_memory import device_memory, peak_memory, start_peak
from lancedb_embedders.tools.benchmark.shrinking import watch_batches

# Texts that go through a model before anything is timed.
_WARM_UP = 32
# Token ids are held for this many texts at a time, or counting them would be what memory shows.
_SLICE = 1024


@dataclass(frozen=True)
class Loaded:
    """What is known of a function once its model is loaded.

    Attributes
    ----------
    seconds : float
        From the function to its first vector, imports of libraries included.
    dims : int
        Size of the vector column.
    tokens : int or None
        Tokens of all texts that go through the model, prompts and special ones included; None:
        they are not known.
    engine, device : str
        What runs it, and where.
    workers : int
        Batches that run at the same time.
    """

    seconds: float
    dims: int
    tokens: int | None
    engine: str
    device: str
    workers: int


@dataclass(frozen=True)
class Turn:
    """What one turn gave.

    Attributes
    ----------
    seconds : float
        For all texts.
    p50, p99 : float
        Milliseconds of a single query.
    vector_bytes : int
        Bytes of the texts' vectors.
    memory : int or None
        Bytes of main memory at the peak, above what the process held before the model was loaded.
    device_memory : int or None
        Bytes that torch held on a CUDA device at the peak.
    notes : tuple of str
        Warnings.
    """

    seconds: float
    p50: float
    p99: float
    vector_bytes: int
    memory: int | None
    device_memory: int | None
    notes: tuple[str, ...] = field(default=())


class Subject:
    """A function under measurement; no vector comes from a cache.

    Parameters
    ----------
    make : callable
        Returns the function: its libraries are imported when it is called.
    texts, queries : list of str
        Rows, and single queries; each different.
    alone : bool
        Whether the process is there for this function only, so that its memory is the function's.
    """

    def __init__(
        self, make: Callable[[], Embedder], texts: list[str], queries: list[str], alone: bool
    ) -> None:
        self._texts, self._queries, self._alone = texts, queries, alone
        self._before = start_peak() if alone else None
        began = time.perf_counter()
        self.function = make()
        self._spent = _spent(self.function)
        with self._uncached() as function:
            function.compute_query_embeddings(queries[0])
            self._load_seconds = time.perf_counter() - began
            if not isinstance(function, HostedEmbedder):  # there it would only cost
                function.compute_source_embeddings(texts[:_WARM_UP])
        self.loaded = self._facts()

    def turn(self) -> Turn:
        """Time all texts at once, and each query by itself."""
        with self._uncached() as function, warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", EmbeddingWarning)
            began = time.perf_counter()
            vectors = function.compute_source_embeddings(self._texts)
            seconds = time.perf_counter() - began
            times = []
            for query in self._queries:
                began = time.perf_counter()
                function.compute_query_embeddings(query)
                times.append(1000 * (time.perf_counter() - began))
        p50, p99 = np.percentile(times, [50, 99]).tolist()
        memory = None if self._before is None else max(0, peak_memory() - self._before)
        return Turn(
            seconds,
            p50,
            p99,
            vector_bytes=sum(row.nbytes for row in vectors if row is not None),
            memory=memory,
            device_memory=device_memory() if self._alone else None,
            notes=tuple(dict.fromkeys(str(warning.message) for warning in raised)),
        )

    def seconds_with(self, batch_tokens: int) -> tuple[float, bool]:
        """Time all texts under a budget of tokens a batch.

        Returns
        -------
        seconds : float
        shrunk : bool
            Whether batches were made smaller under way, for want of memory.
        """
        with (
            self._uncached(batch_tokens=batch_tokens) as function,
            watch_batches(function, batch_tokens) as shrank,
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore", EmbeddingWarning)
            began = time.perf_counter()
            function.compute_source_embeddings(self._texts)
            return time.perf_counter() - began, shrank()

    def quality(self, evaluation: Any) -> tuple[str, float]:
        """Return the name of a metric and its value, 0 to 100, on a set for evaluation."""
        from lancedb_embedders.tools.benchmark.quality import measured_quality

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", EmbeddingWarning)
            return measured_quality(self.function, evaluation)

    def usd(self) -> float | None:
        """Return what a hosted function has cost here; None for others, or without a price."""
        now = _spent(self.function)
        return None if now is None or self._spent is None else now - self._spent

    @contextmanager
    def _uncached(self, **options: Any) -> Iterator[Embedder]:
        function = self.function
        with (
            settings.override(cache=False, progress=False),
            TemporaryDirectory(ignore_cleanup_errors=True) as empty,
        ):
            if isinstance(function, HostedEmbedder):
                options["cache_dir"] = Path(empty)
            if isinstance(function, LocalTextEmbedder):
                options["cache"] = False
            yield function.model_copy(update={"progress": False, **options})

    def _facts(self) -> Loaded:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", EmbeddingWarning)
            tokens = count_tokens(self.function, self._texts)
        engine, device = where_it_runs(self.function)
        workers = 1
        if isinstance(self.function, LocalTextEmbedder):
            workers = self.function.prepared_model("document")[0].engine.workers
        return Loaded(self._load_seconds, self.function.ndims(), tokens, engine, device, workers)


def count_tokens(function: Embedder, texts: list[str]) -> int | None:
    """Return the tokens of texts that go through a function's model; None: nobody knows."""
    inputs = list(function.batch_of(texts, "document").inputs)
    if isinstance(function, HostedEmbedder):
        return int(function.tokens_of(inputs, "document").sum())
    if not isinstance(function, LocalTextEmbedder):
        return None
    model, encoding = function.prepared_model("document")
    if model.engine.tokenizer is None:
        return None
    uncut = isinstance(function, LongDocumentEmbeddings) and function.reduce != "first"
    length = None if uncut else encoding.max_length
    return sum(
        int(
            model.engine.tokenize(
                inputs[start : start + _SLICE], encoding.prompt, encoding.role, length
            ).lengths.sum()
        )
        for start in range(0, len(inputs), _SLICE)
    )


def _spent(function: Embedder) -> float | None:
    return function.usage().usd if isinstance(function, HostedEmbedder) else None


def where_it_runs(function: Embedder) -> tuple[str, str]:
    """Return what runs a function's model, and on which device."""
    if isinstance(function, HostedEmbedder):
        return function.provider, function.endpoint()
    if not isinstance(function, LocalTextEmbedder):
        return "its own", "its own"
    model, _ = function.prepared_model("document")
    if type(model.engine).__module__.endswith("openvino_engine"):
        return "openvino", "cpu"
    names = device_names(function.process_options()["device"])
    return "torch", ", ".join(map(_device_name, names))


def _device_name(name: str) -> str:
    import torch

    from lancedb_embedders.local.torch_load import find_device

    device = find_device(name)
    if device.type != "cuda":
        return str(device)
    return f"{device} ({torch.cuda.get_device_name(device)})"
