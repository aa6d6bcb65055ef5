"""Vectors of a batch or a column in one form, whatever they are stored as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lancedb_embedders.errors import InputError, name_rows

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Rows:
    """Rows of which some have a vector, or several.

    Attributes
    ----------
    total : int
        Rows, those without a vector included.
    vectors : numpy.ndarray
        float32, shape ``(n, dim)``: of each row that has sound vectors, the vector; the mean of
        several; bits as -1 and 1.
    places : numpy.ndarray
        int64, shape ``(n,)``: the row of each.
    nulls, broken : numpy.ndarray
        int64: rows without a vector, and with NaN or infinity in one.
    norms, owners : numpy.ndarray
        Length of every single sound vector, float64, and its row; empty for bits, whose length
        says nothing.
    packed : bool
        Whether the vectors are bits.
    texts : sequence or None
        What each row was made from; None: not known, or no texts.
    numbers : numpy.ndarray
        int64: what each row is called; its place in a table of which these are a sample.
    """

    total: int
    vectors: Float32
    places: npt.NDArray[np.int64]
    nulls: npt.NDArray[np.int64]
    broken: npt.NDArray[np.int64]
    norms: npt.NDArray[np.float64]
    owners: npt.NDArray[np.int64]
    packed: bool
    texts: Sequence[str | None] | None
    numbers: npt.NDArray[np.int64]

    def named(self, rows: npt.NDArray[np.int64] | list[int]) -> str:
        """Return how some rows are called in a message."""
        return name_rows(self.numbers[rows].tolist())


def rows_of(vectors: Any, texts: Any = None, numbers: npt.NDArray[np.int64] | None = None) -> Rows:
    """Bring vectors into one form.

    Parameters
    ----------
    vectors : numpy.ndarray, pyarrow.Array, pyarrow.ChunkedArray or sequence
        Shape ``(n, dim)``; or a row each, of shape ``(dim,)`` or ``(vectors, dim)``, None for rows
        without. uint8 are packed bits.
    texts : sequence, pyarrow.Array or pyarrow.ChunkedArray, optional
        What each row was made from, in the same order; other things than texts are not used.
    numbers : numpy.ndarray, optional
        What the rows are called; None: 0, 1, 2 ...

    Raises
    ------
    InputError
        Rows that differ in size or are no vectors, or another number of texts.
    """
    total = len(vectors)
    flat, owners = _flat(vectors)
    values = texts.to_pylist() if hasattr(texts, "to_pylist") else texts
    if values is not None and len(values) != total:
        raise InputError(f"there are {total:,} vectors and {len(values):,} texts")
    if values is not None and not all(value is None or isinstance(value, str) for value in values):
        values = None
    packed = flat.dtype == np.uint8
    if packed:
        plain = np.unpackbits(flat, axis=1).astype(np.float32) * 2 - 1
    else:
        plain = flat.astype(np.float32, copy=False)
    broken = np.unique(owners[~np.isfinite(plain).all(axis=1)])
    if len(broken):
        sound = ~np.isin(owners, broken)
        plain, owners = plain[sound], owners[sound]
    norms = np.sqrt(np.einsum("ij,ij->i", plain, plain, dtype=np.float64))
    places, starts = np.unique(owners, return_index=True)
    if len(places) < len(owners):
        counts = np.diff([*starts, len(owners)])[:, np.newaxis]
        plain = np.divide(np.add.reduceat(plain, starts, axis=0), counts, dtype=np.float32)
    return Rows(
        total=total,
        vectors=np.asarray(plain, dtype=np.float32),
        places=places,
        nulls=np.setdiff1d(np.arange(total), np.union1d(places, broken)),
        broken=broken,
        norms=np.zeros(0) if packed else norms,
        owners=np.zeros(0, dtype=np.int64) if packed else owners,
        packed=packed,
        texts=values,
        numbers=np.arange(total) if numbers is None else numbers,
    )


def unit(vectors: Float32) -> Float32:
    """Return vectors scaled to length 1; zeros stay zeros."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1), dtype=np.float32)


def _flat(vectors: Any) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Return every single vector, shape ``(m, dim)``, and the row that each belongs to."""
    if isinstance(vectors, pa.ChunkedArray):
        vectors = vectors.combine_chunks()
    if isinstance(vectors, pa.Array) and pa.types.is_fixed_size_list(vectors.type):
        valid = np.flatnonzero(vectors.is_valid().to_numpy(zero_copy_only=False))
        numbers = vectors.flatten().to_numpy(zero_copy_only=False)
        return numbers.reshape(len(valid), vectors.type.list_size), valid.astype(np.int64)
    if isinstance(vectors, pa.Array):
        vectors = vectors.to_pylist()
    if isinstance(vectors, np.ndarray) and vectors.ndim == 2 and vectors.dtype != object:
        return vectors, np.arange(len(vectors), dtype=np.int64)
    given = [(row, _matrix(one, row)) for row, one in enumerate(vectors) if one is not None]
    filled = [(row, one) for row, one in given if len(one)]
    if not filled:
        return np.zeros((0, 0), dtype=np.float32), np.zeros(0, dtype=np.int64)
    widths = np.array([one.shape[1] for _, one in filled])
    usual = np.bincount(widths).argmax()
    odd = [row for (row, _), width in zip(filled, widths, strict=True) if width != usual]
    if odd:
        raise InputError(
            f"vectors differ in size: {name_rows(odd)} have other than {usual} numbers", odd
        )
    owners = np.repeat([row for row, _ in filled], [len(one) for _, one in filled])
    return np.concatenate([one for _, one in filled]), owners.astype(np.int64)


def _matrix(one: Any, row: int) -> npt.NDArray[Any]:
    try:
        matrix = np.asarray(one)
        if matrix.dtype.kind not in "fiu":
            matrix = matrix.astype(np.float32)
    except (TypeError, ValueError):
        raise InputError(f"row {row} is no vector: {type(one).__name__}", [row]) from None
    if matrix.ndim not in (1, 2):
        raise InputError(f"row {row} is no vector: its shape is {matrix.shape}", [row])
    return matrix.reshape(-1, matrix.shape[-1]) if matrix.size else matrix.reshape(0, 0)
