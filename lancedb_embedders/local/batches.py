"""Which inputs go through a model together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

# A batch that is half full ends before inputs of less than this share of its longest: the more
# even its lengths, the less padding there is to compute.
_EVEN = 0.9
# Smaller batches leave too little for one matrix product.
_SMALLEST = 256


def plan(lengths: npt.NDArray[np.int64], budget: int) -> Iterator[npt.NDArray[np.intp]]:
    """Group inputs of like length so that no batch exceeds a budget of tokens.

    The longest come first: what does not fit into memory fails at once, not at the end.

    Parameters
    ----------
    lengths : numpy.ndarray
        Tokens of each input.
    budget : int
        Tokens a batch, padding included; a single longer input makes a batch of its own.

    Yields
    ------
    numpy.ndarray
        Positions of the inputs of one batch.

    Examples
    --------
    >>> [batch.tolist() for batch in plan(np.array([3, 9, 4, 2]), budget=10)]
    [[1], [2, 0], [3]]
    """
    order = np.argsort(-lengths, kind="stable")
    descending = -lengths[order]
    start = 0
    while start < len(order):
        longest = max(1, int(-descending[start]))
        size = max(1, budget // longest)
        least = -(-budget // (2 * longest))
        even = int(np.searchsorted(descending, -_EVEN * longest, side="right")) - start
        size = min(size, max(least, even)) if least * longest >= _SMALLEST else size
        yield order[start : start + size]
        start += size


def share(tokens: int, budget: int, workers: int) -> int:
    """Return the budget of a batch by which a little work is shared by all workers.

    Examples
    --------
    >>> share(100_000, 1024, workers=2), share(2_000, 1024, workers=2), share(30, 1024, workers=2)
    (1024, 500, 256)
    """
    if workers == 1:
        return budget
    return min(budget, max(_SMALLEST, -(-tokens // (2 * workers))))
