"""`upsert`: rows merged by key, where only new and changed texts are embedded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lancedb_embedders.errors import ConfigurationError, InputError, name_rows
from lancedb_embedders.functions.content_hash import hashes
from lancedb_embedders.tables.columns import as_column, joined, placed
from lancedb_embedders.tables.embedding import embedded
from lancedb_embedders.tables.place import place_of
from lancedb_embedders.tables.recorded import (
    Recorded,
    embedded_columns,
    hash_column,
    recorded_function,
)
from lancedb_embedders.tables.rows import each_row

# Rows that are merged in one commit.
_ROWS = 1024

OnBadVectors = Literal["error", "drop", "fill", "null"]
Key = tuple[Any, ...]


@dataclass(frozen=True)
class UpsertReport:
    """What rows came to.

    Attributes
    ----------
    inserted, updated : int
        Rows that were new, and that took the place of one with their key.
    embedded, reused : int
        Vectors that were made, and that stayed since their text did; of all vector columns.
    version : int
        Version of the table that the call left.
    """

    inserted: int = 0
    updated: int = 0
    embedded: int = 0
    reused: int = 0
    version: int = 0


def upsert(
    table: Any,
    rows: Any,
    on: str | Sequence[str],
    *,
    batch_rows: int = _ROWS,
    on_bad_vectors: OnBadVectors = "error",
    fill_value: float = 0.0,
) -> UpsertReport:
    """Add rows, or put them in the place of those with the same key; unchanged texts cost nothing.

    LanceDB's ``merge_insert`` embeds every row that it is given. Here a row keeps its vector if its
    text is the one that the vector was made from: by the hashes that `attach` keeps, or else by
    comparing with the text in the table.

    Parameters
    ----------
    table : lancedb.table.LanceTable
        The table; is brought to the newest version.
    rows : iterable of dict or of pydantic models, or anything of Arrow's
        Rows; they may leave columns out, which then stay as they are, or are null in new rows.
    on : str or sequence of str
        Column or columns that tell rows apart.
    batch_rows : int, default 1024
        Rows that are merged in one commit.
    on_bad_vectors : {"error", "drop", "fill", "null"}, default "error"
        What becomes of rows that have nothing to embed, as in LanceDB's ``add``.
    fill_value : float, default 0.0
        For ``on_bad_vectors="fill"``.

    Raises
    ------
    ConfigurationError
        `on` is no column.
    InputError
        A row without key, with an unknown column, or with nothing to embed; or two of a batch with
        the same key. Batches before it are in the table.

    Examples
    --------
    >>> import tempfile, lancedb
    >>> from lancedb_embedders import tables
    >>> db = lancedb.connect(tempfile.mkdtemp())
    >>> table = db.create_table("docs", [{"id": 1, "text": "Tea."}, {"id": 2, "text": "Snow."}])
    >>> report = tables.attach(table, "text", "vector", "sbert")
    >>> report = tables.upsert(table, [{"id": 2, "text": "Snow."}, {"id": 3, "text": "Ice."}], "id")
    >>> report.inserted, report.updated, report.embedded, report.reused
    (1, 1, 1, 1)
    """
    place = place_of(table)
    table.checkout_latest()
    keys = [on] if isinstance(on, str) else list(on)
    unknown = [key for key in keys if key not in table.schema.names]
    if unknown or not keys:
        raise ConfigurationError(
            f"on={on!r}: the table has no such column; it has: {', '.join(table.schema.names)}"
        )
    totals: Counter[str] = Counter()
    incoming, first = each_row(rows), 0
    while batch := list(islice(incoming, batch_rows)):
        dataset = place.dataset()
        read = _as_table(batch, table.schema, keys, first)
        merged = _Batch(dataset, table.schema, keys, read, first)
        data = merged.with_vectors(on_bad_vectors, fill_value)
        # LanceDB's own would embed again whatever comes without vectors.
        merge = dataset.merge_insert(keys)
        result = merge.when_matched_update_all().when_not_matched_insert_all().execute(data)
        totals.update(
            inserted=result["num_inserted_rows"],
            updated=result["num_updated_rows"],
            embedded=merged.embedded,
            reused=merged.reused,
        )
        first += len(batch)
    table.checkout_latest()
    return UpsertReport(**totals, version=table.version)


class _Batch:
    """Rows of one commit, and what the table has under their keys."""

    def __init__(
        self, dataset: Any, schema: pa.Schema, keys: list[str], rows: pa.Table, first: int
    ) -> None:
        self.rows = rows
        self.keys = keys
        self.schema = schema
        self.first = first
        self.embedded = self.reused = 0
        self._dataset = dataset

    def with_vectors(self, on_bad: OnBadVectors, fill_value: float) -> pa.Table:
        """Return the rows with a vector and a hash for each embedded column that they have."""
        data = self.rows
        names = set(data.column_names)
        made = [
            known
            for known in embedded_columns(self.schema).values()
            if known.source in names and known.vector not in names
        ]
        for known in made:
            data = self._with_vector(data, known)
        for known in made:
            data = _without_bad(data, known.vector, on_bad, fill_value, self.first)
        return data

    def _with_vector(self, data: pa.Table, known: Recorded) -> pa.Table:
        hashed = hash_column(self.schema, known.vector)
        source = joined(data[known.source])
        now = hashes(source)
        old = self._old(known, hashed)
        before = [old.get(key, (None, None)) for key in zip(*self._key_values(data), strict=True)]
        kept = [
            vector is not None and then is not None and then == new
            for (vector, then), new in zip(before, now.to_pylist(), strict=True)
        ]
        changed = np.flatnonzero(~np.array(kept, dtype=bool))
        dtype = self.schema.field(known.vector).type

        def located(rows: list[int]) -> str:
            given = [self.first + int(changed[row]) for row in rows]
            return f"of those given it is {name_rows(given)}. Batches before it are in the table"

        texts = source.take(pa.array(changed))
        made = (
            embedded(recorded_function(known), texts, dtype, located)
            if len(texts)
            else pa.nulls(0, dtype)
        )
        reused = [vector if keep else None for (vector, _), keep in zip(before, kept, strict=True)]
        vectors = placed(pa.array(reused, dtype), made, changed, len(kept))
        self.embedded += len(made) - made.null_count
        self.reused += len(kept) - len(changed)
        data = data.append_column(pa.field(known.vector, dtype), vectors)
        if hashed is not None:
            data = data.append_column(self.schema.field(hashed), now)
        return data

    def _old(self, known: Recorded, hashed: str | None) -> dict[Key, tuple[Any, Any]]:
        """Return vector, and hash of what it was made from, by key."""
        told = hashed or known.source
        first = joined(self.rows[self.keys[0]])
        found = self._dataset.scanner(
            columns=list(dict.fromkeys([*self.keys, told, known.vector])),
            filter=pc.field(self.keys[0]).isin(first.unique()),
        ).to_table()
        then = joined(found[told]) if hashed else hashes(joined(found[known.source]))
        return {
            key: (vector, was)
            for key, vector, was in zip(
                zip(*self._key_values(found), strict=True),
                found[known.vector].to_pylist(),
                then.to_pylist(),
                strict=True,
            )
        }

    def _key_values(self, data: pa.Table) -> Iterator[list[Any]]:
        return (data[key].to_pylist() for key in self.keys)


def _without_bad(
    data: pa.Table, vector: str, on_bad: OnBadVectors, fill_value: float, first: int
) -> pa.Table:
    """Return rows as `on_bad` has them where there is no vector."""
    bad = [first + row for row, v in enumerate(data[vector].is_valid().to_pylist()) if not v]
    if not bad or on_bad == "null":
        return data
    if on_bad == "error":
        raise InputError(
            f"{name_rows(bad)} {'have' if len(bad) > 1 else 'has'} nothing to embed; leave such "
            'rows out by on_bad_vectors="drop", or keep them without a vector by "null"',
            bad,
        )
    if on_bad == "drop":
        return data.filter(data[vector].is_valid())
    dtype = data.schema.field(vector).type
    filler = np.full((1, dtype.list_size), fill_value, dtype.value_type.to_pandas_dtype())
    filled = pc.fill_null(joined(data[vector]).cast(dtype), as_column(filler, dtype)[0])
    return data.set_column(data.column_names.index(vector), data.schema.field(vector), filled)


def _as_table(batch: list[dict[str, Any]], schema: pa.Schema, keys: list[str], at: int) -> pa.Table:
    names = list(dict.fromkeys(name for row in batch for name in row))
    unknown = [name for name in names if name not in schema.names]
    if unknown:
        first = at + next(i for i, row in enumerate(batch) if unknown[0] in row)
        raise InputError(
            f"row {first} has a column {unknown[0]!r}, which the table has not; it has: "
            f"{', '.join(schema.names)}",
            [first],
        )
    for number, row in enumerate(batch):
        if any(row.get(key) is None for key in keys):
            raise InputError(
                f"row {at + number} has no {' and '.join(keys)}, by which rows are merged",
                [at + number],
            )
    places: dict[Key, list[int]] = {}
    for i, row in enumerate(batch):
        places.setdefault(tuple(row[key] for key in keys), []).append(at + i)
    twice = next((rows for rows in places.values() if len(rows) > 1), None)
    if twice:
        raise InputError(
            f"{name_rows(twice)} have the same {' and '.join(keys)}; which of them is meant is "
            "not clear",
            twice,
        )
    try:
        return pa.Table.from_pylist(batch, schema=pa.schema([schema.field(n) for n in names]))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(f"rows {at} to {at + len(batch) - 1} do not fit: {error}") from None
