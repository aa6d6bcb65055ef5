"""What a comparison of models found, as figures, as a table, as plots and as a page."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.tools.benchmark.spread import Spread, number, size
from lancedb_embedders.tools.result import Result, printable, rows_table

if TYPE_CHECKING:
    from rich.console import RenderableType


#: Endings of pages.
PAGES = (".html", ".htm")


@dataclass(frozen=True)
class Quality:
    """A figure on a set for evaluation.

    Attributes
    ----------
    dataset : str
        Name of the set.
    metric : str
        ``"nDCG@10"`` of retrieval, ``"Spearman"`` of scored pairs.
    value : float
        0 to 100, as published.
    """

    dataset: str
    metric: str
    value: float


@dataclass(frozen=True)
class ModelFigures:
    """What was measured of one model.

    Attributes
    ----------
    label : str
        What it is called.
    dims : int
        Size of the vector column.
    engine, device : str
        What ran it, and where.
    texts_per_second : Spread
        All texts at once.
    tokens_per_second : Spread or None
        Tokens that went through the model, prompts and special ones included; None: unknown.
    query_p50_ms, query_p99_ms : Spread
        Milliseconds of a single query, of half and of 99 in a hundred at most.
    memory : int or None
        Bytes of main memory at the peak, above those of a process that has imported this package;
        None where others share the process.
    device_memory : int or None
        Bytes at the peak on a CUDA device, as torch counts.
    load_seconds : float
        From a process that has imported this package to the first vector.
    tokens : int or None
        Tokens of all texts.
    vector_bytes : int
        Bytes of the vectors of all texts.
    bytes_per_text : float
        Bytes of one text's vector, or of its vectors.
    quality : Quality or None
        On the set for evaluation, if there was one.
    usd : float or None
        US dollars that were spent, of a hosted model with a price.
    notes : tuple of str
        What else to know.
    """

    label: str
    dims: int
    engine: str
    device: str
    texts_per_second: Spread
    tokens_per_second: Spread | None
    query_p50_ms: Spread
    query_p99_ms: Spread
    memory: int | None
    device_memory: int | None
    load_seconds: float
    tokens: int | None
    vector_bytes: int
    bytes_per_text: float
    quality: Quality | None
    usd: float | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FailedModel:
    """A model that could not be measured.

    Attributes
    ----------
    label : str
        What it is called.
    reason : str
        What was wrong.
    """

    label: str
    reason: str


@dataclass(frozen=True)
class Benchmark(Result):
    """Models compared on the same texts.

    Attributes
    ----------
    models : tuple of ModelFigures
        What was measured, in the order given.
    failed : tuple of FailedModel
        What could not be.
    texts, queries, repeats : int
        Different texts, single queries, and turns of each model.
    query_source : str
        Where the queries are from.
    machine, cores : str, int
        Processor, and how many of its cores this process may use.
    day : datetime.date
        When.
    """

    models: tuple[ModelFigures, ...]
    failed: tuple[FailedModel, ...]
    texts: int
    queries: int
    repeats: int
    query_source: str
    machine: str
    cores: int
    day: date

    def table(self) -> RenderableType:
        """Return the figures as a table, with what failed and what to know below."""
        from rich.console import Group
        from rich.text import Text

        failed = [[one.label, "failed"] for one in self.failed]
        tables = []
        for title, figures in (("Speed", SPEED), ("Size and quality", SIZE)):
            columns = [(heading, "right") for heading in figures]
            cells = [[model.label, *figures_of(model, figures)] for model in self.models]
            rows = [row + [""] * (len(columns) + 1 - len(row)) for row in cells + failed]
            tables.append(rows_table(title, [("model", "left"), *columns], rows))
        lines = [printable(line) for line in [*self.remarks(), *self.notes()]]
        return Group(*tables, *map(Text, lines))

    def remarks(self) -> list[str]:
        """Return how it was measured, a sentence each."""
        if self.repeats == 1:
            turns = "One turn each, so there is no spread."
        else:
            order = "in rotation" if len(self.models) > 1 else "one after the other"
            turns = f"{self.repeats} turns each, {order}: medians, and below them least–most."  # noqa: RUF001
        return [
            f"{self.texts:,} different texts; {self.queries:,} queries, one at a time: "
            f"{self.query_source}.",
            turns,
            f"{self.machine}, {self.cores} cores, {self.day.isoformat()}.",
        ]

    def notes(self) -> list[str]:
        """Return what failed, and what else to know of the models."""
        failed = [f"{one.label} failed: {one.reason}" for one in self.failed]
        return failed + [f"{m.label}: {note}" for m in self.models for note in m.notes]

    def plot(self, path: str | os.PathLike[str]) -> Path:
        """Draw the figures; the ending of the file says what it becomes.

        Parameters
        ----------
        path : str or os.PathLike
            A file that ends in ``.png``, ``.svg`` or ``.pdf``.

        Raises
        ------
        ConfigurationError
            Another ending, or a folder that cannot be written to.
        MissingExtraError
            Matplotlib is not installed.
        """
        from lancedb_embedders.tools.benchmark.plot import FORMATS, write_plot

        file = writable(path, FORMATS)
        write_plot(self, file)
        return file

    def html(self, path: str | os.PathLike[str]) -> Path:
        """Write a page that needs nothing else: the table, and the plots in it.

        Raises
        ------
        ConfigurationError
            The file does not end in ``.html``, or its folder cannot be written to.
        MissingExtraError
            Matplotlib is not installed.
        """
        from lancedb_embedders.tools.benchmark.page import benchmark_html

        file = writable(path, PAGES)
        file.write_text(benchmark_html(self), encoding="utf-8", errors="replace")
        return file


#: Headings of figures.
SPEED = ("texts/s", "tokens/s", "query p50, ms", "query p99, ms", "load, s")
SIZE = ("runs on", "dims", "bytes a text", "memory", "quality")


def figures_of(model: ModelFigures, headings: Iterable[str]) -> list[str]:
    """Return figures as they are read, by their headings."""
    quality, tokens = model.quality, model.tokens_per_second
    memory = size(model.memory)
    if model.device_memory:
        memory += f"\n{size(model.device_memory)} on the device"
    found = {
        "texts/s": str(model.texts_per_second),
        "tokens/s": "unknown" if tokens is None else str(tokens),
        "query p50, ms": str(model.query_p50_ms),
        "query p99, ms": str(model.query_p99_ms),
        "load, s": number(model.load_seconds),
        "runs on": ", ".join(dict.fromkeys((model.engine, model.device))),
        "dims": f"{model.dims:,}",
        "bytes a text": number(model.bytes_per_text),
        "memory": memory,
        "quality": "" if quality is None else f"{quality.value:.2f}\n{quality.metric}",
    }
    return [found[heading] for heading in headings]


def writable(path: str | os.PathLike[str], endings: Iterable[str]) -> Path:
    """Return a file that can be written; raises `ConfigurationError` if it cannot."""
    file, known = Path(path).expanduser(), tuple(endings)
    if file.suffix.lower() not in known:
        raise ConfigurationError(f"{file} must end in {' or '.join(known)}")
    if file.is_dir() or not os.access(file.parent, os.W_OK):
        raise ConfigurationError(f"{file} cannot be written")
    return file
