"""Rows a second through ``table.add``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.contestants import THEIRS, counted_loads, create, open_table
from benchmarks.job import Job, Result
from benchmarks.table import Table
from benchmarks.timing import seconds

if TYPE_CHECKING:
    from benchmarks.bench import Bench

# Enough to tell whether both embed the same; the rest would tell the same again.
_COMPARED = 500
_RATES = {
    "first": "first add, libraries and model loading included",
    "again": "next add, table opened anew, as users get it",
    "kept": "no table: embedding and Arrow conversion, model kept loaded",
}


def measure(job: Job) -> Result:
    """Add the texts twice, the table opened from disk each time; then embed them alone."""
    rows, count = job.rows(), len(job.texts())
    table = open_table(job.who, job.database)
    first = seconds(lambda: table.add(rows))
    table = open_table(job.who, job.database)
    with counted_loads() as loads:
        again = seconds(lambda: table.add(rows))
    return {
        "first": count / first,
        "again": count / again,
        "loads": loads[0],
        "kept": count / _kept(job),
    }


def _kept(job: Job) -> float:
    from benchmarks.conversion import to_arrow

    texts = job.texts()
    function = create(job.who)
    dims = function.ndims()
    function.compute_source_embeddings(texts[:8])
    return seconds(lambda: to_arrow(function.compute_source_embeddings(texts), dims))


def report(bench: Bench) -> list[Table]:
    """Return the rates."""
    texts = bench.corpus.texts
    results = bench.in_turns(__name__, texts, table_rows=0)
    lowest = bench.run("benchmarks.agreement", texts[:_COMPARED])["lowest"]
    table = Table(f"add: {len(texts):,} rows of mixed lengths through table.add")
    for key, what in _RATES.items():
        table.add(what, "rows/s", results, key, more_is_better=True)
    table.add("model loads in the next add", "", results, "loads")
    table.notes += [
        f"{THEIRS} loads its model again in the next add; the line without a table keeps it "
        "loaded by hand, for fairness.",
        f"Same vectors: the lowest cosine between the two over {min(_COMPARED, len(texts)):,} "
        f"texts is {lowest:.6f}.",
    ]
    return [table]
