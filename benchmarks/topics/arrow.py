"""Vectors to an Arrow column: a float32 array against lists of Python floats."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmarks.contestants import OURS, THEIRS
from benchmarks.job import Job, Result
from benchmarks.table import Row, Table
from benchmarks.timing import seconds

if TYPE_CHECKING:
    from benchmarks.bench import Bench

_VECTORS = 10_000
_DIMS = 384
_REPEATS = 5


def measure(_job: Job) -> Result:
    """Convert both forms of the same vectors, in turns."""
    import numpy as np

    from benchmarks.conversion import to_arrow

    vectors = np.random.default_rng(0).standard_normal((_VECTORS, _DIMS), dtype=np.float32)
    lists = vectors.tolist()
    times: dict[str, list[float]] = {"array": [], "lists": [], "listing": []}
    for _ in range(_REPEATS):
        times["array"].append(seconds(lambda: to_arrow(vectors, _DIMS)))
        times["listing"].append(seconds(vectors.tolist))
        times["lists"].append(seconds(lambda: to_arrow(lists, _DIMS)))
    return {name: 1000 * statistics.median(found) for name, found in times.items()}


def report(bench: Bench) -> list[Table]:
    """Return the times of both forms."""
    runs = []
    for number in range(1, bench.rounds + 1):
        bench.report(f"arrow: round {number} of {bench.rounds}")
        runs.append(bench.run(__name__, []))
    array = [run["array"] for run in runs]
    lists = [run["lists"] for run in runs]
    with_listing = [run["lists"] + run["listing"] for run in runs]
    table = Table(f"arrow: {_VECTORS:,} vectors of {_DIMS} dimensions to a LanceDB column")
    table.rows += [
        Row("conversion of what the function returns", "ms", array, lists),
        Row("with making it of the model's array", "ms", array, with_listing),
    ]
    table.notes.append(f"{OURS} returns a float32 array, {THEIRS} its .tolist().")
    return [table]
