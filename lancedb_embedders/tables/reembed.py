"""`reembed` and `refresh`: vectors of another model, and of texts that changed."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, overload

from typing_extensions import Unpack

from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.tables.engines import Engine, How
from lancedb_embedders.tables.job import Selection, function_of
from lancedb_embedders.tables.place import Place, place_of, reason_of
from lancedb_embedders.tables.recorded import hash_column, one_embedded_column, recorded_function
from lancedb_embedders.tables.report import Estimate, Report
from lancedb_embedders.tables.run import (
    Options,
    keep_hashes,
    new_column,
    same_function,
    within_column,
)


@overload
def reembed(
    table: Any,
    function: Embedder | str | None = ...,
    where: str | None = ...,
    only_missing: bool = ...,
    changed_since: int | datetime | None = ...,
    *,
    vector: str | None = ...,
    content_hash: bool | None = ...,
    dry_run: Literal[False] = ...,
    **how: Unpack[How],
) -> Report: ...


@overload
def reembed(
    table: Any,
    function: Embedder | str | None = ...,
    where: str | None = ...,
    only_missing: bool = ...,
    changed_since: int | datetime | None = ...,
    *,
    vector: str | None = ...,
    content_hash: bool | None = ...,
    dry_run: Literal[True],
    **how: Unpack[How],
) -> Estimate: ...


@overload
def reembed(
    table: Any,
    function: Embedder | str | None = ...,
    where: str | None = ...,
    only_missing: bool = ...,
    changed_since: int | datetime | None = ...,
    *,
    vector: str | None = ...,
    content_hash: bool | None = ...,
    dry_run: bool,
    **how: Unpack[How],
) -> Report | Estimate: ...


def reembed(
    table: Any,
    function: Embedder | str | None = None,
    where: str | None = None,
    only_missing: bool = False,
    changed_since: int | datetime | None = None,
    *,
    vector: str | None = None,
    content_hash: bool | None = None,
    dry_run: bool = False,
    engine: Engine = "local",
    workers: int | None = None,
    gpus: float | None = None,
    checkpoint_rows: int | None = None,
    progress: bool | None = None,
) -> Report | Estimate:
    """Replace the vectors of a table by those of another model or setting, in one switch.

    Readers see the old column whole until they see the new one whole, with the function that
    queries are embedded by: both come in one version of the table. Its vector indexes are built
    again with the parameters they had. Until then searches look at all rows, which is slower and
    no less right. What is finished survives a crash, as in `attach`.

    With `where`, `only_missing` or `changed_since`, vectors of some rows are made anew by the
    function that the column has.

    Parameters
    ----------
    table : lancedb.table.LanceTable
        The table; is brought to the newest version.
    function : Embedder or str, optional
        The function that is to embed from now on, or its name. None: the one that the column has.
        If it is that one, rows without a vector get one and all others stay.
    where : str, optional
        SQL condition on rows.
    only_missing : bool, default False
        Rows without a vector that have something to embed.
    changed_since : int or datetime.datetime, optional
        Rows written after a version of the table, or a time; compacted ones count as written.
    vector : str, optional
        The vector column; None: the only one that has a function.
    content_hash : bool, optional
        Keep hashes of the source, as in `attach`; None: if the table does so, or gets a new
        function.
    dry_run, engine, workers, gpus, checkpoint_rows, progress
        As in `attach`.

    Returns
    -------
    Report or Estimate
        What was done, or with `dry_run` what it would come to.

    Raises
    ------
    ConfigurationError
        No column with a function; several of `where`, `only_missing` and `changed_since`; one of
        them with another function, which would mix vectors of two models in one column.
    InputError
        A row that cannot be embedded; everything before it is kept.
    TableError
        Others wrote to the table faster than this could follow.

    Examples
    --------
    >>> import tempfile, lancedb
    >>> from lancedb_embedders import SbertEmbeddings, tables
    >>> db = lancedb.connect(tempfile.mkdtemp())
    >>> table = db.create_table("docs", [{"text": "Tea is hot."}, {"text": "Snow is cold."}])
    >>> report = tables.attach(table, "text", "vector", "sbert")
    >>> tables.reembed(table, SbertEmbeddings.create(truncate_dim=128)).embedded
    2
    >>> table.schema.field("vector").type.list_size
    128
    """
    place = place_of(table)
    schema = place.dataset().schema
    known = one_embedded_column(schema, vector)
    options = Options(dry_run, engine, workers, gpus, checkpoint_rows, progress)
    selection = _selection(place, where, only_missing, changed_since)
    made = recorded_function(known) if function is None else function_of(function)
    same = function is None or same_function(known, made)
    if selection is not None and not same:
        raise ConfigurationError(
            f"where, only_missing and changed_since are for the function that column "
            f"{known.vector!r} has, {known.name}: with another one, vectors of two models would "
            "stand in one column. Leave them out to embed all rows by the new one"
        )
    if content_hash and selection is None and hash_column(schema, known.vector) is None:
        same = False  # the hashes are of what is embedded now
    if same:
        chosen = selection or Selection("missing")
        return within_column(table, place, known, made, chosen, options)
    hashing = content_hash is not False
    return new_column(table, place, known.source, known.vector, made, hashing, options)


@overload
def refresh(
    table: Any,
    vector: str | None = ...,
    *,
    unknown: Literal["error", "embed", "trust"] = ...,
    dry_run: Literal[False] = ...,
    **how: Unpack[How],
) -> Report: ...


@overload
def refresh(
    table: Any,
    vector: str | None = ...,
    *,
    unknown: Literal["error", "embed", "trust"] = ...,
    dry_run: Literal[True],
    **how: Unpack[How],
) -> Estimate: ...


@overload
def refresh(
    table: Any,
    vector: str | None = ...,
    *,
    unknown: Literal["error", "embed", "trust"] = ...,
    dry_run: bool,
    **how: Unpack[How],
) -> Report | Estimate: ...


def refresh(
    table: Any,
    vector: str | None = None,
    *,
    unknown: Literal["error", "embed", "trust"] = "error",
    dry_run: bool = False,
    engine: Engine = "local",
    workers: int | None = None,
    gpus: float | None = None,
    checkpoint_rows: int | None = None,
    progress: bool | None = None,
) -> Report | Estimate:
    """Embed the rows whose text is no longer the one that their vector was made from.

    LanceDB's ``update()`` changes a text and leaves the vector. The column of hashes that `attach`
    and `reembed` keep tells which rows those are. Rows without a vector get one as well, if their
    hash is missing.

    Parameters
    ----------
    table : lancedb.table.LanceTable
        The table; is brought to the newest version.
    vector : str, optional
        The vector column; None: the only one that has a function.
    unknown : {"error", "embed", "trust"}, default "error"
        What to do for a table that keeps no hashes: refuse; embed all rows once; or take it that
        today's vectors belong to today's texts. The latter two keep hashes from then on.
    dry_run, engine, workers, gpus, checkpoint_rows, progress
        As in `attach`.

    Raises
    ------
    ConfigurationError
        No column with a function; no hashes, with ``unknown="error"``.

    Examples
    --------
    >>> import tempfile, lancedb
    >>> from lancedb_embedders import tables
    >>> db = lancedb.connect(tempfile.mkdtemp())
    >>> table = db.create_table("docs", [{"text": "Tea is hot."}, {"text": "Snow is cold."}])
    >>> report = tables.attach(table, "text", "vector", "sbert")
    >>> updated = table.update(where="text = 'Tea is hot.'", values={"text": "Fire is hot."})
    >>> tables.refresh(table).embedded
    1
    """
    if unknown not in ("error", "embed", "trust"):
        raise ConfigurationError(
            f'unknown={unknown!r} is not known; there are "error", "embed" and "trust"'
        )
    place = place_of(table)
    schema = place.dataset().schema
    known = one_embedded_column(schema, vector)
    made = recorded_function(known)
    options = Options(dry_run, engine, workers, gpus, checkpoint_rows, progress)
    if hash_column(schema, known.vector) is None:
        if unknown == "error":
            raise ConfigurationError(
                f"the table keeps no hashes of what {known.vector!r} was made from, so it cannot "
                'be told which vectors are stale. unknown="embed" embeds all rows once, '
                'unknown="trust" takes today\'s vectors for right; both keep hashes from then on'
            )
        if unknown == "embed":
            return new_column(table, place, known.source, known.vector, made, True, options)
        if not dry_run:
            keep_hashes(table, place, known, options)
    return within_column(table, place, known, made, Selection("changed"), options)


def _selection(
    place: Place, where: str | None, only_missing: bool, since: int | datetime | None
) -> Selection | None:
    given = [
        name
        for name, value in (
            ("where", where is not None),
            ("only_missing", only_missing),
            ("changed_since", since is not None),
        )
        if value
    ]
    if len(given) > 1:
        raise ConfigurationError(f"{' and '.join(given)} do not go together; choose one")
    if where is not None:
        try:
            place.dataset().scanner(columns=[], filter=where, with_row_id=True, limit=1).to_table()
        except (ValueError, OSError) as error:
            reason = reason_of(error)
            raise ConfigurationError(f"where={where!r} is no condition: {reason}") from None
        return Selection("where", where=where)
    if since is not None:
        return Selection("since", since=_version(place, since))
    return Selection("missing") if only_missing else None


def _version(place: Place, since: int | datetime) -> int:
    dataset = place.dataset()
    versions = dataset.versions()
    if isinstance(since, datetime):
        # Lance gives local times without a zone.
        moment = since.astimezone().replace(tzinfo=None) if since.tzinfo else since
        before = [one["version"] for one in versions if one["timestamp"] <= moment]
        if not before:
            oldest = versions[0]
            raise ConfigurationError(
                f"changed_since={since}: the oldest version that is left is {oldest['version']}, "
                f"of {oldest['timestamp']}"
            )
        return int(max(before))
    known = [one["version"] for one in versions]
    if since not in known:
        raise ConfigurationError(
            f"changed_since={since}: the table has no such version; it has {known[0]} to "
            f"{known[-1]}"
        )
    return since
