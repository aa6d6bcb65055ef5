"""One vector out of the vectors of a document's windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

from lancedb_embedders.output import Float32

Reduction = Literal["mean", "weighted", "position", "max", "first"]
Int64 = npt.NDArray[np.int64]


def reduce_windows(vectors: Float32, tokens: Int64, how: Reduction) -> Float32:
    """Make one vector of those of a document's windows.

    Parameters
    ----------
    vectors : numpy.ndarray
        float32, shape ``(windows, dim)``, in the order of the text.
    tokens : numpy.ndarray
        Tokens of each window, int64.
    how : {"mean", "weighted", "position", "max", "first"}
        The mean; the mean by tokens; the mean with first and last window counted double; the
        largest number of each dimension; the first window alone.

    Returns
    -------
    numpy.ndarray
        float32, shape ``(dim,)``; of a single window its own vector.

    Examples
    --------
    >>> reduce_windows(np.eye(3, dtype=np.float32), np.array([9, 9, 2]), "position").tolist()
    [0.4000000059604645, 0.20000000298023224, 0.4000000059604645]
    """
    reduced = vectors[0] if len(vectors) == 1 else REDUCTIONS[how](vectors, tokens)
    return np.asarray(reduced, dtype=np.float32)


def _mean(vectors: Float32, tokens: Int64) -> npt.NDArray[np.floating]:  # noqa: ARG001
    return np.asarray(vectors.mean(axis=0, dtype=np.float64))


def _weighted(vectors: Float32, tokens: Int64) -> npt.NDArray[np.floating]:
    return np.asarray(np.average(vectors, axis=0, weights=np.maximum(tokens, 1)))


def _position(vectors: Float32, tokens: Int64) -> npt.NDArray[np.floating]:  # noqa: ARG001
    weights = np.ones(len(vectors))
    weights[[0, -1]] = 2
    return np.asarray(np.average(vectors, axis=0, weights=weights))


def _max(vectors: Float32, tokens: Int64) -> npt.NDArray[np.floating]:  # noqa: ARG001
    return np.asarray(vectors.max(axis=0))


def _first(vectors: Float32, tokens: Int64) -> npt.NDArray[np.floating]:  # noqa: ARG001
    return np.asarray(vectors[0])


REDUCTIONS: dict[Reduction, Callable[[Float32, Int64], npt.NDArray[np.floating]]] = {
    "mean": _mean,
    "weighted": _weighted,
    "position": _position,
    "max": _max,
    "first": _first,
}
