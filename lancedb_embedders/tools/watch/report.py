"""What a monitor says: figures, findings, and how two periods differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from lancedb_embedders.tools.result import Result, rows_table

if TYPE_CHECKING:
    from rich.console import RenderableType

Severity = Literal["info", "warning", "error"]

#: Every figure of a check: name -> what it is. A figure that could not be had is None.
FIGURES: dict[str, str] = {
    "rows": "rows that were looked at",
    "nulls": "share of rows without a vector",
    "non_finite": "share of rows with NaN or infinity",
    "zeros": "share of rows with a vector of zeros",
    "dims": "numbers in a vector",
    "norm_min": "smallest length of a vector",
    "norm_median": "median length of a vector",
    "norm_max": "largest length of a vector",
    "effective_rank": "dimensions that the vectors really use",
    "effective_rank_expected": "the fewest that so many ordinary texts use",
    "spread": "mean cosine distance of two vectors",
    "spread_expected": "the smallest of so many ordinary texts",
    "flat_dims": "dimensions that hardly vary and do with ordinary texts",
    "nn_distance": "median cosine distance to the nearest other vector",
    "duplicates": "share of rows whose text has come before",
    "near_identical": "share of rows whose vector another text has, too",
    "unstable": "share of rows whose equal text has another vector",
    "truncated": "share of texts that are longer than the model takes",
}


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes
    ----------
    code : str
        What it is, like ``"collapsed"``; stays the same from version to version.
    severity : {"info", "warning", "error"}
        ``"error"``: the vectors cannot be searched as they are.
    message : str
        What was found, how much of it, which rows first, and what to do.
    figures : dict of str to float
        What it was judged by.
    """

    code: str
    severity: Severity
    message: str
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Quality(Result):
    """What a check of vectors gave.

    Attributes
    ----------
    name : str
        What is monitored.
    at : datetime.datetime
        When, in UTC.
    function, model : str or None
        What made the vectors.
    figures : dict of str to float or None
        See `FIGURES`; None where a figure could not be had.
    findings : tuple of Finding
        What is wrong, the worst first.
    """

    name: str
    at: datetime
    function: str | None
    model: str | None
    figures: Mapping[str, float | None]
    findings: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing was found of severity warning or worse."""
        return not any(found.severity != "info" for found in self.findings)

    @property
    def rows(self) -> int:
        """Rows that were looked at."""
        return int(self.figures["rows"] or 0)

    def table(self) -> RenderableType:
        """Return the figures and the findings as rich prints them."""
        from rich.console import Group

        what = f"{self.name}: {self.function or 'vectors'} {self.model or ''}".rstrip()
        figures = [
            [name, shown(value), FIGURES[name]]
            for name, value in self.figures.items()
            if value is not None
        ]
        columns = [("figure", "left"), ("value", "right"), ("meaning", "left")]
        return Group(rows_table(what, columns, figures), _findings(self.findings))


@dataclass(frozen=True)
class DriftTest:
    """A test of whether two periods are alike.

    Attributes
    ----------
    name : str
        ``"distribution"``, ``"nn_distance"``, ``"norm"``, ``"nulls"`` or ``"truncated"``.
    method : str
        The test.
    effect : float
        How much they differ: the energy coefficient, the largest gap between two distribution
        functions, or the difference of two shares; 0 to 1.
    threshold : float
        Effects below it count for nothing, however sure they are.
    p : float
        Probability of a difference as large without drift, corrected for several tests (Holm).
    drifted : bool
        Whether it is both sure and large enough.
    """

    name: str
    method: str
    effect: float
    threshold: float
    p: float
    drifted: bool


@dataclass(frozen=True)
class Drift(Result):
    """How two periods differ.

    Attributes
    ----------
    before, after : int
        Vectors that were compared of each.
    mean_shift : float
        Distance of their means, as a share of the vectors' root mean square distance from theirs.
    alpha : float
        Probability of a false alarm, over all tests.
    tests : tuple of DriftTest
        What was tested.
    findings : tuple of Finding
        What has drifted.
    """

    before: int
    after: int
    mean_shift: float
    alpha: float
    tests: tuple[DriftTest, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing has drifted."""
        return not self.findings

    def table(self) -> RenderableType:
        """Return the tests and the findings as rich prints them."""
        from rich.console import Group

        rows = [
            [
                test.name,
                test.method,
                f"{test.effect:.3f}",
                f"{test.threshold:.3f}",
                f"{test.p:.4f}",
                "yes" if test.drifted else "no",
            ]
            for test in self.tests
        ]
        columns = [
            ("of", "left"),
            ("test", "left"),
            ("effect", "right"),
            ("counts from", "right"),
            ("p (Holm)", "right"),
            ("drift", "left"),
        ]
        title = f"Drift between {self.before:,} vectors before and {self.after:,} after"
        return Group(rows_table(title, columns, rows), _findings(self.findings))


def shown(value: float) -> str:
    """Return a figure as it is read: few digits, thousands separated."""
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4g}"


def ordered(findings: list[Finding]) -> tuple[Finding, ...]:
    """Return findings with the worst first."""
    ranks = {"error": 0, "warning": 1, "info": 2}
    return tuple(sorted(findings, key=lambda found: ranks[found.severity]))


def _findings(findings: tuple[Finding, ...]) -> RenderableType:
    columns = [("severity", "left"), ("finding", "left"), ("what to do", "left")]
    rows = [[found.severity, found.code, found.message] for found in findings]
    return rows_table("Findings" if rows else "No findings", columns, rows)
