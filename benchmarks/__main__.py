"""The command: measures, shows a table a topic, and writes JSON if asked."""

from __future__ import annotations

import importlib
import json
import statistics
import tempfile
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.bench import Bench, WorkerError
from benchmarks.contestants import OURS, THEIRS
from benchmarks.corpus import Corpus, load
from benchmarks.machine import machine, versions
from benchmarks.table import Row, Table
from benchmarks.topics import Topic

# The first search, then what the percentiles are taken over.
_QUERIES = 201


def main(
    rows: Annotated[int, typer.Option(min=10, help="Texts in the corpus.")] = 2000,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each contestant.")] = 3,
    topic: Annotated[
        Optional[list[Topic]],  # noqa: UP045, typer reads it at run time
        typer.Option(help="What to measure; may be repeated. All if left out."),
    ] = None,
    json_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--json", help="Where to write all figures."),
    ] = None,
) -> None:
    """Measure `sbert` against LanceDB's own function, in turns, each run in a new process."""
    console = Console()
    corpus = load(rows, _QUERIES)
    _show_setting(console, corpus)
    tables: list[Table] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        Console(stderr=True).status("") as status,
    ):
        bench = Bench(corpus, rounds, Path(folder), status.update)
        for chosen in dict.fromkeys(topic or Topic):
            try:
                found = importlib.import_module(chosen.module).report(bench)
            except WorkerError as error:
                console.print(str(error), style="red", markup=False)
                raise typer.Exit(1) from None
            for table in found:
                _show(console, table)
            tables += found
    if json_file is not None:
        content = {
            "machine": machine(),
            "versions": versions(),
            "corpus": {"source": corpus.source, **corpus.summary()},
            "rounds": rounds,
            "tables": [table.as_dict() for table in tables],
        }
        json_file.write_text(json.dumps(content, indent=2), encoding="utf-8")


def _show_setting(console: Console, corpus: Corpus) -> None:
    facts = corpus.summary()
    lines = [
        f"{OURS} (torch, float32) against LanceDB's {THEIRS}, same weights, all-MiniLM-L6-v2",
        machine(),
        versions(),
        f"Corpus: {corpus.source}",
        f"{facts['texts']:,} texts; tokens: mean {facts['mean_tokens']:.1f}, median "
        f"{facts['median_tokens']:.0f}, 90th percentile {facts['p90_tokens']:.0f}",
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _show(console: Console, table: Table) -> None:
    shown = RichTable(title=table.title, title_justify="left", title_style="bold")
    shown.add_column("")
    for name in (OURS, THEIRS):
        shown.add_column(name, justify="right")
    shown.add_column("better by", justify="right")
    for row in table.rows:
        shown.add_row(row.what, _median(row.ours, row), _median(row.theirs, row), _ratio(row))
    console.print()
    console.print(shown)
    for note in table.notes:
        console.print(note, highlight=False, markup=False)


def _median(values: list[float], row: Row) -> str:
    value = statistics.median(values)
    number = f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
    return f"{number} {row.unit}".strip()


def _ratio(row: Row) -> str:
    ratios = row.ratios()
    if not ratios:
        return "-"
    spread = f" ({min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else ""
    return f"{statistics.median(ratios):.2f}x{spread}"


if __name__ == "__main__":
    typer.run(main)
