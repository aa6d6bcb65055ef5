"""Measure `cached-openai` against a server on this machine: ``python -m benchmarks.hosted``.

``--topic first``, ``second`` and ``faults`` choose; all if left out. It takes about twenty minutes.
The heavy imports are in the processes that it starts: on Linux a new process begins with the peak
memory of the one that started it.
"""

from __future__ import annotations

import json
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.hosted.environment import langchain_python, langchain_versions
from benchmarks.hosted.job import WorkerError
from benchmarks.hosted.server import LATENCY
from benchmarks.hosted.speed import Line, Speed
from benchmarks.machine import machine, versions

_TOPICS = ("first", "second", "faults")


def main(
    topic: Annotated[
        Optional[list[str]],  # noqa: UP045, typer reads it at run time
        typer.Option(help=f"One of {', '.join(_TOPICS)}; may be repeated. All if left out."),
    ] = None,
    rows: Annotated[int, typer.Option(min=100, help="Texts of the first fill.")] = 20_000,
    cached: Annotated[int, typer.Option(min=100, help="Texts of our second fill.")] = 50_000,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each contestant.")] = 3,
    rate: Annotated[float, typer.Option(min=1, help="Texts a second of a limited server.")] = 5000,
    latency: Annotated[float, typer.Option(min=0, help="Seconds before each answer.")] = LATENCY,
    limit: Annotated[float, typer.Option(min=1, help="Seconds that a fault may take.")] = 60,
    case: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="A fault, as named in the table; may be repeated. All if left out."),
    ] = None,
    json_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--json", help="Where to write all figures."),
    ] = None,
) -> None:
    """Measure first and second fill and what faults do, ours and theirs in turns."""
    console = Console(width=160)
    topics = topic or list(_TOPICS)
    _say(console, machine(), f"{versions()}, openai {version('openai')}")
    figures: dict[str, Any] = {"machine": machine(), "versions": versions()}
    with tempfile.TemporaryDirectory() as folder, Console(stderr=True).status("") as status:
        python = None
        if {"first", "second"}.intersection(topics):
            status.update("LangChain's environment")
            python = langchain_python()
            found = langchain_versions(python) if python else "LangChain cannot be installed here"
            _say(console, found if python else f"{found}: left out")
        speed = Speed(Path(folder), rounds, latency, python, status.update)
        speed.write_texts(max(rows, cached))
        try:
            if "first" in topics:
                for server_rate in (None, rate):
                    lines = speed.first(rows, server_rate)
                    figures[f"first, {server_rate}"] = [line.as_dict() for line in lines]
                    console.print(_first_table(lines, server_rate, latency))
            if "second" in topics:
                lines = speed.second(sorted({rows, cached}))
                figures["second"] = [line.as_dict() for line in lines]
                console.print(_second_table(lines))
        except WorkerError as error:
            console.print(str(error), style="red", markup=False)
            raise typer.Exit(1) from None
        if "faults" in topics:
            figures["faults"] = _faults(console, Path(folder), limit, case or [], status.update)
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2), encoding="utf-8")


def _first_table(lines: list[Line], rate: float | None, latency: float) -> Table:
    limited = "as fast as it can" if rate is None else f"of {rate:,.0f} texts/s"
    table = Table(
        title=f"first fill: {lines[0].rows:,} texts, a server {limited}, {latency * 1000:.0f} ms",
        title_justify="left",
    )
    _columns(table, "of what the server gives")
    for line in lines:
        table.add_row(*_cells(line, lines[0]), f"{line.rate() / (rate or lines[-1].rate()):.0%}")
    return table


def _second_table(lines: list[Line]) -> Table:
    table = Table(title="second fill: all vectors from the cache", title_justify="left")
    _columns(table)
    for line in lines:
        table.add_row(*_cells(line, lines[0]))
    return table


def _columns(table: Table, *more: str) -> None:
    table.add_column("")
    for name in (
        "texts",
        "requests",
        "seconds",
        "vectors/s",
        "first line is faster by",
        "CPU s per million",
        "peak MiB",
        "of it for texts",
        *more,
    ):
        table.add_column(name, justify="right")


def _cells(line: Line, first: Line) -> list[str]:
    low, high = min(line.seconds), max(line.seconds)
    return [
        line.name,
        f"{line.rows:,}",
        f"{line.requests[-1]:,}",
        f"{low:.2f} to {high:.2f}",
        f"{line.rate():,.0f}",
        f"{first.rate() / line.rate():.2f}x",
        f"{line.cpu_per_million():,.0f}",
        f"{line.memory():,.0f}",
        f"{line.extra():,.0f}",
    ]


def _faults(
    console: Console, folder: Path, limit: float, chosen: list[str], report: Any
) -> list[dict[str, Any]]:
    from benchmarks.hosted import faults

    table = Table(title="faults: 8,192 texts, 4 requests", title_justify="left")
    for name in ("fault", "", "requests", "texts paid", "seconds", "rows", "null", "NaN", "ended"):
        table.add_column(name, justify="right" if name[:1].islower() else "left")
    found = []
    for outcome in faults.measure(folder, limit, chosen, report):
        found.append(outcome.as_dict())
        numbers = (outcome.requests, outcome.texts)
        held = (outcome.rows, outcome.nulls, outcome.bad)
        table.add_row(
            outcome.case,
            outcome.who,
            *(f"{number:,}" for number in numbers),
            f"{outcome.seconds:.1f}",
            *(f"{number:,}" for number in held),
            outcome.ended[:300],
        )
    console.print(table)
    return found


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
