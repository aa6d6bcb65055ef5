"""Vectors as Arrow columns: made from what a function gives, and put in their rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def as_column(vectors: Any, dtype: pa.DataType) -> pa.Array:
    """Return what a function gave as an Arrow column.

    Parameters
    ----------
    vectors : numpy.ndarray or list
        Shape ``(n, dim)``; or a row each, of shape ``(dim,)`` or ``(vectors, dim)``, None for
        rows without a vector.
    dtype : pyarrow.DataType
        A fixed-size list, or a list of such.
    """
    if pa.types.is_list(dtype):
        return _several(vectors, dtype)
    if isinstance(vectors, np.ndarray):
        return _flat(vectors, dtype)
    valid = np.array([row is not None for row in vectors], dtype=bool)
    if not valid.any():
        return pa.nulls(len(vectors), dtype)
    dense = _flat(np.stack([row for row in vectors if row is not None]), dtype)
    return dense.take(positions(np.flatnonzero(valid), len(vectors)))


def positions(places: npt.NDArray[Any], rows: int) -> pa.Array:
    """Return indices for ``take`` that put value ``i`` in row ``places[i]``, null elsewhere."""
    index = np.zeros(rows, dtype=np.int64)
    index[places] = np.arange(len(places))
    empty = np.ones(rows, dtype=bool)
    empty[places] = False
    return pa.array(index, mask=empty)


def placed(old: pa.Array | None, new: pa.Array, places: npt.NDArray[Any], rows: int) -> pa.Array:
    """Return a column of `rows` with new values in their places.

    Parameters
    ----------
    old : pyarrow.Array or None
        What stands in the other rows; None: null.
    new : pyarrow.Array
        New values.
    places : numpy.ndarray
        Row of each new value.
    rows : int
        Rows of the result.
    """
    if old is None:
        return new.take(positions(places, rows))
    index = np.arange(rows)
    index[places] = rows + np.arange(len(places))
    return pa.concat_arrays([old.cast(new.type), new]).take(pa.array(index))


def joined(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return a column as one array."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _flat(vectors: npt.NDArray[Any], dtype: pa.DataType) -> pa.Array:
    values = pa.array(np.ascontiguousarray(vectors).reshape(-1), type=dtype.value_type)
    return pa.FixedSizeListArray.from_arrays(values, type=dtype)


def _several(rows: Sequence[npt.NDArray[Any] | None], dtype: pa.DataType) -> pa.Array:
    full = [np.atleast_2d(row) for row in rows if row is not None]
    if not full:
        return pa.nulls(len(rows), dtype)
    counts = [0 if row is None else len(np.atleast_2d(row)) for row in rows]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    null = np.array([row is None for row in rows])
    return pa.ListArray.from_arrays(
        pa.array(offsets),
        _flat(np.concatenate(full), dtype.value_type),
        type=dtype,
        mask=pa.array(null),
    )
