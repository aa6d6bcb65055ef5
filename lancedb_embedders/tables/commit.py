"""From finished slices to the table: one commit, that all of it is in or none."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from copy import copy
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa

from lancedb_embedders.tables.columns import joined, placed
from lancedb_embedders.tables.job import Job
from lancedb_embedders.tables.parts import Parts, PartsGoneError
from lancedb_embedders.tables.place import Place
from lancedb_embedders.tables.recorded import decoded
from lancedb_embedders.tables.slices import (
    Slice,
    by_fragment,
    counted_fields,
    leaves,
    state_of,
    tiles,
)

# What is copied at once.
_ROWS = 4096
# Lance's mark for a column of a data file that has been written anew elsewhere.
_REPLACED = -2
# Of columns that wait for the name of an old one.
_NEW = "__new_"


class Assembler:
    """Writes the data files of fragments whose slices are finished; each is written once.

    Parameters
    ----------
    job : Job
        The work.
    parts : Parts
        Its finished slices.
    """

    def __init__(self, job: Job, parts: Parts) -> None:
        self.job = job
        self.parts = parts
        self._written: dict[tuple[int, str], str] = {}
        self._schema: tuple[Any, Any] | None = None

    def files(self, dataset: Any, done: Iterable[Slice]) -> dict[int, str]:
        """Return the names of data files by fragment, of a version of which nothing remains."""
        fields = counted_fields(dataset, self.job)
        finished = by_fragment(done)
        found: dict[int, str] = {}
        new: list[tuple[int, str]] = []
        try:
            for fragment in dataset.get_fragments():
                key = fragment.fragment_id, state_of(fragment.metadata, fields)
                slices = finished.get(key, [])
                if key not in self._written and (slices or self.job.in_new_column):
                    self._written[key] = self._write(dataset, fragment, slices)
                    new.append(key)
                if (name := self._written.get(key)) is not None:
                    found[fragment.fragment_id] = name
        except BaseException:
            # Or a disk that is full would be so again after each attempt. No commit has seen these.
            self._delete(new)
            raise
        return found

    def schema(self, dataset: Any, metadata: dict[str, str]) -> Any:
        """Return the schema with new columns and metadata; made anew only where others changed it.

        Between that and the commit others may write, so the less there is to do the better.
        """
        numbers = (
            n for f in dataset.get_fragments() for file in f.metadata.files for n in file.fields
        )
        # Lance gives a number to a column that is higher than any in use, dropped ones included.
        known = repr(dataset.lance_schema), max(numbers, default=0), sorted(metadata.items())
        if self._schema is None or self._schema[0] != known:
            made = _schema(dataset, self.job, metadata, self.parts.scratch())
            self._schema = known, made
        return self._schema[1]

    def _delete(self, keys: list[tuple[int, str]]) -> None:
        session = self.job.place.session("data")
        for key in keys:
            with suppress(OSError, RuntimeError):
                session.delete_file(self._written.pop(key))

    def _write(self, dataset: Any, fragment: Any, slices: list[Slice]) -> str:
        name = f"{uuid4().hex}.lance"
        schema = pa.schema(self.job.new_fields())
        session = self.job.place.session("data")
        version = dataset.data_storage_version
        with session.open_writer(name, schema=schema, version=version) as writer:
            for batch in self._batches(fragment, slices):
                writer.write_batch(batch.cast(schema))
        return name

    def _batches(self, fragment: Any, slices: list[Slice]) -> Iterator[pa.Table]:
        kept, gaps = tiles(fragment.metadata.physical_rows, slices)
        pieces = [(one.start, one.stop, one) for one in kept]
        # Rows of the column that stays, which were not selected.
        untouched = [
            (a, min(a + _ROWS, stop), None) for b, stop in gaps for a in range(b, stop, _ROWS)
        ]
        for start, stop, one in sorted([*pieces, *untouched], key=lambda piece: piece[0]):
            old = None if self.job.in_new_column else self._old(fragment, start, stop - start)
            if one is None:
                if old is None:
                    raise PartsGoneError(f"rows from {start}")
                yield old
                continue
            new = self.parts.read(one)
            yield self._merged(old, new, stop - start)

    def _merged(self, old: pa.Table | None, new: pa.Table, rows: int) -> pa.Table:
        places = new["offset"].to_numpy().astype(np.int64)
        fields = self.job.new_fields()
        columns = [
            placed(
                None if old is None else joined(old[field.name]),
                joined(new[field.name]),
                places,
                rows,
            )
            for field in fields
        ]
        return pa.table(columns, schema=pa.schema(fields))

    def _old(self, fragment: Any, start: int, rows: int) -> pa.Table:
        names = [field.name for field in self.job.new_fields()]
        scanner = fragment.scanner(
            columns=names, offset=start, limit=rows, include_deleted_rows=True, with_row_id=True
        )
        return scanner.to_table().select(names)


def switch(dataset: Any, job: Job, files: Mapping[int, str], schema: Any) -> Any:
    """Put new columns in the place of those of the same names, with the table's new metadata.

    Parameters
    ----------
    dataset : lance.LanceDataset
        The newest version.
    job : Job
        The work.
    files : mapping of int to str
        A data file for each fragment.
    schema : lance.schema.LanceSchema
        From `Assembler.schema`.

    Returns
    -------
    lance.LanceDataset
        The version that was made.

    Raises
    ------
    lance.commit.CommitConflictError
        The table has a newer version; nothing was changed.
    """
    import lance

    present = set().union(*(leaves(field) for field in schema.fields()))
    fragments = []
    for fragment in dataset.get_fragments():
        old = [file for file in fragment.metadata.files if present & set(file.fields)]
        new = data_file(schema, job, files[fragment.fragment_id], fragment.metadata)
        fragments.append(dataclasses.replace(fragment.metadata, files=[*old, new]))
    # Rows that others append meanwhile have null in the new column, rather than their writer an
    # error; they are filled afterwards.
    operation = lance.LanceOperation.Merge(fragments, schema, preserves_nullability=True)
    return _commit(dataset, job.place, operation)


def patch(dataset: Any, job: Job, files: Mapping[int, str]) -> Any:
    """Put data files in the place of what columns hold in some fragments; see `switch`."""
    import lance

    schema = dataset.lance_schema
    replaced = set().union(*(leaves(schema.field(field.name)) for field in job.new_fields()))
    fragments = []
    for fragment in dataset.get_fragments():
        if fragment.fragment_id not in files:
            continue
        old = []
        for file in fragment.metadata.files:
            fields = [_REPLACED if one in replaced else one for one in file.fields]
            if any(one != _REPLACED for one in fields):
                kept = copy(file)
                kept.fields = fields
                old.append(kept)
        new = data_file(schema, job, files[fragment.fragment_id], fragment.metadata)
        fragments.append(dataclasses.replace(fragment.metadata, files=[*old, new]))
    operation = lance.LanceOperation.Update(
        updated_fragments=fragments, fields_modified=sorted(replaced)
    )
    return _commit(dataset, job.place, operation)


def data_file(schema: Any, job: Job, name: str, metadata: Any) -> Any:
    """Return the entry of a data file that holds the columns of a job."""
    from lance.fragment import DataFile

    numbers = [number for field in job.new_fields() for number in stored(schema.field(field.name))]
    like = metadata.files[0]
    return DataFile(
        name,
        numbers,
        list(range(len(numbers))),
        like.file_major_version,
        like.file_minor_version,
    )


def stored(field: Any) -> list[int]:
    """Return the numbers under which a data file holds a column: those of its innermost fields."""
    children = field.children()
    if not children:
        return [field.id()]
    return [number for child in children for number in stored(child)]


def _schema(dataset: Any, job: Job, metadata: dict[str, str], scratch: str) -> Any:
    """Return the schema with the new columns, numbered by Lance itself on a copy without data."""
    import lance

    options = job.place.storage_options
    clone = dataset.shallow_clone(scratch, dataset.version, storage_options=options)
    try:
        fields = job.new_fields()
        gone = [field.name for field in fields if field.name in clone.schema.names]
        # Added before the old ones go: Lance would give their numbers away again, and take old
        # data files for new ones.
        clone.add_columns(pa.schema([field.with_name(_NEW + field.name) for field in fields]))
        if gone:
            clone.drop_columns(gone)
        clone.alter_columns(*({"path": _NEW + one.name, "name": one.name} for one in fields))
        clone.update_schema_metadata(metadata, replace=True)
        return clone.lance_schema
    finally:
        lance.LanceDataset.drop(scratch, storage_options=options, ignore_not_found=True)


def change_metadata(place: Place, changed: dict[str, str]) -> None:
    """Change some of the schema's metadata; the rest stays as it is."""
    dataset = place.dataset()
    current = decoded(dataset.schema.metadata or {})
    if {**current, **changed} != current:
        dataset.update_schema_metadata(changed)


def _commit(dataset: Any, place: Place, operation: Any) -> Any:
    import lance

    return lance.LanceDataset.commit(
        dataset,
        operation,
        read_version=dataset.version,
        storage_options=place.storage_options,
        max_retries=0,
    )
