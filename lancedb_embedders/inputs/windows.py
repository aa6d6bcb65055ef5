"""Windows over a text's tokens: how a document is cut to what a model takes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

#: One row a window: its first token, and the one behind its last. int64, shape ``(n, 2)``.
Spans = npt.NDArray[np.int64]


def token_windows(count: int, size: int, overlap: int = 0) -> Spans:
    """Cut `count` tokens into windows of `size`, each sharing `overlap` with the one before.

    All windows but the last are full, and each holds a token that no earlier one has.

    Parameters
    ----------
    count : int
        Tokens of the text.
    size : int
        Tokens of a window.
    overlap : int, default 0
        Tokens that a window repeats, less than `size`.

    Examples
    --------
    >>> token_windows(10, size=4, overlap=1).tolist()
    [[0, 4], [3, 7], [6, 10]]
    """
    starts = np.arange(0, max(1, count - overlap), size - overlap, dtype=np.int64)
    return np.stack([starts, np.minimum(starts + size, count)], axis=1)


def sentence_windows(
    starts: npt.NDArray[np.int64], count: int, size: int, overlap: int = 0
) -> Spans:
    """Pack whole sentences into windows of at most `size` tokens.

    A sentence of more than `size` tokens is cut by `token_windows`; what is left of it is packed
    with the sentences that follow.

    Parameters
    ----------
    starts : numpy.ndarray
        Tokens at which sentences begin, ascending, the first is 0.
    count, size : int
        As in `token_windows`.
    overlap : int, default 0
        Tokens that a window repeats at most; only whole sentences are.

    Examples
    --------
    >>> sentence_windows(np.array([0, 3, 5, 9]), 12, size=6, overlap=2).tolist()
    [[0, 5], [3, 9], [9, 12]]
    """
    bounds = [*starts.tolist(), count]
    windows: list[tuple[int, int]] = []
    first = last = 0  # of the window that is being filled
    for i, (begin, end) in enumerate(pairwise(bounds)):
        if end - first > size and last > first:
            windows.append((first, last))
            first = _repeated(bounds, i, last - overlap, end - size)
        if end - first > size:  # one sentence, too long
            pieces = token_windows(end - begin, size, overlap) + begin
            windows += [(a, b) for a, b in pieces[:-1].tolist()]
            first = int(pieces[-1, 0])
        last = end
    windows.append((first, last))
    return np.array(windows, dtype=np.int64)


def _repeated(bounds: list[int], i: int, *limits: int) -> int:
    """Return the earliest sentence, up to the one at `i`, that is not before any limit."""
    earliest = i
    while earliest > 0 and bounds[earliest - 1] >= max(limits):
        earliest -= 1
    return bounds[earliest]
