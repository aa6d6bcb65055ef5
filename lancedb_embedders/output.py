"""From what a model gives to what a column stores: cut, normalize, quantize, check."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Quantization = Literal["float16", "binary"]
# How far from 1 the length of a float32 vector may be that was scaled to 1.
_UNIT = 5e-7

Float32 = npt.NDArray[np.float32]

#: Arrow type of a vector's elements, by quantization.
ARROW_TYPES: dict[str | None, pa.DataType] = {
    None: pa.float32(),
    "float16": pa.float16(),
    "binary": pa.uint8(),
}


def truncate(vectors: Float32, dim: int | None) -> Float32:
    """Keep the first `dim` dimensions of each row (Matryoshka); all of them if None."""
    return vectors if dim is None else vectors[:, :dim]


def normalize(vectors: Float32) -> Float32:
    """Scale each row to length 1; rows of zeros stay as they are, and so do unit vectors."""
    # In float64: squares of large float32 numbers overflow, of small ones vanish.
    squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    norms = np.sqrt(squares)[:, np.newaxis]
    if np.all(np.abs(norms - 1) < _UNIT):
        return vectors  # as most providers and models give them; a copy costs more than all else
    out = np.zeros_like(vectors)
    np.divide(vectors, norms, out=out, where=norms > 0, casting="same_kind")
    return out


def quantize(vectors: Float32, quantization: Quantization | None) -> npt.NDArray[Any]:
    """Store each number in fewer bits.

    Parameters
    ----------
    vectors : numpy.ndarray
        float32, shape ``(n, dim)``.
    quantization : {None, "float16", "binary"}
        ``"binary"`` keeps the sign of each dimension, 8 to a byte, for Hamming distance.

    Returns
    -------
    numpy.ndarray
        float32 or float16 of shape ``(n, dim)``, or uint8 of shape ``(n, dim / 8)``.
    """
    if quantization == "float16":
        return vectors.astype(np.float16)
    if quantization == "binary":
        return np.packbits(vectors > 0, axis=1)
    return vectors


def directions(
    stored: npt.NDArray[Any], quantization: Quantization | None
) -> npt.NDArray[np.float64]:
    """Return vectors as they are stored at length 1, so that dot products are cosines.

    Parameters
    ----------
    stored : numpy.ndarray
        Shape ``(n, columns)``: what `quantize` gave.
    quantization : {None, "float16", "binary"}
        How they are stored. A bit becomes 1 or -1: the cosine is ``1 - 2 * hamming / bits``.

    Returns
    -------
    numpy.ndarray
        float64, shape ``(n, dim)``; zeros stay zeros.
    """
    if quantization == "binary":
        stored = np.unpackbits(stored.astype(np.uint8, copy=False), axis=1) * 2.0 - 1
    wide = stored.astype(np.float64)
    norms: npt.NDArray[np.float64] = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.where(norms > 0, norms, 1)


def bad_rows(vectors: Float32) -> list[int]:
    """Return the positions of rows that hold NaN or infinity."""
    # A sum is not finite if any addend is not: one pass, no temporary of the full size.
    with np.errstate(over="ignore", invalid="ignore"):
        suspects = np.flatnonzero(~np.isfinite(vectors.sum(axis=1, dtype=np.float64)))
    return [int(row) for row in suspects if not np.isfinite(vectors[row]).all()]


def zero_rows(vectors: Float32) -> list[int]:
    """Return the positions of rows in which every number is 0."""
    return [int(row) for row in np.flatnonzero(~vectors.any(axis=1))]
