"""Figures that were measured several times, and how figures are read."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ByteSize


@dataclass(frozen=True)
class Spread:
    """The median of what several turns gave, and how far they lie apart.

    Attributes
    ----------
    median, low, high : float
        The median, the least, the most.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return that of some values, one at least."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        if self.low == self.high:
            return number(self.median)
        return f"{number(self.median)}\n{number(self.low)}–{number(self.high)}"  # noqa: RUF001


def number(value: float) -> str:
    """Return a number in three digits or more.

    Examples
    --------
    >>> number(12345.6), number(12.345), number(0.01234)
    ('12,346', '12.3', '0.012')
    """
    if value == int(value) or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def size(count: int | None) -> str:
    """Return a number of bytes as one reads it.

    Examples
    --------
    >>> size(3_000_000), size(None)
    ('2.9MiB', 'unknown')
    """
    return "unknown" if count is None else ByteSize(count).human_readable()
