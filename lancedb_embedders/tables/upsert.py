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
from lancedb_embedders.tables.upsert_rows import Part, parts_of

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
        Rows; each may leave columns out, which then stay as they are, or are null in a new row. A
        model leaves out what was not given and is None by default, like its vector.
    on : str or sequence of str
        Column or columns that tell rows apart.
    batch_rows : int, default 1024
        Rows that are merged in one commit; those of them that have other columns in another.
    on_bad_vectors : {"error", "drop", "fill", "null"}, default "error"
        What becomes of rows that have nothing to embed, as in LanceDB's ``add``.
    fill_value : float, default 0.0
        For ``on_bad_vectors="fill"``.

    Raises
    ------
    ConfigurationError
        `on` is no column.
    InputError
        A row without key, with an unknown column, or with nothing to embed; a null, or a new row
        without value, where the table takes no nulls; or two of a batch with the same key. Batches
        before it are in the table.

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
    incoming, first = each_row(rows, unset=False), 0
    while batch := list(islice(incoming, batch_rows)):
        dataset = place.dataset()
        parts = parts_of(batch, table.schema, keys, first)
        merges = [_Merge(dataset, table.schema, keys, part) for part in parts]
        for merge in merges:
            merge.refuse_new()
        for merge in merges:
            totals.update(merge.commit(on_bad_vectors, fill_value))
        first += len(batch)
    table.checkout_latest()
    return UpsertReport(**totals, version=table.version)


class _Merge:
    """Rows of one commit, and what the table has under their keys."""

    def __init__(self, dataset: Any, schema: pa.Schema, keys: list[str], part: Part) -> None:
        self.rows = part.data
        self.numbers = part.numbers
        self.keys = keys
        self.schema = schema
        self.embedded = self.reused = 0
        self._dataset = dataset
        names = set(part.data.column_names)
        self._made = [
            known
            for known in embedded_columns(schema).values()
            if known.source in names and known.vector not in names
        ]
        there = names.union(known.vector for known in self._made)
        # Columns that new rows must have and these have not.
        self._lacking = [f.name for f in schema if not f.nullable and f.name not in there]

    def refuse_new(self) -> None:
        """Raise where a row is not in the table yet, and cannot be added as it is."""
        if not self._lacking:
            return
        found = self._under_keys([])
        there = set(zip(*self._key_values(found), strict=True))
        keys = zip(*self._key_values(self.rows), strict=True)
        new = [number for number, key in zip(self.numbers, keys, strict=True) if key not in there]
        if new:
            raise InputError(
                f"{name_rows(new)} {'are' if len(new) > 1 else 'is'} new and lack"
                f"{'' if len(new) > 1 else 's'} {_named(self._lacking)}, which the table needs",
                new,
            )

    def commit(self, on_bad: OnBadVectors, fill_value: float) -> dict[str, int]:
        """Merge the rows, and return what they came to."""
        data = self._with_vectors(on_bad, fill_value)
        # LanceDB's own would embed again whatever comes without vectors.
        merge = self._dataset.merge_insert(self.keys).when_matched_update_all()
        if not self._lacking:
            merge = merge.when_not_matched_insert_all()
        result = merge.execute(data)
        gone = len(data) - result["num_updated_rows"]
        if self._lacking and gone > 0:
            raise InputError(
                f"{gone:,} of {name_rows(self.numbers)} {'were' if gone > 1 else 'was'} deleted "
                f"meanwhile, and cannot be added without {_named(self._lacking)}",
                self.numbers,
            )
        return {
            "inserted": result["num_inserted_rows"],
            "updated": result["num_updated_rows"],
            "embedded": self.embedded,
            "reused": self.reused,
        }

    def _with_vectors(self, on_bad: OnBadVectors, fill_value: float) -> pa.Table:
        """Return the rows with a vector and a hash for each embedded column that they have."""
        data = self.rows
        for known in self._made:
            data = self._with_vector(data, known)
        for known in self._made:
            data = _without_bad(data, known.vector, on_bad, fill_value, self.numbers)
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
            given = [self.numbers[int(changed[row])] for row in rows]
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
        found = self._under_keys([told, known.vector])
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

    def _under_keys(self, columns: list[str]) -> pa.Table:
        """Return keys and columns of what the table has under the first key of these rows."""
        first = joined(self.rows[self.keys[0]])
        return self._dataset.scanner(
            columns=list(dict.fromkeys([*self.keys, *columns])),
            filter=pc.field(self.keys[0]).isin(first.unique()),
        ).to_table()

    def _key_values(self, data: pa.Table) -> Iterator[list[Any]]:
        return (data[key].to_pylist() for key in self.keys)


def _without_bad(
    data: pa.Table, vector: str, on_bad: OnBadVectors, fill_value: float, numbers: Sequence[int]
) -> pa.Table:
    """Return rows as `on_bad` has them where there is no vector."""
    if on_bad == "null" or not data[vector].null_count:
        return data
    if on_bad == "error":
        valid = data[vector].is_valid().to_pylist()
        bad = [number for number, is_valid in zip(numbers, valid, strict=True) if not is_valid]
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


def _named(columns: Sequence[str]) -> str:
    return f"column{'s' if len(columns) > 1 else ''} {', '.join(map(repr, columns))}"
