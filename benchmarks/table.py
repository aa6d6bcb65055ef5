"""Figures of a topic, and what they come to: medians, and ratios of runs side by side."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.contestants import OURS, THEIRS
from benchmarks.job import Result


@dataclass(frozen=True)
class Row:
    """One figure of both contestants, a value a round.

    Attributes
    ----------
    what : str
        What was measured.
    unit : str
        Its unit; empty for a count that is neither good nor bad.
    ours, theirs : list of float
        Values, those of one round at the same position.
    more_is_better : bool
        Which way the ratio goes.
    """

    what: str
    unit: str
    ours: list[float]
    theirs: list[float]
    more_is_better: bool = False

    def ratios(self) -> list[float]:
        """Return how many times better ours is, a value a round; empty for mere counts."""
        pairs = list(zip(self.ours, self.theirs, strict=True))
        if not self.unit or not all(a > 0 and b > 0 for a, b in pairs):
            return []
        return [a / b if self.more_is_better else b / a for a, b in pairs]

    def as_dict(self) -> dict[str, Any]:
        """Return all values, medians and the ratio, for JSON."""
        ratios = self.ratios()
        return {
            **asdict(self),
            "ours_median": statistics.median(self.ours),
            "theirs_median": statistics.median(self.theirs),
            "ratios": ratios,
            "ratio_median": statistics.median(ratios) if ratios else None,
        }


@dataclass
class Table:
    """The figures of one topic.

    Attributes
    ----------
    title : str
        What they are about.
    rows : list of Row
        The figures.
    notes : list of str
        What a reader needs to know beside them.
    """

    title: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(
        self,
        what: str,
        unit: str,
        results: dict[str, list[Result]],
        key: str,
        *,
        more_is_better: bool = False,
    ) -> None:
        """Add the figure that is called `key` in the results of `Bench.in_turns`."""
        ours, theirs = (_values(results[who], key) for who in (OURS, THEIRS))
        self.rows.append(Row(what, unit, ours, theirs, more_is_better))

    def as_dict(self) -> dict[str, Any]:
        """Return the table for JSON."""
        return {
            "title": self.title,
            "rows": [row.as_dict() for row in self.rows],
            "notes": self.notes,
        }


def _values(results: Sequence[Result], key: str) -> list[float]:
    return [result[key] for result in results]
