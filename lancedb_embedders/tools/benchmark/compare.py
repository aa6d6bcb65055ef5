"""Models compared on a user's own texts: speed, latency, memory, quality."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError, EmbeddingError
from lancedb_embedders.local.cores import cores
from lancedb_embedders.progress import progress_bar
from lancedb_embedders.tools.benchmark.contestants import labelled
from lancedb_embedders.tools.benchmark.cost import check_cost
from lancedb_embedders.tools.benchmark.measure import Turn
from lancedb_embedders.tools.benchmark.measure_process import Measured, MeasureError
from lancedb_embedders.tools.benchmark.quality import evaluation_set, evaluation_texts
from lancedb_embedders.tools.benchmark.result import (
    Benchmark,
    FailedModel,
    ModelFigures,
    Quality,
)
from lancedb_embedders.tools.benchmark.spread import Spread
from lancedb_embedders.tools.given import texts_of

__all__ = ["Benchmark", "FailedModel", "ModelFigures", "Quality", "Spread", "benchmark_models"]

# Single queries of a turn where none are given, and words of a text that make one.
_QUERIES = 50
_WORDS = 12


def benchmark_models(
    models: Mapping[str, Embedder | str | os.PathLike[str]]
    | Iterable[Embedder | str | os.PathLike[str]],
    texts: Any,
    *,
    column: str | None = None,
    queries: Iterable[str] | None = None,
    evaluation: Any = None,
    repeats: int = 3,
    max_cost: float | None = None,
    progress: bool | None = None,
) -> Benchmark:
    """Measure models on the same texts: speed, latency of queries, memory, and quality.

    Each local model runs in a process of its own, where all of them stay loaded and take turns. No
    vector comes from a cache. A model that fails is reported, and the others go on.

    Parameters
    ----------
    models : iterable or mapping of str
        Functions, registry names, names or folders of models; a mapping names them.
    texts : iterable of str, pyarrow.Array or lancedb.table.Table
        Rows to embed, as many as take seconds; equal ones count once.
    column : str, optional
        The table's column; None: the one that it embeds.
    queries : iterable of str, optional
        Single queries; None: those of the retrieval set, else the first words of texts; 50 at most.
    evaluation : str, os.PathLike, RetrievalSet or list of ScoredPair, optional
        Folder of a retrieval set in the form of BEIR, which gives nDCG@10, or file of scored pairs,
        which gives Spearman's correlation; or what `tools.evaluate.datasets` reads of them.
    repeats : int, default 3
        Turns of each model. Figures are medians of them, with the least and the most.
    max_cost : float, optional
        US dollars that all hosted models together may cost; without it, none is measured.
    progress : bool, optional
        Show a progress bar; None: only on a terminal.

    Returns
    -------
    Benchmark
        With ``table()``, ``to_dict()``, ``plot(path)`` and ``html(path)``.

    Raises
    ------
    ConfigurationError
        There is nothing to measure or to measure with, hosted models come without `max_cost`, or
        every model fails.
    InputError
        A text that is none, with its row.
    CostError
        Hosted models would cost more than `max_cost`; nothing was sent.

    Examples
    --------
    >>> found = benchmark_models(["sbert"], ["Python is great", "Rust is fast"], repeats=1)
    >>> found.models[0].dims, found.models[0].vector_bytes
    (384, 3072)
    """
    if repeats < 1:
        raise ConfigurationError(f"repeats={repeats}: there must be one turn at least")
    rows = list(dict.fromkeys(texts_of(texts, column)))
    known = None if evaluation is None else evaluation_set(evaluation)
    asked, source = _queries(queries, rows, None if known is None else known[1])
    entries = labelled(models)
    check_cost(entries, rows, asked, None if known is None else known[1], repeats, max_cost)
    steps = len(entries) * (1 + repeats + (known is not None))
    with ExitStack() as stack, progress_bar(steps, "steps", progress, "Measuring") as bar:
        running = [_Contestant(label, function, stack) for label, function in entries]
        for contestant in running:
            contestant.load(rows, asked)
            bar.update()
        for _ in range(repeats):
            for contestant in running:
                contestant.turn()
                bar.update()
        for contestant in running:
            contestant.finish(known)
            bar.update(known is not None)
        measured = [one.figures(len(rows)) for one in running if one.failure is None]
    failed = [FailedModel(one.label, one.failure) for one in running if one.failure is not None]
    if not measured:
        reasons = "; ".join(f"{one.label}: {one.reason}" for one in failed)
        raise ConfigurationError(f"no model could be measured. {reasons}")
    return Benchmark(
        models=tuple(measured),
        failed=tuple(failed),
        texts=len(rows),
        queries=len(asked),
        repeats=repeats,
        query_source=source,
        machine=_machine(),
        cores=cores(),
        day=datetime.now(timezone.utc).date(),
    )


class _Contestant:
    """A model on its way through the comparison; once it fails, it takes no more turns."""

    def __init__(self, label: str, function: Embedder | EmbeddingError, stack: ExitStack) -> None:
        self.label = label
        self.failure = str(function) if isinstance(function, EmbeddingError) else None
        self._function, self._stack = function, stack
        self._turns: list[Turn] = []
        self._quality: Quality | None = None
        self._usd: float | None = None

    def load(self, texts: list[str], queries: list[str]) -> None:
        """Load the model."""
        if isinstance(self._function, EmbeddingError):
            return
        try:
            self._measured = Measured(self._function, texts, queries)
        except MeasureError as error:
            self.failure = str(error)
        else:
            self._stack.callback(self._measured.close)

    def turn(self) -> None:
        """Take a turn."""
        if (turn := self._ask("turn")) is not None:
            self._turns.append(turn)

    def finish(self, known: tuple[str, Any] | None) -> None:
        """Measure the quality, when speed and memory are known, and let go of the model."""
        if known is not None and (found := self._ask("quality", known[1])) is not None:
            self._quality = Quality(known[0], *found)
        self._usd = self._ask("usd")
        if self.failure is None:
            self._measured.close()

    def figures(self, texts: int) -> ModelFigures:
        """Return what was measured."""
        loaded, turns = self._measured.loaded, self._turns
        per_second = Spread.of([texts / turn.seconds for turn in turns])
        memory = [turn.memory for turn in turns if turn.memory is not None]
        on_device = [turn.device_memory for turn in turns if turn.device_memory is not None]
        here = self._measured.note
        notes = dict.fromkeys(note for turn in turns for note in turn.notes)
        tokens = loaded.tokens
        return ModelFigures(
            label=self.label,
            dims=loaded.dims,
            engine=loaded.engine,
            device=loaded.device,
            texts_per_second=per_second,
            tokens_per_second=None
            if tokens is None
            else Spread.of([tokens / turn.seconds for turn in turns]),
            query_p50_ms=Spread.of([turn.p50 for turn in turns]),
            query_p99_ms=Spread.of([turn.p99 for turn in turns]),
            memory=max(memory, default=None),
            device_memory=max(on_device, default=None),
            load_seconds=loaded.seconds,
            tokens=tokens,
            vector_bytes=turns[-1].vector_bytes,
            bytes_per_text=turns[-1].vector_bytes / texts,
            quality=self._quality,
            usd=self._usd,
            notes=tuple(notes if here is None else [here, *notes]),
        )

    def _ask(self, method: str, *args: Any) -> Any:
        if self.failure is not None:
            return None
        try:
            return self._measured.ask(method, *args)
        except MeasureError as error:
            self.failure = str(error)
            return None


def _queries(
    given: Iterable[str] | None, texts: Sequence[str], known: Any
) -> tuple[list[str], str]:
    if given is not None:
        return list(dict.fromkeys(texts_of(given, what="queries"))), "as given"
    judged = [] if known is None else evaluation_texts(known)[1]
    if judged:
        return _some(list(dict.fromkeys(judged))), "of the retrieval set"
    words = (" ".join(text.split()[:_WORDS]) for text in texts)
    return _some(list(dict.fromkeys(words))), f"the first {_WORDS} words of texts"


def _some(queries: list[str]) -> list[str]:
    """Return so many of them, from all over."""
    return queries[:: -(-len(queries) // _QUERIES)]


def _machine() -> str:
    try:
        facts = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        found = re.search(r"^model name\s*:\s*(.+)$", facts, re.MULTILINE)
        if found:
            return found[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
