"""Several vectors a row: how a function gives them, and how they get past LanceDB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lancedb_embedders.output import Float32


@dataclass(frozen=True)
class MultiVectors:
    """Vectors of inputs of which each has one or more.

    Attributes
    ----------
    vectors : numpy.ndarray
        float32, shape ``(total, dim)``: those of the first input, then those of the second, ...
    counts : numpy.ndarray
        How many each input has, int64; none has 0.
    """

    vectors: Float32
    counts: npt.NDArray[np.int64]

    def owners(self) -> npt.NDArray[np.int64]:
        """Return for each vector the position of its input."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def split(self, vectors: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """Return `vectors`, made of these one by one, as one 2-D array an input."""
        return np.split(vectors, np.cumsum(self.counts)[:-1])


class _Row(list[npt.NDArray[Any]]):
    """The vectors of one row, whose `len` is what LanceDB compares with `ndims()`.

    LanceDB 0.40 turns a row into null, without a word, if ``len(row) != function.ndims()``. It
    means the size of a vector, but of several vectors `len` is their number. Arrow reads the
    list itself and never asks for this `len`. When LanceDB tells the two apart, this class can go:
    ``tests/test_multivector.py`` says when.
    """

    def __init__(self, vectors: npt.NDArray[Any], dims: int) -> None:
        super().__init__(vectors)
        self._dims = dims

    def __len__(self) -> int:
        return self._dims


def rows_for_lancedb(rows: Sequence[npt.NDArray[Any] | None], dims: int) -> list[_Row | None]:
    """Return rows of several vectors in the form that LanceDB stores whole."""
    return [None if row is None else _Row(row, dims) for row in rows]
