"""Compare ways to embed whole documents: ``python -m benchmarks.documents``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.contestants import ENVIRONMENT
from benchmarks.documents.methods import (
    NAIVE,
    WINDOWINGS,
    Embedded,
    embed_naively,
    embed_truncated,
    embed_windows,
)
from benchmarks.documents.search import measure
from benchmarks.documents.sets import SETS, DocumentSet, load
from benchmarks.machine import machine, versions


def main(
    dataset: Annotated[
        Optional[list[str]],  # noqa: UP045, typer reads it at run time
        typer.Option("--set", help=f"One of {', '.join(SETS)}; may be repeated. All if left out."),
    ] = None,
    windows: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="Windowing, as named in the table; may be repeated. All if left out."),
    ] = None,
    documents: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=2, help="Only so many documents of each set."),
    ] = None,
    json_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--json", help="Where to write all figures."),
    ] = None,
) -> None:
    """Measure what is found of whole documents, and how long embedding them takes."""
    os.environ.update(ENVIRONMENT)
    console = Console(width=140)
    for line in (machine(), versions()):
        console.print(line, highlight=False, soft_wrap=True)
    figures: dict[str, list[dict[str, Any]]] = {}
    for name in dataset or SETS:
        chosen = load(name, documents)
        figures[name] = _measure(chosen, windows or list(WINDOWINGS), console)
        if json_file is not None:
            json_file.write_text(json.dumps(figures, indent=2), encoding="utf-8")


def _measure(dataset: DocumentSet, windows: list[str], console: Console) -> list[dict[str, Any]]:
    from lancedb_embedders import SbertEmbeddings

    texts = list(dataset.documents.values())
    queries = SbertEmbeddings.create().compute_source_embeddings(list(dataset.queries.values()))
    table = Table(title=f"{dataset.name}: {len(texts)} documents, {len(queries)} queries")
    for column in ("", "nDCG@10", "recall@10", "seconds", "times the recipe's speed"):
        table.add_column(column, justify="right" if column else "left")
    rows: list[dict[str, Any]] = []

    def add(embedded: Embedded) -> None:
        quality = measure(dataset, embedded.vectors, queries)
        recipe = next((row["seconds"] for row in rows if row["method"] == NAIVE), embedded.seconds)
        figures = {
            "ndcg": quality.ndcg,
            "recall": quality.recall,
            "seconds": embedded.seconds,
            "speed": recipe / embedded.seconds,
        }
        rows.append({"method": embedded.method, **figures})
        table.add_row(embedded.method, *(f"{value:.1f}" for value in figures.values()))

    add(embed_naively(texts))
    add(embed_truncated(texts))
    for name in windows:
        for embedded in embed_windows(texts, name, WINDOWINGS[name]):
            add(embedded)
    console.print(table)
    return rows


if __name__ == "__main__":
    typer.run(main)
