"""The loop of all work on a vector column: plan, embed, put into the table in one commit.

Others may write meanwhile. What they add is planned for in another round, what they change is
embedded anew, and a commit that came too late is made again from what is still valid.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable
from typing import Any

from lancedb_embedders.errors import EmbeddingWarning, TableError
from lancedb_embedders.progress import progress_bar
from lancedb_embedders.settings import settings
from lancedb_embedders.tables.commit import Assembler, patch, switch
from lancedb_embedders.tables.engines import Run
from lancedb_embedders.tables.job import Job
from lancedb_embedders.tables.parts import Parts, PartsGoneError
from lancedb_embedders.tables.recorded import Work, work_on
from lancedb_embedders.tables.report import Report
from lancedb_embedders.tables.slices import finished_rows, remaining, units

# Rows after which what is done is kept: about half a minute of a small model on two cores.
CHECKPOINT_ROWS = 2048
# What differs between warnings of the same kind.
_NUMBERS = re.compile(r"\(rows? [^)]*\)|\d+")
# Rounds in which others were faster; each embeds only what they wrote.
_ROUNDS = 200

#: Given the newest version, the metadata that the table is to have with the new column.
Metadata = Callable[[Any], dict[str, str]]


def fill(
    job: Job,
    run: Run,
    metadata: Metadata | None = None,
    checkpoint_rows: int | None = None,
    progress: bool | None = None,
) -> Report:
    """Embed the rows of a job that are not finished, and put all into the table.

    Parameters
    ----------
    job : Job
        The work.
    run : callable
        What works on units.
    metadata : callable, optional
        For a new column: what the schema is to say.
    checkpoint_rows : int, optional
        Rows after which what is done is kept.
    progress : bool, optional
        Whether to show a bar; None: on a terminal.

    Raises
    ------
    TableError
        Others wrote faster than this could follow, or there is no space left, or the disk or
        object store fails otherwise. What was finished is kept.
    """
    size = checkpoint_rows or CHECKPOINT_ROWS
    began = time.monotonic()
    parts = Parts(job)
    assembler = Assembler(job, parts)
    tally = _Tally()
    examined: set[Any] = set()
    guarded = job.place.storage_errors
    noted: Work | None = None
    for round_number in range(_ROUNDS):
        with guarded("reading the table"):
            dataset = committed = job.place.dataset()
            before, noted = noted, work_on(dataset.schema, job.vector)
            done = parts.finished()
            if round_number == 0:
                tally.resumed = finished_rows(dataset, job, done)
            elif metadata and before != noted and noted and noted.job == job.key:
                # Another process did the same, and was faster.
                return tally.report(job, committed, False, began)
            looked = done if job.in_new_column else [*done, *examined]
            todo = remaining(dataset, job, looked, size)
        if todo:
            examined |= _work(job, run, units(todo, size), tally, progress)
            continue
        try:
            with guarded("putting vectors into the table"):
                files = assembler.files(dataset, done)
                if files or job.in_new_column:
                    committed = _committed(dataset, job, assembler, files, metadata)
        except PartsGoneError:
            continue
        if committed is not None:
            return tally.report(job, committed, committed.version != dataset.version, began)
    raise TableError(
        f"others wrote to the table faster than {job.vector!r} could be filled, {_ROUNDS} times "
        "in a row. The table is as they left it, and what was finished is kept: call again when "
        "less is written"
    )


def _committed(
    dataset: Any, job: Job, assembler: Assembler, files: dict[int, str], metadata: Metadata | None
) -> Any:
    """Return the version that was made; None: others were faster."""
    from lance.commit import CommitConflictError

    try:
        if metadata is None:
            return patch(dataset, job, files)
        return switch(dataset, job, files, assembler.schema(dataset, metadata(dataset)))
    except CommitConflictError:
        return None


class _Tally:
    """What units came to so far."""

    def __init__(self) -> None:
        self.rows = self.embedded = self.resumed = self.blank = 0
        self.said: set[str] = set()

    def report(self, job: Job, dataset: Any, changed: bool, began: float) -> Report:
        """Say so, with the version that the table is at now."""
        return Report(
            vector=job.vector,
            rows=self.rows,
            embedded=self.embedded,
            resumed=self.resumed,
            blank=self.blank,
            version=dataset.version,
            changed=changed,
            seconds=time.monotonic() - began,
        )

    def hear(self, messages: tuple[str, ...]) -> None:
        """Warn of what was not said before; numbers make no difference."""
        for message in messages:
            kind = _NUMBERS.sub("", message)
            if kind not in self.said:
                self.said.add(kind)
                warnings.warn(
                    f"{message} (of one batch of several; it is not said again for others)",
                    EmbeddingWarning,
                    stacklevel=4,
                )


def _work(job: Job, run: Run, work: Any, tally: _Tally, progress: bool | None) -> set[Any]:
    total = sum(one.rows for unit in work for one in unit)
    shown = settings.progress if progress is None else progress
    seen: set[Any] = set()
    with progress_bar(total, "rows", shown) as bar:
        for done in run(job, work):
            tally.rows += done.rows
            tally.embedded += done.embedded
            tally.blank += done.blank
            tally.hear(done.warnings)
            seen.update(done.slices)
            bar.update(sum(one.rows for one in done.slices))
    return seen
