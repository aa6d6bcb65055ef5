"""Texts into requests, as full as the provider allows."""

from __future__ import annotations

from collections.abc import Sequence
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


def pack(texts: Sequence[str], limits: Limits, counter: Counter) -> list[Request]:
    """Fill requests with texts, in order.

    Tokens are only counted where their bytes leave it open whether more requests are needed than
    the number of texts calls for.

    Parameters
    ----------
    texts : sequence of str
        What is to be sent.
    limits : Limits
        What a request may hold.
    counter : Counter
        Counts exactly what bytes leave open.
    """
    bounds = byte_bounds(texts)
    requests = _fill(bounds, limits)
    if counter.exact and len(requests) > -(-len(texts) // limits.inputs):
        requests = _fill(counter.count(texts), limits)
    return requests


def _fill(tokens: npt.NDArray[np.int64], limits: Limits) -> list[Request]:
    requests: list[Request] = []
    start, total = 0, np.concatenate([[0], np.cumsum(tokens)])
    while start < len(tokens):
        stop = min(start + limits.inputs, len(tokens))
        if limits.tokens is not None:
            fitting = np.searchsorted(total, total[start] + limits.tokens, side="right") - 1
            stop = min(stop, max(start + 1, int(fitting)))
        requests.append(Request(np.arange(start, stop), int(total[stop] - total[start])))
        start = stop
    return requests
