"""`ingest`: files streamed into a table that embeds itself."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from lancedb.embeddings import EmbeddingFunctionConfig, get_registry
from lancedb.index import BTree

from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.functions import content_hash
from lancedb_embedders.progress import progress_bar
from lancedb_embedders.settings import settings
from lancedb_embedders.tables.attach import attach
from lancedb_embedders.tables.engines import Engine, engine_of
from lancedb_embedders.tables.job import column_type, function_of
from lancedb_embedders.tables.place import place_of
from lancedb_embedders.tables.read_files import Source, read_files
from lancedb_embedders.tables.recorded import embedded_columns, hash_name, recorded_function
from lancedb_embedders.tables.reembed import reembed
from lancedb_embedders.tables.run import same_function

# Rows of a commit, and commits after which small fragments are put together.
_ROWS = 2048
_COMMITS = 64


@dataclass(frozen=True)
class IngestReport:
    """What files came to.

    Attributes
    ----------
    table : str
        Name of the table.
    read : int
        Rows that were in the files.
    added : int
        Rows that are new in the table.
    skipped : int
        Rows whose key was there already.
    version : int
        Version of the table that the call left.
    seconds : float
        Time that it took.
    """

    table: str
    read: int = 0
    added: int = 0
    skipped: int = 0
    version: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.table}: {self.added:,} rows added in {self.seconds:,.1f} s, {self.skipped:,} "
            f"skipped, since their key was there; version {self.version}"
        )


def ingest(
    db: Any,
    table: str,
    files: Sequence[str | Path],
    *,
    text: str | None = None,
    key: str | None = None,
    vector: str = "vector",
    function: Embedder | str | None = None,
    engine: Engine = "local",
    workers: int | None = None,
    gpus: float | None = None,
    batch_rows: int = _ROWS,
    progress: bool | None = None,
) -> IngestReport:
    """Stream files into a table that embeds itself; rows that are there already are skipped.

    Batches are committed one by one, so a call after a crash adds what is missing. With
    ``engine="ray"`` all rows are loaded first and embedded by the cluster afterwards, in one
    switch if the table is new.

    Parameters
    ----------
    db : lancedb.DBConnection
        From ``lancedb.connect``.
    table : str
        Name of the table; it is made if it is not there.
    files : sequence of str or pathlib.Path
        Parquet, JSON lines, CSV, or text and Markdown, and folders of these; see
        `lancedb_embedders.tables.read_files`.
    text : str, optional
        Column to embed; None: ``"text"``.
    key : str, optional
        Column that tells rows apart; None: ``path`` of text files, ``id`` of others if there is
        one, or else ``source``, made of file and row number.
    vector : str, default "vector"
        Column of vectors, in a new table.
    function : Embedder or str, optional
        The function; None: the one that the table has, `sbert` in a new table.
    engine, workers, gpus
        As in `attach`.
    batch_rows : int, default 2048
        Rows of a commit.
    progress : bool, optional
        Whether to show a progress bar; None: on a terminal.

    Raises
    ------
    ConfigurationError
        Files that cannot be read, or that do not fit the table.
    InputError
        A row that cannot be read or embedded; batches before it are in the table.
    """
    began = time.monotonic()
    run_check = engine_of(engine, workers, gpus)
    del run_check
    source = read_files(files, text, key, batch_rows)
    made = None if function is None else function_of(function)
    opened = _opened(db, table)
    if opened is None:
        made = made or function_of("sbert")
        schema = source.schema if engine == "ray" else _schema(source, vector, made)
        opened = db.create_table(table, schema=schema)
    else:
        vector, made = _fitting(opened, source, made, vector, engine)
    place_of(opened)
    loading = _Loading(opened, source, vector, engine == "ray")
    loading.run(settings.progress if progress is None else progress)
    if engine == "ray":
        options: dict[str, Any] = {"workers": workers, "gpus": gpus, "progress": progress}
        if vector in opened.schema.names:
            reembed(opened, vector=vector, only_missing=True, engine="ray", **options)
        else:
            attach(opened, source.text, vector, made, engine="ray", **options)
    opened.checkout_latest()
    took = time.monotonic() - began
    return IngestReport(
        table, loading.read, loading.added, loading.read - loading.added, opened.version, took
    )


class _Loading:
    """Rows that are not there yet, on their way into a table."""

    def __init__(self, table: Any, source: Source, vector: str, bare: bool) -> None:
        self.table = table
        self.source = source
        self.vector = vector
        self.bare = bare
        self.read = self.added = 0

    def run(self, progress: bool | None) -> None:
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
        # Not `add`: another process may have added the same keys a moment ago.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*get no vector")
            merge = self.table.merge_insert(self.source.key).when_not_matched_insert_all()
            merge.execute(rows, on_bad_vectors="null")


def _opened(db: Any, name: str) -> Any:
    try:
        return db.open_table(name)
    except (ValueError, FileNotFoundError) as error:
        if "not found" in str(error):
            return None
        raise


def _schema(source: Source, vector: str, function: Embedder) -> pa.Schema:
    hashed = hash_name(vector)
    taken = [name for name in (vector, hashed) if name in source.schema.names]
    if taken:
        raise ConfigurationError(
            f"the files have a column {taken[0]!r}, which is to hold what is computed; name "
            "another one by vector=..."
        )
    configs = [
        EmbeddingFunctionConfig(vector_column=column, source_column=source.text, function=embedding)
        for column, embedding in ((vector, function), (hashed, content_hash.ContentHash()))
    ]
    metadata = get_registry().get_table_metadata(configs)
    fields = [
        *source.schema,
        pa.field(vector, column_type(function)),
        pa.field(hashed, content_hash.TYPE),
    ]
    return pa.schema(fields, metadata=metadata)


def _fitting(
    table: Any, source: Source, function: Embedder | None, vector: str, engine: str
) -> tuple[str, Embedder]:
    """Return vector column and function of a table that files are to be added to."""
    schema = table.schema
    unknown = [name for name in source.schema.names if name not in schema.names]
    if unknown:
        raise ConfigurationError(
            f"the files have columns that the table has not: {', '.join(unknown)}; it has: "
            f"{', '.join(schema.names)}"
        )
    known = [one for one in embedded_columns(schema).values() if one.source == source.text]
    if not known and engine == "ray":
        return vector, function or function_of("sbert")
    if not known:
        raise ConfigurationError(
            f"the table has no vectors of column {source.text!r}; give it some with "
            f"tables.attach(table, {source.text!r}, {vector!r}, function)"
        )
    found = recorded_function(known[0])
    if function is not None and not same_function(known[0], function):
        raise ConfigurationError(
            f"the table embeds {source.text!r} by {known[0].name} with other options; leave the "
            "function out, or move the table to it by tables.reembed(table, function)"
        )
    return known[0].vector, found
