"""Texts into requests, as full as the provider allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lancedb_embedders.hosted.provider import Limits
from lancedb_embedders.hosted.tokens import Counter, byte_bounds


@dataclass(frozen=True)
class Request:
    """One request to be sent.

    Attributes
    ----------
    positions : numpy.ndarray
        Which texts are in it, int64, in their order.
    tokens : int
        Tokens of all of them, or an upper bound.
    """

    positions: npt.NDArray[np.int64]
    tokens: int

    def halves(self) -> list[Request]:
        """Return the two halves of it."""
        tokens = self.tokens // 2
        return [Request(half, tokens) for half in np.array_split(self.positions, 2)]


def pack(texts: Sequence[str], limits: Limits, counter: Counter) -> Iterator[Request]:
    """Fill requests with texts, in order, each when it is asked for.

    Tokens are only counted where their bytes leave it open whether a request may hold as many texts
    as the number of texts calls for.

    Parameters
    ----------
    texts : sequence of str
        What is to be sent.
    limits : Limits
        What a request may hold.
    counter : Counter
        Counts exactly what bytes leave open.
    """
    tokens = byte_bounds(texts)
    start = counted = 0
    while start < len(texts):
        stop = min(start + limits.inputs, len(texts))
        if limits.tokens is not None:
            if counter.exact and counted < stop and tokens[start:stop].sum() > limits.tokens:
                first = max(start, counted)
                tokens[first:stop] = counter.count(texts[first:stop])
                counted = stop
            total = np.cumsum(tokens[start:stop])
            fitting = int(np.searchsorted(total, limits.tokens, side="right"))
            stop = start + max(1, fitting)
        yield Request(np.arange(start, stop), int(tokens[start:stop].sum()))
        start = stop
