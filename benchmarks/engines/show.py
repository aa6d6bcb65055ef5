"""The table of all contestants, as the terminal shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.engines.columns import Columns
from benchmarks.engines.measured import Measured
from benchmarks.job import Result

_WIDTH = 190


def console() -> Console:
    """Return a console that is wide enough for the table wherever the output goes."""
    found = Console()
    return found if found.width >= _WIDTH else Console(width=_WIDTH)


def show(out: Console, found: Sequence[Measured], table: Mapping[str, Columns]) -> None:
    """Print the table, and below it why a contestant has no figures."""
    shown = Table(title="Engines, through a table", title_justify="left", title_style="bold")
    shown.add_column("", no_wrap=True)
    headings = (
        "texts/s",
        "times\nbuilt-in",
        "texts per\nCPU s",
        "times\nbuilt-in",
        "tokens/s",
        "% of\nlimit",
        "padding\n%",
        "STS\ntest",
        "STS\ndev",
        "cosine\nlowest",
        "cosine\nmean",
        "peak\nMiB",
        "ready\ns",
        "query ms\np50 / p99",
        "busy ms\np50 / p99",
    )
    for heading in headings:
        shown.add_column(heading, justify="right")
    for one in found:
        row = table[one.contestant.name]
        if one.failure:
            shown.add_row(one.contestant.label, "see below")
            continue
        shown.add_row(
            one.contestant.label,
            _number(row["texts_per_second"], 1),
            _spread(row),
            _number(row["texts_per_cpu_second"], 1),
            _number(row["times_built_in_per_cpu_second"], 2),
            _number(row["tokens_per_second"], 0),
            _number(row["limit_percent"], 0),
            _number(row["padding_percent"], 1),
            _number(row["sts_test"], 2),
            _number(row["sts_dev"], 2),
            _number(row["cosine_lowest"], 6),
            _number(row["cosine_mean"], 6),
            _number(row["peak_mib"], 0),
            _number(row["ready_seconds"], 1),
            _pair(row["p50_ms"], row["p99_ms"]),
            _pair(row["busy_p50_ms"], row["busy_p99_ms"]),
        )
    out.print()
    out.print(shown)
    for one in found:
        if one.failure:
            line(out, f"{one.contestant.label} ({one.contestant.name}): {one.failure}")


def show_limit(out: Console, limit: Result) -> None:
    """Print how fast the machine multiplies matrices."""
    text = ", ".join(f"{name} {value:,.0f}" for name, value in limit.items())
    line(out, f"Limit of the machine in GFLOP/s, its best by arithmetic and by shape: {text}")


def line(out: Console, text: str) -> None:
    """Print a line as it is."""
    out.print(text, highlight=False, markup=False, soft_wrap=True)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _pair(first: float | None, second: float | None) -> str:
    return "-" if first is None else f"{_number(first, 1)} / {_number(second, 1)}"


def _spread(row: Columns) -> str:
    times, low, high = (row[f"times_built_in{ending}"] for ending in ("", "_lowest", "_highest"))
    if times is None:
        return "-"
    return f"{times:.2f}" if low == high else f"{times:.2f} ({low:.2f}-{high:.2f})"
