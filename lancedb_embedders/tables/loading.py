"""Rows of files on their way into a table: those that are not there yet, with their vectors."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from lancedb.index import BTree

from lancedb_embedders.embedder import Embedder
from lancedb_embedders.functions.content_hash import hashes
from lancedb_embedders.progress import progress_bar
from lancedb_embedders.tables.columns import joined
from lancedb_embedders.tables.embedding import embedded
from lancedb_embedders.tables.read_files import Source
from lancedb_embedders.tables.recorded import (
    Recorded,
    embedded_columns,
    hash_column,
    recorded_function,
)

# Commits after which small fragments are put together.
_COMMITS = 64


class Loading:
    """Adds the rows of files whose key is not in the table.

    Parameters
    ----------
    table : lancedb.table.LanceTable
        The table.
    source : Source
        The files.
    bare : bool
        Leave vectors out; they are filled later.

    Attributes
    ----------
    read, added : int
        Rows that were in the files so far, and that are new in the table.
    """

    def __init__(self, table: Any, source: Source, bare: bool) -> None:
        self.table = table
        self.source = source
        self.bare = bare
        self.read = self.added = 0
        self._functions: dict[str, Embedder] = {}

    def run(self, progress: bool | None) -> None:
        """Add all that is missing, a batch a commit."""
        self._index()
        with progress_bar(self.source.rows, "rows", progress) as bar:
            for number, batch in enumerate(self.source.batches(), start=1):
                new = self._new(batch)
                if len(new):
                    self._add(new)
                self.read += len(batch)
                self.added += len(new)
                bar.update(len(batch))
                if number % _COMMITS == 0:
                    self.table.optimize()

    def _index(self) -> None:
        # Whether a key is there is asked for each batch: without an index that reads all of them.
        key = self.source.key
        if not any(list(one.columns) == [key] for one in self.table.list_indices()):
            self.table.create_index(key, config=BTree())

    def _new(self, batch: pa.RecordBatch) -> pa.Table:
        rows = pa.Table.from_batches([batch])
        keys = rows[self.source.key]
        there = (
            self.table.to_lance()
            .scanner(
                columns=[self.source.key],
                filter=pc.field(self.source.key).isin(keys.unique()),
            )
            .to_table()[self.source.key]
        )
        seen = set(there.to_pylist())
        mask = []
        for value in keys.to_pylist():
            mask.append(value not in seen)
            seen.add(value)
        return rows.filter(pa.array(mask, pa.bool_()))

    def _add(self, rows: pa.Table) -> None:
        if self.bare:
            import lance

            dataset = self.table.to_lance()
            rows = rows.cast(pa.schema([dataset.schema.field(name) for name in rows.column_names]))
            options = dataset.latest_storage_options()
            lance.write_dataset(rows, dataset.uri, mode="append", storage_options=options)
            self.table.checkout_latest()
            return
        # Not `append`: another process may have added the same keys a moment ago.
        merge = self.table.to_lance().merge_insert(self.source.key).when_not_matched_insert_all()
        merge.execute(self._with_vectors(rows))
        self.table.checkout_latest()

    def _with_vectors(self, rows: pa.Table) -> pa.Table:
        schema, keys = self.table.schema, rows[self.source.key]

        def located(bad: list[int]) -> str:
            shown = ", ".join(str(keys[row]) for row in bad[:5])
            return f"their {self.source.key}: {shown}. Batches before it are in the table"

        for known in embedded_columns(schema).values():
            if known.source not in rows.column_names:
                continue
            source, field = joined(rows[known.source]), schema.field(known.vector)
            vectors = embedded(self._function(known), source, field.type, located)
            rows = rows.append_column(field, vectors)
            if (hashed := hash_column(schema, known.vector)) is not None:
                rows = rows.append_column(schema.field(hashed), hashes(source))
        return rows

    def _function(self, known: Recorded) -> Embedder:
        if known.vector not in self._functions:
            self._functions[known.vector] = recorded_function(known)
        return self._functions[known.vector]
