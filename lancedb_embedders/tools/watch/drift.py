"""Whether two periods are alike: two-sample tests with an effect that they must have, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.tools.watch.report import Drift, DriftTest, Finding
from lancedb_embedders.tools.watch.rows import Float32, unit
from lancedb_embedders.tools.watch.spread import nearest

#: Vectors of each period that are compared, at most.
COMPARED = 500
#: Fewer than these say nothing.
FEWEST = 20
_PERMUTATIONS = 999
_NEIGHBOUR_PERMUTATIONS = 599
# Nearest neighbours are sought anew for every permutation.
_NEIGHBOURS = 200
# Effects that count. Random halves of one set stay below a quarter of them.
_ENERGY = 0.002
_GAP = 0.15
_SHARE = 0.05

_DO = {
    "distribution": "other texts are written than before, or another model writes: compare what "
    "was added, and run tables.check",
    "nn_distance": "texts lie closer together or further apart than before: look for near "
    "duplicates, or for a new kind of text",
    "norm": "vectors have other lengths: look at normalize, and at what writes the table",
    "nulls": "the share of rows without a vector has changed: look at the source column",
    "truncated": "texts are longer or shorter than before: look at max_length, or at chunks",
}


@dataclass(frozen=True)
class Period:
    """What is known of a period.

    Attributes
    ----------
    vectors : numpy.ndarray
        float32, shape ``(n, dim)``: a random sample, or all.
    norms : numpy.ndarray
        Lengths of single vectors, float64; may be empty.
    nulls, truncated : tuple of (int, int)
        How many rows, and of how many that were looked at.
    """

    vectors: Float32
    norms: npt.NDArray[np.float64]
    nulls: tuple[int, int] = (0, 0)
    truncated: tuple[int, int] = (0, 0)


def compared(before: Period, after: Period, alpha: float = 0.01, seed: int = 0) -> Drift:
    """Test whether two periods are alike.

    The vectors' distribution is tested by a permutation test on the energy distance (Szekely and
    Rizzo, Energy statistics, 2013), the distances to nearest neighbours by one on the
    Kolmogorov-Smirnov statistic: neighbours are found anew in each permutation, since distances
    of one sample depend on each other. p = (1 + as extreme) / (1 + permutations) (Phipson and
    Smyth, 2010). Lengths are tested by Kolmogorov-Smirnov, shares by Fisher's exact test.

    Parameters
    ----------
    before, after : Period
        At least 20 vectors each; 500 of each are compared at most.
    alpha : float, default 0.01
        Probability of a false alarm over all tests, by Holm's correction.
    seed : int
        Of samples and permutations.

    Raises
    ------
    ConfigurationError
        Too few vectors, or vectors of two sizes.
    """
    _check(before, after, alpha)
    chance = np.random.default_rng(seed)
    first, second = (_some(unit(one.vectors), COMPARED, chance) for one in (before, after))
    found = [
        ("distribution", "energy distance, permutations", *_energy(first, second, chance), _ENERGY),
        ("nn_distance", "KS, permutations", *_neighbours(first, second, chance), _GAP),
    ]
    if len(before.norms) >= FEWEST and len(after.norms) >= FEWEST:
        found.append(("norm", "KS", *_lengths(before.norms, after.norms), _GAP))
    for name in ("nulls", "truncated"):
        counts: tuple[tuple[int, int], ...] = getattr(before, name), getattr(after, name)
        if all(seen for _, seen in counts):
            found.append((name, "Fisher's exact", *_shares(*counts), _SHARE))
    corrected = _holm([p for _, _, _, p, _ in found])
    tests = tuple(
        DriftTest(name, method, effect, least, p, p <= alpha and effect >= least)
        for (name, method, effect, _, least), p in zip(found, corrected, strict=True)
    )
    shift = _mean_shift(first, second)
    return Drift(
        before=len(first),
        after=len(second),
        mean_shift=shift,
        alpha=alpha,
        tests=tests,
        findings=tuple(_finding(test, shift) for test in tests if test.drifted),
    )


def _check(before: Period, after: Period, alpha: float) -> None:
    if not 0 < alpha < 1:
        raise ConfigurationError(f"alpha={alpha} is no probability; use one like 0.01")
    fewest = min(len(before.vectors), len(after.vectors))
    if fewest < FEWEST:
        raise ConfigurationError(
            f"drift needs {FEWEST} vectors of each period; there are {len(before.vectors)} before "
            f"and {len(after.vectors)} after"
        )
    sizes = before.vectors.shape[1], after.vectors.shape[1]
    if sizes[0] != sizes[1]:
        raise ConfigurationError(
            f"the vectors had {sizes[0]} dimensions before and have {sizes[1]} after: they are of "
            "two models, and cannot be compared"
        )


def _some(vectors: Float32, most: int, chance: np.random.Generator) -> Float32:
    return vectors if len(vectors) <= most else chance.choice(vectors, most, replace=False)


def _energy(first: Float32, second: Float32, chance: np.random.Generator) -> tuple[float, float]:
    """Return the energy coefficient, without the bias of small samples, and p."""
    from scipy.spatial.distance import cdist

    n, m = len(first), len(second)
    pooled = np.concatenate([first, second])
    distances = cdist(pooled, pooled)
    # One row a labelling, the first that which was observed: +1 before, 0 after.
    labels = np.zeros((_PERMUTATIONS + 1, n + m))
    labels[:, :n] = 1
    labels[1:] = chance.permuted(labels[1:], axis=1)
    toward = labels @ distances
    within = (toward * labels).sum(axis=1)
    across = toward.sum(axis=1) - within
    other = distances.sum() - within - 2 * across
    between = 2 * across / (n * m)
    energies = between - within / (n * (n - 1)) - other / (m * (m - 1))
    coefficient = energies[0] / between[0] if between[0] > 0 else 0.0
    return float(max(coefficient, 0)), _p(energies)


def _neighbours(
    first: Float32, second: Float32, chance: np.random.Generator
) -> tuple[float, float]:
    """Return the largest gap between distribution functions of nearest distances, and p."""
    # Distances shrink with the number of vectors, so that both periods need as many.
    size = min(len(first), len(second), _NEIGHBOURS)
    pooled = np.concatenate([_some(first, size, chance), _some(second, size, chance)])
    cosines = pooled @ pooled.T
    gaps = []
    order = np.arange(2 * size)
    for _ in range(_NEIGHBOUR_PERMUTATIONS + 1):
        halves = (nearest(cosines[np.ix_(half, half)]) for half in np.split(order, 2))
        gaps.append(_gap(*halves))
        order = chance.permutation(2 * size)
    return float(gaps[0]), _p(np.array(gaps))


def _gap(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    """Return the Kolmogorov-Smirnov statistic; scipy's takes longer to check its arguments."""
    every = np.concatenate([first, second])
    below = [
        np.searchsorted(np.sort(one), every, side="right") / len(one) for one in (first, second)
    ]
    return float(np.abs(below[0] - below[1]).max())


