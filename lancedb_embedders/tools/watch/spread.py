"""How many dimensions vectors use, and how far apart they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lancedb_embedders.tools.watch.rows import Float32, unit

#: Vectors that are compared with each other, at most: time grows with the square.
MOST_PAIRED = 2000
# Sizes at which vectors are judged, so that what is expected is measured once a size.
_SIZES = (16, 24, 32, 48, 64, 96, 128, 192, 256)


@dataclass(frozen=True)
class Spread:
    """How vectors fill their space.

    Attributes
    ----------
    effective_rank : float
        exp of the entropy of the covariance's normalized eigenvalues, 1 to the number of
        dimensions (Roy and Vetterli, The effective rank, EUSIPCO 2007).
    distance : float
        Mean cosine distance of two vectors, 0 to 2.
    variances : numpy.ndarray
        Variance of each dimension of the vectors at length 1, float64.
    """

    effective_rank: float
    distance: float
    variances: npt.NDArray[np.float64]


def judged_size(count: int) -> int | None:
    """Return how many of `count` vectors are judged; None: they are too few."""
    return max((size for size in _SIZES if size <= count), default=None)


def spread_of(vectors: Float32) -> Spread:
    """Return how vectors, shape ``(n, dim)`` with n > 1, fill their space."""
    scaled = unit(vectors).astype(np.float64)
    total, n = scaled.sum(axis=0), len(scaled)
    # All pairs at once: the square of the sum holds each pair twice, and each vector with itself.
    mean_cosine = (total @ total - (scaled * scaled).sum()) / (n * (n - 1))
    centered = scaled - total / n
    small = centered @ centered.T if n < centered.shape[1] else centered.T @ centered
    eigenvalues = np.clip(np.linalg.eigvalsh(small), 0, None)
    return Spread(
        effective_rank=_entropy_rank(eigenvalues),
        distance=float(1 - mean_cosine),
        variances=np.einsum("ij,ij->j", centered, centered) / n,
    )


def nearest(cosines: Float32) -> npt.NDArray[np.float64]:
    """Return for each vector the cosine distance to the nearest other.

    Parameters
    ----------
    cosines : numpy.ndarray
        Of all pairs, shape ``(n, n)``.
    """
    others = cosines.copy()
    np.fill_diagonal(others, -np.inf)
    return np.asarray(1 - others.max(axis=1), dtype=np.float64).clip(0)


def _entropy_rank(eigenvalues: npt.NDArray[np.float64]) -> float:
    total = eigenvalues.sum()
    # Equal vectors differ by rounding alone, which fills all dimensions.
    if total < 1e-9:
        return 1.0
    shares = eigenvalues[eigenvalues > 0] / total
    return float(np.exp(-(shares * np.log(shares)).sum()))
