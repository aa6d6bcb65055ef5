"""What a document costs as it grows, and many of them: ``python -m benchmarks.documents.cost``.

The heavy imports are inside the functions: on Linux a new process begins with the peak memory of
the one that started it.
"""

from __future__ import annotations

import multiprocessing
import os
from functools import partial
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.contestants import ENVIRONMENT
from benchmarks.documents.sets import load
from benchmarks.machine import machine, versions
from benchmarks.timing import seconds
from benchmarks.topics.latency import search
from benchmarks.topics.memory import peak

_SIZES = (50_000, 500_000, 5_000_000)
_COUNTS = (20, 80)
_QUERIES = 300
NAMES = ("long-document", "sbert")


def main() -> None:
    """Measure time and peak memory by size and number of documents, and a short query."""
    console = Console(width=120)
    for line in (machine(), versions()):
        console.print(line, highlight=False, soft_wrap=True)
    base = _alone(_embed, 1, 100)["peak"]
    table = Table(title="one document, cut from PEPs (100 characters: libraries and model)")
    _columns(table, "characters", base)
    for size in _SIZES:
        _add(table, size, size, _alone(_embed, 1, size), base)
    console.print(table)
    table = Table(title=f"many documents of {_SIZES[0]:,} characters in one call")
    _columns(table, "documents", base)
    for count in _COUNTS:
        _add(table, count, count * _SIZES[0], _alone(_embed, count, _SIZES[0]), base)
    console.print(table)
    found = _alone(_search)
    console.print(
        f"short query through a table, median of {_QUERIES}: "
        f"long-document {found['long-document']:.2f} ms, sbert {found['sbert']:.2f} ms, "
        f"ratio of medians {found['long-document'] / found['sbert']:.3f}"
    )


def _columns(table: Table, first: str, base: float) -> None:
    for name in (
        first,
        "seconds",
        "seconds per million characters",
        "peak MiB",
        f"over {base:,.0f}",
    ):
        table.add_column(name, justify="right")


def _add(table: Table, what: int, characters: int, found: dict[str, float], base: float) -> None:
    took = found["seconds"]
    table.add_row(
        f"{what:,}",
        f"{took:.1f}",
        f"{took / characters * 1e6:.1f}",
        f"{found['peak']:,.0f}",
        f"{found['peak'] - base:,.0f}",
    )


def _alone(job: Any, *arguments: int) -> dict[str, float]:
    os.environ.update(ENVIRONMENT)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found: dict[str, float] = pool.apply(job, arguments)
        pool.close()
        pool.join()
        return found


def _text(size: int) -> str:
    text = "\n".join(load("PEPs").documents.values())
    return (text * (size // len(text) + 1))[:size]


def _embed(count: int, size: int) -> dict[str, float]:
    from lancedb_embedders import LongDocumentEmbeddings

    function = LongDocumentEmbeddings.create()
    function.compute_query_embeddings("warm up")
    text = _text(size)
    documents = [f"{number} {text}" for number in range(count)]
    took = seconds(lambda: function.compute_source_embeddings(documents))
    return {"seconds": took, "peak": peak()}


def _search() -> dict[str, float]:
    import statistics
    import tempfile

    from benchmarks.contestants import create_table

    queries = list(load("QMSum").queries.values())[:_QUERIES]
    with tempfile.TemporaryDirectory() as folder:
        tables = {name: create_table(name, Path(folder) / name) for name in NAMES}
        for table in tables.values():
            table.add([{"text": query} for query in queries])
        times: dict[str, list[float]] = {name: [] for name in NAMES}
        for query in queries:
            for name, table in tables.items():
                times[name].append(seconds(partial(search, table, query)))
    return {name: statistics.median(found[20:]) * 1000 for name, found in times.items()}


if __name__ == "__main__":
    typer.run(main)