def _lengths(
    first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]
) -> tuple[float, float]:
    from scipy.stats import ks_2samp

    # What differs by the rounding of float16 alone is the same length.
    found = ks_2samp(np.round(first, 2), np.round(second, 2), method="asymp")
    return float(found.statistic), float(found.pvalue)


def _shares(first: tuple[int, int], second: tuple[int, int]) -> tuple[float, float]:
    from scipy.stats import fisher_exact

    table = [[hits, seen - hits] for hits, seen in (first, second)]
    p = float(fisher_exact(table).pvalue)
    return abs(first[0] / first[1] - second[0] / second[1]), p


def _p(statistics: npt.NDArray[np.float64]) -> float:
    """Return p of the first statistic among all; rounding must not tell equal ones apart."""
    return float((statistics >= statistics[0] - 1e-12).sum() / len(statistics))


def _holm(ps: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm, 1979)."""
    corrected, highest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[i]))
        corrected[i] = highest
    return corrected


def _mean_shift(first: Float32, second: Float32) -> float:
    means = [one.mean(axis=0) for one in (first, second)]
    spread = np.mean(
        [
            ((one - mean) ** 2).sum(axis=1).mean()
            for one, mean in zip((first, second), means, strict=True)
        ]
    )
    distance = float(np.linalg.norm(means[0] - means[1]))
    return distance / float(np.sqrt(spread)) if spread > 0 else (0.0 if distance == 0 else 1.0)


def _finding(test: DriftTest, shift: float) -> Finding:
    return Finding(
        code=f"drift_{test.name}",
        severity="warning",
        message=f"{test.name} has drifted (effect {test.effect:.3f}, p {test.p:.4f}, means apart "
        f"by {shift:.2f} of the spread): {_DO[test.name]}",
        figures={"effect": test.effect, "p": test.p, "mean_shift": shift},
    )
