"""Peak memory of a process that adds the corpus."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from benchmarks.contestants import OURS, THEIRS, open_table
from benchmarks.job import Job, Result
from benchmarks.table import Row, Table

if TYPE_CHECKING:
    from benchmarks.bench import Bench


def measure(job: Job) -> Result:
    """Add the texts and return the peak of resident memory in MiB."""
    open_table(job.who, job.database).add(job.rows())
    return {"peak": peak()}


def peak() -> float:
    """Return the peak of resident memory of this process in MiB."""
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 2**20
    import resource

    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest / (2**20 if sys.platform == "darwin" else 2**10)


def report(bench: Bench) -> list[Table]:
    """Return the peaks."""
    texts = bench.corpus.texts
    one = bench.in_turns(__name__, texts[:1], table_rows=0)
    all_ = bench.in_turns(__name__, texts, table_rows=0)
    table = Table("memory: peak resident memory of a process")
    table.add("that adds one row: libraries and model", "MiB", one, "peak")
    table.add(f"that adds {len(texts):,} rows", "MiB", all_, "peak")
    extra = {
        who: [a["peak"] - b["peak"] for a, b in zip(all_[who], one[who], strict=True)]
        for who in (OURS, THEIRS)
    }
    table.rows.append(Row("what the rows take, the difference", "MiB", extra[OURS], extra[THEIRS]))
    return [table]
