"""Makes the table that runs start from: empty, or with rows."""

from __future__ import annotations

from benchmarks.contestants import create_table
from benchmarks.job import Job, Result


def measure(job: Job) -> Result:
    """Create the table and add the job's texts; nothing is measured."""
    table = create_table(job.who, job.database)
    rows = job.rows()
    if rows:
        table.add(rows)
    return {}
