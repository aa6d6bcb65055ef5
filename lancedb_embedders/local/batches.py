"""Which inputs go through a model together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt


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
    start = 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        size = max(1, budget // longest)
        yield order[start : start + size]
        start += size
