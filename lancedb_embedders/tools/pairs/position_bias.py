"""How likely a position is looked at, estimated from clicks by the position-based model.

A click needs a look and a relevant document: ``P(click) = examination[position] * relevance[query,
document]`` (Craswell et al., WSDM 2008). Both are estimated by expectation maximization, as in Wang
et al., "Position Bias Estimation for Unbiased Learning to Rank in Personal Search", WSDM 2018, with
one parameter for each query and document in place of their regression.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_ITERATIONS = 2000
_CONVERGED = 1e-6


@dataclass(frozen=True)
class Cells:
    """Impressions added up: a cell for each pair of query and document, and position.

    Attributes
    ----------
    pair, position : numpy.ndarray
        int64: number of the pair, and position from 1.
    shown, clicked : numpy.ndarray
        float64: impressions, and clicks among them.
    """

    pair: Ints
    position: Ints
    shown: Floats
    clicked: Floats

    def of(self, chosen: npt.NDArray[np.bool_]) -> Cells:
        """Return the cells that are chosen."""
        return Cells(
            self.pair[chosen], self.position[chosen], self.shown[chosen], self.clicked[chosen]
        )


def comparable(cells: Cells) -> set[int]:
    """Return the positions whose examination can be compared with the first one's.

    Two are comparable if some document was shown at both for the same query, or each is comparable
    with a third: nothing else in a log tells a look from relevance.
    """
    groups: dict[int, set[int]] = {}
    shown_at: dict[int, list[int]] = {}
    for pair, position in zip(cells.pair.tolist(), cells.position.tolist(), strict=True):
        shown_at.setdefault(pair, []).append(position)
    for positions in shown_at.values():
        together = set(positions).union(*(groups[p] for p in positions if p in groups))
        for position in together:
            groups[position] = together
    first = min(groups, default=None)
    return set() if first is None else groups[first]


def estimate_examination(cells: Cells) -> dict[int, float]:
    """Return position -> how likely it is looked at, relative to the first position.

    Parameters
    ----------
    cells : Cells
        Of positions that are `comparable`.

    Returns
    -------
    dict of int to float
        More than 0; 1 for the position that is looked at most.
    """
    positions, at = np.unique(cells.position, return_inverse=True)
    pairs, of = np.unique(cells.pair, return_inverse=True)
    examination = np.full(len(positions), 0.5)
    relevance = np.full(len(pairs), 0.5)
    by_position = np.bincount(at, cells.shown)
    by_pair = np.bincount(of, cells.shown)
    missed = cells.shown - cells.clicked
    for _ in range(_ITERATIONS):
        look, fits = examination[at], relevance[of]
        unclicked = np.maximum(1 - look * fits, 1e-12)
        looked = cells.clicked + missed * look * (1 - fits) / unclicked
        relevant = cells.clicked + missed * fits * (1 - look) / unclicked
        new = np.bincount(at, looked) / by_position
        relevance = np.bincount(of, relevant) / by_pair
        moved = float(np.max(np.abs(new - examination)))
        examination = new
        if moved < _CONVERGED:
            break
    # Only ratios are known: all looks twice as likely and all documents half as relevant give the
    # same clicks.
    examination = np.maximum(examination / examination.max(), 1e-6)
    return dict(zip(positions.tolist(), examination.tolist(), strict=True))


def power_law(positions: Sequence[int], eta: float) -> dict[int, float]:
    """Return ``(1 / position) ** eta`` for positions, as Joachims et al., WSDM 2017, take it."""
    return {position: (1 / position) ** eta for position in positions}
