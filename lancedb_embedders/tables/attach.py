"""`attach`: a vector column for a table that exists."""

from __future__ import annotations

from typing import Any, Literal, overload

import pyarrow as pa
from typing_extensions import Unpack

from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.tables.engines import Engine, How
from lancedb_embedders.tables.job import Selection, function_of
from lancedb_embedders.tables.place import place_of
from lancedb_embedders.tables.recorded import embedded_columns
from lancedb_embedders.tables.report import Estimate, Report
from lancedb_embedders.tables.run import Options, new_column, same_function, within_column


@overload
def attach(
    table: Any,
    source: str,
    vector: str = ...,
    function: Embedder | str = ...,
    *,
    content_hash: bool = ...,
    dry_run: Literal[False] = ...,
    **how: Unpack[How],
) -> Report: ...


@overload
def attach(
    table: Any,
    source: str,
    vector: str = ...,
    function: Embedder | str = ...,
    *,
    content_hash: bool = ...,
    dry_run: Literal[True],
    **how: Unpack[How],
) -> Estimate: ...


@overload
def attach(
    table: Any,
    source: str,
    vector: str = ...,
    function: Embedder | str = ...,
    *,
    content_hash: bool = ...,
    dry_run: bool,
    **how: Unpack[How],
) -> Report | Estimate: ...


def attach(
    table: Any,
    source: str,
    vector: str = "vector",
    function: Embedder | str = "sbert",
    *,
    dry_run: bool = False,
    content_hash: bool = True,
    engine: Engine = "local",
    workers: int | None = None,
    gpus: float | None = None,
    checkpoint_rows: int | None = None,
    progress: bool | None = None,
) -> Report | Estimate:
    """Give an existing table a vector column, filled, that embeds by itself from then on.

    All of the column comes in one new version of the table: until then readers see the table as it
    was. Rows, older versions, and indexes of other columns stay. What is finished is kept in the
    table's folder, so that a call after a crash, or after Ctrl-C, goes on from there; on another
    machine too. A column `vector` without a function gives way to the new one, with whatever
    vectors are in it; older versions still have them.

    Parameters
    ----------
    table : lancedb.table.LanceTable
        The table, local or in an object store; is brought to the newest version.
    source : str
        Column to embed.
    vector : str, default "vector"
        Column that gets the vectors.
    function : Embedder or str, default "sbert"
        An embedding function of this package, or its name in LanceDB's registry.
    dry_run : bool, default False
        Only say what it would come to.
    content_hash : bool, default True
        Keep a column ``<vector>_hash`` of hashes of the source, which LanceDB then fills for rows
        that are added, so that `refresh` finds texts that changed without their vectors.
    engine : {"local", "ray"}, default "local"
        This process, or the workers of a Ray cluster (extra ``[ray]``): the one that
        ``RAY_ADDRESS`` or ``ray.init`` names, or else one that is started on this machine.
    workers, gpus : int, float, optional
        For ``engine="ray"``: workers, and GPUs of each. None: one worker a GPU, or a CPU.
    checkpoint_rows : int, optional
        Rows after which what is done is kept; None: 2,048.
    progress : bool, optional
        Whether to show a progress bar; None: on a terminal.

    Returns
    -------
    Report or Estimate
        What was done, or with `dry_run` what it would come to.

    Raises
    ------
    ConfigurationError
        No such column, a source that the function does not take, a column that has a function
        already, or is no vector column.
    InputError
        A row that cannot be embedded; everything before it is kept.
    TableError
        Others wrote to the table faster than this could follow.
    MissingExtraError
        The extra ``[tables]`` or ``[ray]`` is not installed.

    Examples
    --------
    >>> import tempfile, lancedb
    >>> from lancedb_embedders import tables
    >>> db = lancedb.connect(tempfile.mkdtemp())
    >>> table = db.create_table("docs", [{"text": "Tea is hot."}, {"text": "Snow is cold."}])
    >>> tables.attach(table, "text", "vector", "sbert").embedded
    2
    >>> table.search("ice").limit(1).to_list()[0]["text"]
    'Snow is cold.'
    """
    place = place_of(table)
    made = function_of(function)
    options = Options(dry_run, engine, workers, gpus, checkpoint_rows, progress)
    schema = place.dataset().schema
    _check(schema, source, vector)
    known = embedded_columns(schema).get(vector)
    if known is None:
        return new_column(table, place, source, vector, made, content_hash, options)
    if known.source != source or not same_function(known, made):
        raise ConfigurationError(
            f"column {vector!r} has a function already: {known.name} of column {known.source!r}. "
            "Another model or setting is put in its place by tables.reembed(table, function)"
        )
    return within_column(table, place, known, made, Selection("missing"), options)


def _check(schema: pa.Schema, source: str, vector: str) -> None:
    if source not in schema.names:
        raise ConfigurationError(
            f"the table has no column {source!r}; it has: {', '.join(schema.names)}"
        )
    if source == vector:
        raise ConfigurationError(f"source and vector are the same column, {source!r}")
    if vector in schema.names and not _holds_vectors(schema.field(vector).type):
        raise ConfigurationError(
            f"column {vector!r} is {schema.field(vector).type} and no vector column; name another"
        )
    if not vector or "." in vector:
        raise ConfigurationError(f"{vector!r} cannot be the name of a vector column")


def _holds_vectors(dtype: pa.DataType) -> bool:
    if pa.types.is_null(dtype):
        return True
    while pa.types.is_list(dtype) or pa.types.is_large_list(dtype):
        dtype = dtype.value_type
        if pa.types.is_floating(dtype):
            return True
    return bool(pa.types.is_fixed_size_list(dtype))
