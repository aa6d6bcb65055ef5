"""What is finished but not yet in the table: a file for each slice, in a folder of the table's.

The folder is named after the work, the files after their slices, so a process that comes later,
on whatever machine, finds what is left to do by looking. LanceDB neither shows nor cleans up what
is in there; `drop_folder` does when all is in the table.
"""

from __future__ import annotations

import dataclasses
import json
from contextlib import suppress
from uuid import uuid4

import pyarrow as pa

from lancedb_embedders.tables.job import FunctionSpec, Job
from lancedb_embedders.tables.place import Place
from lancedb_embedders.tables.slices import Slice, parse

PREFIX = "_embedding_"
_PARTS = "parts"
_FUNCTION = "function.lance"
_FUNCTION_SCHEMA = pa.schema([pa.field("options", pa.string())])


class PartsGoneError(Exception):
    """Another process did the same work, and deleted what was kept of it."""


class Parts:
    """Finished slices of a work.

    Parameters
    ----------
    job : Job
        The work.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.place = job.place
        self.folder = PREFIX + job.key
        self.schema = job.part_schema()
        self._session = job.place.session(self.folder)

    def begin(self, function: FunctionSpec) -> FunctionSpec:
        """Note the function, or return it as the process that began the work noted it.

        Its signature guards the rest of the work: a model that has become another one since may
        not add to what the first one made.
        """
        if self._session.contains(_FUNCTION):
            stored = self._session.open_reader(_FUNCTION).read_all().to_table()
            options = json.loads(stored["options"][0].as_py())
            return dataclasses.replace(function, options=options)
        row = pa.table({"options": [json.dumps(function.options)]}, schema=_FUNCTION_SCHEMA)
        with (
            self.place.storage_errors("beginning"),
            self._session.open_writer(_FUNCTION, schema=_FUNCTION_SCHEMA) as writer,
        ):
            writer.write_batch(row)
        return function

    def finished(self) -> list[Slice]:
        """Return the slices that have a file."""
        found = [parse(name) for name in self._session.list(_PARTS)]
        return [one for one in found if one is not None]

    def write(self, one: Slice, rows: pa.Table) -> None:
        """Keep the vectors of a slice; all of the file is there, or none of it."""
        with self._session.open_writer(f"{_PARTS}/{one.name}", schema=self.schema) as writer:
            writer.write_batch(rows.cast(self.schema))

    def read(self, one: Slice) -> pa.Table:
        """Return the vectors of a slice.

        Raises
        ------
        PartsGoneError
            They are no longer there.
        """
        path = f"{_PARTS}/{one.name}"
        try:
            return self._session.open_reader(path).read_all().to_table().cast(self.schema)
        except (ValueError, OSError):
            if self._session.contains(path):
                raise
            raise PartsGoneError(path) from None

    def scratch(self) -> str:
        """Return the address of a folder for things that are needed for a moment."""
        return f"{self.place.uri}/{self.folder}/{uuid4().hex}"


def unfinished(place: Place) -> list[str]:
    """Return the folders of works on a table that were begun and not finished."""
    found = place.session("").list_with_delimiter().common_prefixes
    return [name.rstrip("/") for name in found if name.startswith(PREFIX)]


def drop_folder(place: Place, folder: str) -> None:
    """Delete the folder of a work."""
    import lance

    # Lance deletes folders in any store, but of datasets only: for a moment it becomes one.
    dataset, root = place.dataset(), f"{place.uri}/{folder}"
    with suppress(OSError):  # another process is at it as well, or one was killed while it was
        dataset.shallow_clone(root, dataset.version, storage_options=place.storage_options)
    try:
        lance.LanceDataset.drop(root, storage_options=place.storage_options, ignore_not_found=True)
    except OSError as error:
        if "not empty" not in str(error):
            raise
        # Another process does the same work, and deletes what it writes when it is done.
