"""One row at a time into tables that were just opened."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmarks.contestants import THEIRS, counted_loads, create, open_table
from benchmarks.job import Job, Result
from benchmarks.table import Table
from benchmarks.timing import seconds

if TYPE_CHECKING:
    from benchmarks.bench import Bench

_ADDS = 5


def measure(job: Job) -> Result:
    """Add a row, then more, the table opened from disk before each."""
    rows = job.rows()
    with counted_loads() as loads:
        first = _add(job, rows[:1])
        first_loads = loads[0]
        later = statistics.median(_add(job, [row]) for row in rows[1 : 1 + _ADDS])
        later_loads = loads[0] - first_loads
        # A loaded function that is alive and equal is what the built-in one finds again.
        function = create(job.who)
        function.compute_source_embeddings(["a"])
        before = loads[0]
        held = statistics.median(_add(job, [row]) for row in rows[1 : 1 + _ADDS])
        held_loads = loads[0] - before
    return {
        "first": first * 1000,
        "first_loads": first_loads,
        "later": later * 1000,
        "later_loads": later_loads,
        "held": held * 1000,
        "held_loads": held_loads,
    }


def _add(job: Job, rows: list[dict[str, str]]) -> float:
    table = open_table(job.who, job.database)
    return seconds(lambda: table.add(rows))


def report(bench: Bench) -> list[Table]:
    """Return seconds and loads."""
    results = bench.in_turns(__name__, bench.corpus.queries[: 1 + _ADDS], table_rows=0)
    table = Table("second-add: one short row into a table opened from disk")
    table.add("first add of a process, libraries imported before", "ms", results, "first")
    table.add("model loads in it", "", results, "first_loads")
    table.add("a later add, table opened anew", "ms", results, "later")
    table.add(f"model loads in {_ADDS} later adds", "", results, "later_loads")
    table.add("the same while the program holds a loaded function", "ms", results, "held")
    table.add(f"model loads in {_ADDS} such adds", "", results, "held_loads")
    table.notes.append(
        f"{THEIRS} keeps its model only as long as the program holds a function that has loaded "
        "it and is equal to the table's."
    )
    return [table]
