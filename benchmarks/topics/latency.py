"""How long a search takes: the first of a process, and the ones after."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from benchmarks.contestants import open_table
from benchmarks.job import Job, Result
from benchmarks.table import Table
from benchmarks.timing import seconds

if TYPE_CHECKING:
    from benchmarks.bench import Bench

_ROWS = 500
_WARM_UP = 20


def measure(job: Job) -> Result:
    """Search once, then for each text; the time of the first counts from process start."""
    table = open_table(job.who, job.database)
    opened = time.time() - job.started
    first_query, *queries = job.texts()
    search(table, first_query)
    first = time.time() - job.started
    for query in queries[:_WARM_UP]:
        search(table, query)

    import numpy as np

    times = [seconds(lambda q=query: search(table, q)) for query in queries]  # type: ignore[misc]
    p50, p99 = np.percentile(times, [50, 99]) * 1000
    return {"opened": opened, "first": first, "p50": float(p50), "p99": float(p99)}


def search(table: Any, query: str) -> Any:
    """Search as a user does."""
    return table.search(query).limit(5).to_list()


def report(bench: Bench) -> list[Table]:
    """Return the latencies."""
    queries = bench.corpus.queries
    rows = min(_ROWS, len(bench.corpus.texts))
    results = bench.in_turns(__name__, queries, table_rows=rows)
    table = Table(f"latency: table.search(text).limit(5).to_list() on {rows:,} rows")
    table.add("process start to table opened, imports included", "s", results, "opened")
    table.add("process start to first result", "s", results, "first")
    table.add(f"warm query, median of {len(queries) - 1}", "ms", results, "p50")
    table.add("warm query, 99th percentile", "ms", results, "p99")
    return [table]
