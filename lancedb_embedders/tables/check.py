"""`check`: what made a table's vectors, and whether they are still what they should be."""

from __future__ import annotations

import random
import tempfile
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from lancedb_embedders import output
from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import EmbeddingError, ModelDriftError
from lancedb_embedders.functions.content_hash import compared
from lancedb_embedders.hosted.embedder import HostedEmbedder
from lancedb_embedders.inputs.text import is_blank
from lancedb_embedders.local.probe import MIN_COSINE
from lancedb_embedders.settings import settings
from lancedb_embedders.tables.check_report import ColumnCheck, TableCheck
from lancedb_embedders.tables.columns import joined
from lancedb_embedders.tables.parts import unfinished
from lancedb_embedders.tables.place import place_of
from lancedb_embedders.tables.recorded import (
    Recorded,
    embedded_columns,
    hash_column,
    recorded_function,
    vector_columns,
    work_on,
)


def check(
    table: Any, vector: str | None = None, *, sample: int = 100, seed: int | None = None
) -> TableCheck:
    """Say what made a table's vectors, and whether they are still what they should be.

    Nothing is written. Of a hosted model the sample is asked for anew, past the cache, which costs
    as much as embedding so many rows.

    Parameters
    ----------
    table : lancedb.table.LanceTable
        The table; its newest version is looked at.
    vector : str, optional
        A vector column; None: all of them.
    sample : int, default 100
        Random rows that are embedded again; 0: none.
    seed : int, optional
        Of the random choice.

    Returns
    -------
    TableCheck
        ``print`` it, or look at ``columns``; ``ok`` if there is nothing to mend.

    Raises
    ------
    ConfigurationError
        No such column.

    Examples
    --------
    >>> import tempfile, lancedb
    >>> from lancedb_embedders import tables
    >>> db = lancedb.connect(tempfile.mkdtemp())
    >>> table = db.create_table("docs", [{"text": "Tea is hot."}, {"text": "Snow is cold."}])
    >>> report = tables.attach(table, "text", "vector", "sbert")
    >>> found = tables.check(table)
    >>> found.ok, found.columns[0].model, found.columns[0].sampled
    (True, 'all-MiniLM-L6-v2', 2)
    """
    place = place_of(table)
    dataset = place.dataset()
    schema = dataset.schema
    known = embedded_columns(schema)
    names = vector_columns(schema, vector)
    chance = random.Random(seed)
    columns = tuple(_column(dataset, name, known.get(name), sample, chance) for name in names)
    return TableCheck(dataset.version, dataset.count_rows(), columns, tuple(unfinished(place)))


def _column(
    dataset: Any, vector: str, known: Recorded | None, sample: int, chance: random.Random
) -> ColumnCheck:
    rows = dataset.count_rows()
    if known is None:
        return ColumnCheck(vector, rows, empty=dataset.count_rows(f"`{vector}` IS NULL"))
    options = known.options
    work = work_on(dataset.schema, vector)
    missing, empty = _nulls(dataset, known)
    stale, unknown = _stale(dataset, known)
    sampled, cosines, problem = 0, None, None
    try:
        function = _today(known)
        if sample:
            sampled, cosines = _sample(dataset, known, function, sample, chance)
    except ModelDriftError as error:
        problem = str(error)
    except EmbeddingError as error:
        problem = f"{type(error).__name__}: {error}"
    measured = cosines is not None and len(cosines) > 0
    return ColumnCheck(
        vector=vector,
        rows=rows,
        function=known.name,
        source=known.source,
        model=options.get("name"),
        revision=options.get("revision"),
        written_by=options.get("written_by"),
        missing=missing,
        empty=empty,
        stale=stale,
        unknown=unknown,
        sampled=sampled,
        foreign=int((cosines < MIN_COSINE).sum()) if cosines is not None and measured else 0,
        cosine=(float(cosines.min()), float(np.median(cosines)))
        if cosines is not None and measured
        else None,
        problem=problem,
        pending=() if work is None else tuple(one["name"] for one in work.indexes),
    )


def _nulls(dataset: Any, known: Recorded) -> tuple[int, int]:
    """Return how many rows without a vector have something to embed, and how many have not."""
    missing = empty = 0
    scanner = dataset.scanner(columns=[known.source], filter=f"`{known.vector}` IS NULL")
    for batch in scanner.to_batches():
        for value in batch[known.source].to_pylist():
            nothing = value is None or (isinstance(value, str) and is_blank(value))
            empty += nothing
            missing += not nothing
    return missing, empty


def _stale(dataset: Any, known: Recorded) -> tuple[int | None, int | None]:
    hashed = hash_column(dataset.schema, known.vector)
    if hashed is None:
        return None, None
    stale = unknown = 0
    scanner = dataset.scanner(columns=[known.source, hashed, known.vector], batch_size=4096)
    for batch in scanner.to_batches():
        differs, unkept = compared(batch[known.source], batch[hashed])
        filled = pc.is_valid(batch[known.vector])
        gone = pc.and_(pc.is_null(batch[known.source]), filled)
        unknown += pc.sum(pc.and_(filled, unkept)).as_py() or 0
        stale += pc.sum(pc.or_(differs, gone)).as_py() or 0
    return int(stale), int(unknown)


def _today(known: Recorded) -> Embedder:
    function = recorded_function(known)
    if "cache" in type(function).model_fields:
        return type(function).create(**known.options, cache=False)
    return function


def _sample(
    dataset: Any, known: Recorded, function: Embedder, size: int, chance: random.Random
) -> tuple[int, npt.NDArray[np.float64]]:
    """Embed random rows again; return their number, and a cosine for each that has a vector."""
    rows = dataset.count_rows()
    chosen = sorted(chance.sample(range(rows), min(size, rows)))
    taken = dataset.take(chosen, columns=[known.source, known.vector])
    taken = taken.filter(pc.is_valid(taken[known.vector]))
    if not len(taken):
        return 0, np.zeros(0)
    with (
        warnings.catch_warnings(),
        settings.override(progress=False),
        tempfile.TemporaryDirectory() as empty,
    ):
        warnings.simplefilter("ignore")
        if isinstance(function, HostedEmbedder):  # asked anew, not out of the cache
            function = type(function).create(**known.options, cache_dir=empty)
        today = function.compute_source_embeddings(joined(taken[known.source]))
    stored = taken[known.vector].to_pylist()
    pairs = zip(stored, today, strict=True)
    return len(taken), np.array([_likeness(old, new, function) for old, new in pairs])


def _likeness(old: Any, new: Any, function: Embedder) -> float:
    """Return the cosine of what is stored and what came now, the lowest of several vectors."""
    if new is None:
        return -1.0
    a, b = np.atleast_2d(np.asarray(old)), np.atleast_2d(np.asarray(new))
    if a.shape != b.shape:
        return -1.0
    a, b = (output.directions(v, function.quantization) for v in (a, b))
    return float(np.einsum("ij,ij->i", a, b).min())
