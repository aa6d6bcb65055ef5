"""What a worker does: read texts of some slices, embed them, keep the vectors."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import EmbeddingWarning
from lancedb_embedders.functions.content_hash import hashes
from lancedb_embedders.settings import settings
from lancedb_embedders.tables.embedding import embedded
from lancedb_embedders.tables.job import Job
from lancedb_embedders.tables.parts import Parts
from lancedb_embedders.tables.reading import Read, Reader
from lancedb_embedders.tables.slices import Slice


@dataclass(frozen=True)
class Done:
    """What became of a unit.

    Attributes
    ----------
    slices : tuple of Slice
        Those that were looked at; not those whose fragment has changed since.
    rows : int
        Rows that were looked at, deleted ones not counted.
    embedded, blank : int
        Rows that got a vector; rows with nothing to embed.
    warnings : tuple of str
        What the function had to say.
    """

    slices: tuple[Slice, ...] = ()
    rows: int = 0
    embedded: int = 0
    blank: int = 0
    warnings: tuple[str, ...] = ()


class Worker:
    """Embeds units of a job one by one, with a function that is made once.

    Parameters
    ----------
    job : Job
        What is to be done.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.function: Embedder | None = job.function.create() if job.embeds else None
        self.parts = Parts(job)
        self.reader = Reader(job)

    def run(self, unit: tuple[Slice, ...]) -> Done:
        """Embed what is in some slices and is selected, and keep it.

        Raises
        ------
        InputError
            A row that cannot be embedded, named by its ``_rowid``.
        """
        with self.job.place.storage_errors("reading rows"):
            read = [found for one in unit if (found := self.reader.read(one)) is not None]
        values = pa.concat_arrays([one.values for one in read]) if read else pa.nulls(0)
        vectors, said = self._embed(values, read)
        at = 0
        for one in read:
            count = len(one.values)
            own = vectors.slice(at, count)
            if self._changes_something(own):
                self._keep(one, own)
            at += count
        return Done(
            tuple(one.one for one in read),
            sum(one.alive for one in read),
            len(vectors) - vectors.null_count if self.job.embeds else 0,
            vectors.null_count if self.job.embeds else 0,
            said,
        )

    # -- embedding ------------------------------------------------------------------------------

    def _embed(self, values: pa.Array, read: list[Read]) -> tuple[pa.Array, tuple[str, ...]]:
        if self.function is None or not len(values):
            return pa.nulls(len(values), self.job.dtype), ()

        def located(rows: list[int]) -> str:
            row_ids = np.concatenate([one.row_ids for one in read])[rows[:5]].tolist()
            return (
                f"to see them in the table: table.take_row_ids({row_ids}). What was finished "
                "before is kept"
            )

        with warnings.catch_warnings(record=True) as caught, settings.override(progress=False):
            warnings.simplefilter("always", EmbeddingWarning)
            vectors = embedded(self.function, values, self.job.dtype, located)
        said = [str(one.message) for one in caught if issubclass(one.category, EmbeddingWarning)]
        return vectors, tuple(said)

    def _changes_something(self, vectors: pa.Array) -> bool:
        if self.job.in_new_column:
            return True
        found = len(vectors)
        if self.job.selection.kind in ("missing", "late"):
            found -= vectors.null_count
        return found > 0

    def _keep(self, read: Read, vectors: pa.Array) -> None:
        columns = {"offset": pa.array(read.offsets, pa.uint32())}
        if self.job.embeds:
            columns[self.job.vector] = vectors
        if self.job.hashed is not None:
            columns[self.job.hashed] = hashes(read.values)
        with self.job.place.storage_errors("keeping vectors"):
            self.parts.write(read.one, pa.table(columns, schema=self.parts.schema))
