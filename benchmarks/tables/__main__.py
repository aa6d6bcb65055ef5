"""Measure work on the vectors of existing tables: ``python -m benchmarks.tables``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import corpus
from benchmarks.machine import machine, versions
from benchmarks.tables.jobs import (
    ENGINES,
    FRAGMENTS,
    Figures,
    alone,
    changes,
    fill,
    grow,
    model,
    reason_to_skip,
)

_COUNTS = (10_000, 50_000, 200_000)


def main(
    only: Annotated[
        Optional[list[str]],  # noqa: UP045, typer reads it at run time
        typer.Option(help="overhead, workers, memory or changes; may be repeated. All if left out"),
    ] = None,
    rows: Annotated[int, typer.Option(min=FRAGMENTS, help="Rows of the overhead.")] = 50_000,
    texts: Annotated[int, typer.Option(min=32, help="Texts for the bundled model.")] = 600,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each contestant.")] = 3,
    json_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--json", help="Where to write all figures."),
    ] = None,
) -> None:
    """Measure engines, workers, memory, and what changed texts cost."""
    console = Console(width=140)
    for line in (machine(), versions()):
        console.print(line, highlight=False, soft_wrap=True)
    topics: dict[str, Callable[[Console], dict[str, Figures]]] = {
        "overhead": lambda console: _overhead(console, rows, rounds),
        "workers": lambda console: _workers(console, texts),
        "memory": _memory,
        "changes": lambda console: _changes(console, texts),
    }
    figures: dict[str, Any] = {}
    for name in only or topics:
        if name not in topics:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(topics)}")
        figures[name] = topics[name](console)
        if json_file is not None:
            json_file.write_text(json.dumps(figures, indent=2), encoding="utf-8")


def _overhead(console: Console, rows: int, rounds: int) -> dict[str, Figures]:
    table = _titled(
        f"overhead: {rows:,} rows in {FRAGMENTS} fragments, a function that does nothing, 384 "
        f"dimensions; medians of {rounds}",
        "",
        "start of Ray, s",
        f"{FRAGMENTS} rows, s",
        "all rows, s",
        "µs for each more row",
    )
    found = {}
    for name in ENGINES:
        reason = reason_to_skip(name)
        if reason is not None:
            table.add_row(name, f"left out: {reason}")
            continue
        one = found[name] = alone(fill, name, rows, rounds)
        each = (one["seconds"] - one["fixed"]) / max(rows - FRAGMENTS, 1) * 1e6
        start = f"{one['start']:.1f}" if one["start"] else ""
        table.add_row(name, start, f"{one['fixed']:.2f}", f"{one['seconds']:.2f}", f"{each:.1f}")
    console.print(table)
    return found


def _workers(console: Console, count: int) -> dict[str, Figures]:
    drawn = corpus.load(count, 0)
    table = _titled(
        f"workers: {count:,} texts ({drawn.source}), sbert, float32",
        "",
        "2 rows, s",
        "all rows, s",
        "rows/s without what 2 rows take",
        "times one worker",
    )
    found: dict[str, Figures] = {}
    ways = {
        "one process, 1 thread": (None, 1),
        "one process, 2 threads": (None, 2),
        "Ray, 1 worker of 1 thread": (1, 1),
        "Ray, 2 workers of 1 thread": (2, 1),
    }
    rates = {}
    for name, (workers, threads) in ways.items():
        one = found[name] = alone(model, drawn.texts, workers, threads)
        rates[name] = (count - 2) / (one["seconds"] - one["fixed"])
    base = rates["Ray, 1 worker of 1 thread"]
    for name, one in found.items():
        table.add_row(
            name,
            f"{one['fixed']:.1f}",
            f"{one['seconds']:.1f}",
            f"{rates[name]:.0f}",
            f"{rates[name] / base:.2f}",
        )
    console.print(table)
    return found


def _memory(console: Console) -> dict[str, Figures]:
    table = _titled(
        "memory: attach by a function that does nothing, 384 dimensions, one process",
        "rows",
        "seconds",
        "µs a row",
        "peak before, MiB",
        "peak, MiB",
        "growth, MiB",
        "of all vectors, MiB",
    )
    found = {}
    for rows in _COUNTS:
        one = found[str(rows)] = alone(grow, rows)
        table.add_row(
            f"{rows:,}",
            f"{one['seconds']:.1f}",
            f"{one['seconds'] / rows * 1e6:.0f}",
            f"{one['before']:,.0f}",
            f"{one['peak']:,.0f}",
            f"{one['peak'] - one['before']:,.0f}",
            f"{rows * 384 * 4 / 2**20:,.0f}",
        )
    console.print(table)
    return found


def _changes(console: Console, count: int) -> dict[str, Figures]:
    drawn = corpus.load(count, 0)
    one = alone(changes, drawn.texts)
    table = _titled(f"changes: {count:,} texts ({drawn.source}), sbert", "", "seconds", "times")
    ours = (
        ("1 % of texts changed", "refresh", "reembed", "of all rows"),
        ("all rows handed over, 10 % of texts changed", "upsert", "merge_insert", "of LanceDB"),
    )
    for what, fast, slow, of in ours:
        table.add_row(f"{what}: {fast}", f"{one[fast]:.2f}", "")
        table.add_row(f"the same: {slow} {of}", f"{one[slow]:.2f}", f"{one[slow] / one[fast]:.1f}")
    console.print(table)
    return {"changes": one}


def _titled(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number or name else "left")
    return table


if __name__ == "__main__":
    typer.run(main)
