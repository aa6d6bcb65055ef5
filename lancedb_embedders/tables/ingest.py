"""`ingest`: files streamed into a table that embeds itself."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.extras import require
from lancedb_embedders.functions import content_hash
from lancedb_embedders.settings import settings
from lancedb_embedders.tables.attach import attach
from lancedb_embedders.tables.engines import Engine, engine_of
from lancedb_embedders.tables.job import column_type, function_of, spec_of
from lancedb_embedders.tables.loading import Loading
from lancedb_embedders.tables.read_files import Source, read_files
from lancedb_embedders.tables.recorded import (
    Recorded,
    embedded_columns,
    hash_name,
    recorded_function,
    with_function,
)
from lancedb_embedders.tables.reembed import reembed
from lancedb_embedders.tables.run import same_function

# Rows of a commit.
_ROWS = 2048


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
    MissingExtraError
        The extra ``[tables]`` or ``[ray]`` is not installed.
    """
    began = time.monotonic()
    # What is missing or wrong is said before anything is read.
    require("tables", "Streaming files into a table")
    engine_of(engine, workers, gpus)
    source = read_files(files, text, key, batch_rows)
    made = None if function is None else function_of(function)
    opened = _opened(db, table)
    if opened is None:
        made = made or function_of("sbert")
        schema = source.schema if engine == "ray" else _schema(source, vector, made)
        opened = db.create_table(table, schema=schema)
    else:
        vector, made = _fitting(opened, source, made, vector, engine)
    loading = Loading(opened, source, engine == "ray")
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
    spec = spec_of(function)
    recorded = Recorded(vector, source.text, spec.name, spec.options)
    fields = [
        *source.schema,
        pa.field(vector, column_type(function)),
        pa.field(hashed, content_hash.TYPE),
    ]
    return pa.schema(fields, metadata=with_function(source.schema, recorded, hashed, None))


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
