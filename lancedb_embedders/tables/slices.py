"""Which rows are still to be done: ranges of a table's fragments.

A range is known by a fragment, where it starts and stops, and the state of that fragment: the
files that its rows are in. A fragment whose text was rewritten is in another state, and what was
made from it before no longer counts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from lancedb_embedders.tables.job import Job

_NAME = re.compile(r"(\d+)-(\d+)-(\d+)-([0-9a-f]{16})\.lance")


@dataclass(frozen=True, order=True)
class Slice:
    """Rows of a fragment, deleted ones included.

    Attributes
    ----------
    fragment : int
        Number of the fragment.
    start, stop : int
        The rows, from 0 in each fragment.
    state : str
        State of the fragment.
    """

    fragment: int
    start: int
    stop: int
    state: str

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.stop - self.start

    @property
    def name(self) -> str:
        """Return the name of the file that holds its vectors."""
        return f"{self.fragment}-{self.start}-{self.stop}-{self.state}.lance"


def parse(name: str) -> Slice | None:
    """Return the slice whose vectors a file holds; None: it is no such file."""
    found = _NAME.fullmatch(name.rpartition("/")[2])
    if found is None:
        return None
    return Slice(int(found[1]), int(found[2]), int(found[3]), found[4])


def state_of(metadata: Any, fields: set[int] | None) -> str:
    """Return the state of a fragment.

    Parameters
    ----------
    metadata : lance.FragmentMetadata
        Of the fragment.
    fields : set of int or None
        Numbers of the columns that count; None: all.
    """
    paths = sorted(
        file.path for file in metadata.files if fields is None or fields & set(file.fields)
    )
    facts = "\n".join([str(metadata.physical_rows), *paths])
    return blake2b(facts.encode(), digest_size=8).hexdigest()


def counted_fields(dataset: Any, job: Job) -> set[int] | None:
    """Return the columns that decide on the state of a fragment; None: all of them."""
    if not job.in_new_column:
        return None  # the vectors that stay count as well, and whatever a condition asks for
    return leaves(dataset.lance_schema.field(job.source))


def leaves(field: Any) -> set[int]:
    """Return the numbers of the columns that a field's values are stored in."""
    children = field.children()
    return {field.id()}.union(*(leaves(child) for child in children))


def tiles(rows: int, done: Iterable[Slice]) -> tuple[list[Slice], list[tuple[int, int]]]:
    """Return slices that follow each other without overlap, and the gaps between them."""
    kept: list[Slice] = []
    gaps: list[tuple[int, int]] = []
    at = 0
    for one in sorted(done):
        if one.start < at or one.stop > rows:
            continue  # two processes cut differently
        if one.start > at:
            gaps.append((at, one.start))
        kept.append(one)
        at = one.stop
    if at < rows:
        gaps.append((at, rows))
    return kept, gaps


def by_fragment(done: Iterable[Slice]) -> dict[tuple[int, str], list[Slice]]:
    """Return slices by fragment and its state."""
    found: dict[tuple[int, str], list[Slice]] = defaultdict(list)
    for one in done:
        found[one.fragment, one.state].append(one)
    return found


def remaining(dataset: Any, job: Job, done: Iterable[Slice], size: int) -> list[Slice]:
    """Return the slices that are still to be done, at most `size` rows each."""
    finished = by_fragment(done)
    fields = counted_fields(dataset, job)
    todo: list[Slice] = []
    for fragment in candidates(dataset, job):
        metadata = fragment.metadata
        state = state_of(metadata, fields)
        _, gaps = tiles(metadata.physical_rows, finished.get((metadata.id, state), ()))
        todo += [
            Slice(metadata.id, start, min(start + size, stop), state)
            for begin, stop in gaps
            for start in range(begin, stop, size)
        ]
    return todo


def finished_rows(dataset: Any, job: Job, done: Iterable[Slice]) -> int:
    """Return how many rows of a version are in finished slices."""
    finished = by_fragment(done)
    fields = counted_fields(dataset, job)
    return sum(
        one.rows
        for fragment in (dataset.get_fragments() if finished else ())
        for one in tiles(
            fragment.metadata.physical_rows,
            finished.get((fragment.fragment_id, state_of(fragment.metadata, fields)), ()),
        )[0]
    )


def candidates(dataset: Any, job: Job) -> Iterator[Any]:
    """Yield the fragments that may hold rows of the selection."""
    wanted = _may_hold(dataset, job)
    return (fragment for fragment in dataset.get_fragments() if wanted(fragment))


def _may_hold(dataset: Any, job: Job) -> Callable[[Any], bool]:
    chosen, schema = job.selection, dataset.lance_schema
    if chosen.kind == "where":
        return lambda fragment: bool(fragment.count_rows(chosen.where))
    if chosen.kind == "late":
        vectors = leaves(schema.field(job.vector))
        return lambda fragment: (
            not any(vectors & set(file.fields) for file in fragment.metadata.files)
        )
    if chosen.kind == "since":
        sources = leaves(schema.field(job.source))
        then = dataset.checkout_version(chosen.since)
        old = {(one.fragment_id, state_of(one.metadata, sources)) for one in then.get_fragments()}
        return lambda one: (one.fragment_id, state_of(one.metadata, sources)) not in old
    return lambda _: True


def units(todo: Sequence[Slice], size: int) -> list[tuple[Slice, ...]]:
    """Put slices together that are embedded at once: small fragments share a batch."""
    found: list[tuple[Slice, ...]] = []
    unit: list[Slice] = []
    for one in todo:
        if unit and sum(other.rows for other in unit) + one.rows > size:
            found.append(tuple(unit))
            unit = []
        unit.append(one)
    return [*found, tuple(unit)] if unit else found
