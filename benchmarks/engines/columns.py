"""What measurements come to: the columns of the table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.engines.contestants import BUILT_IN
from benchmarks.engines.measured import Measured
from benchmarks.job import Result

#: Every contestant has all of these; None where there is no figure.
COLUMNS = (
    "texts_per_second",
    "texts_per_cpu_second",
    "tokens_per_second",
    "times_built_in",
    "times_built_in_lowest",
    "times_built_in_highest",
    "times_built_in_per_cpu_second",
    "limit_percent",
    "sts_test",
    "sts_dev",
    "cosine_lowest",
    "cosine_mean",
    "peak_mib",
    "ready_seconds",
    "p50_ms",
    "p99_ms",
    "busy_p50_ms",
    "busy_p99_ms",
    "padding_percent",
)

Columns = dict[str, float | None]


def columns(
    found: Sequence[Measured], limit: Result, texts: int, tokens: int, operations: int
) -> dict[str, Columns]:
    """Return the columns of each contestant by its name.

    Parameters
    ----------
    found : sequence of Measured
        What was measured.
    limit : dict
        GFLOP/s that the machine reaches, by arithmetic.
    texts, tokens, operations : int
        What one run embeds: texts, their tokens after cutting, and the model's floating-point
        operations for these, no padding included.
    """
    runs = {one.contestant.name: one.runs for one in found if not one.failure}
    built_in = runs.get(BUILT_IN, [])
    table: dict[str, Columns] = {}
    for one in found:
        name = one.contestant.name
        row: Columns = dict.fromkeys(COLUMNS)
        table[name] = row
        if name not in runs:
            continue
        taken = _median(one.runs, "seconds")
        used = _median(one.runs, "cpu_seconds")
        row |= {
            "texts_per_second": texts / taken,
            "texts_per_cpu_second": texts / used,
            "tokens_per_second": tokens / taken,
            "peak_mib": _median(one.runs, "peak"),
            "ready_seconds": _median(one.runs, "ready"),
        }
        for key in ("p50", "p99", "busy_p50", "busy_p99"):
            if key in one.runs[0]:
                row[f"{key}_ms"] = _median(one.runs, key)
        if "padding" in one.runs[0]:
            row["padding_percent"] = 100 * _median(one.runs, "padding")
        if built_in:
            ratios = [
                theirs["seconds"] / own["seconds"]
                for own, theirs in zip(one.runs, built_in, strict=True)
            ]
            row |= {
                "times_built_in": _median(built_in, "seconds") / taken,
                "times_built_in_lowest": min(ratios),
                "times_built_in_highest": max(ratios),
                "times_built_in_per_cpu_second": _median(built_in, "cpu_seconds") / used,
            }
        # What the processor has no instructions for is computed as float32 is.
        reached = limit.get(one.contestant.arithmetic, limit["float32"])
        if one.contestant.arithmetic:
            row["limit_percent"] = 100 * operations / taken / 1e9 / reached
        row |= one.quality
    return table


def _median(runs: Sequence[Result], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def as_dict(one: Measured, row: Columns) -> dict[str, Any]:
    """Return a contestant with all its figures, for JSON."""
    return {
        "name": one.contestant.name,
        "label": one.contestant.label,
        "failure": one.failure or None,
        "columns": row,
        "runs": one.runs,
    }
