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
    import pyarrow as pa

    from benchmarks.conversion import to_arrow

    texts = pa.array(job.texts())
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
    rate = {"unit": "rows/s", "results": results, "more_is_better": True}
    table.add("first add of a process, libraries and model loaded on the way", key="first", **rate)
    table.add("next add, table opened anew: as users get it", key="again", **rate)
    table.add("embedding and Arrow conversion alone, model kept loaded", key="kept", **rate)
    table.add("model loads in the next add", "", results, "loads")
    table.notes += [
        f"{THEIRS} loads its model again in the next add; where its model is kept loaded, that is "
        "done by hand, for fairness.",
        f"Same vectors: the lowest cosine between the two over {min(_COMPARED, len(texts)):,} "
        f"texts is {lowest:.6f}.",
    ]
    return [table]
