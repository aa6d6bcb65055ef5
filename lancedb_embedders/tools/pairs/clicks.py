"""`pairs_from_clicks`: what users clicked as pairs to train on, without the bias of positions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.tools.fine_tuning.data import TrainingPair
from lancedb_embedders.tools.pairs.click_log import Impression, impressions, lists_of
from lancedb_embedders.tools.pairs.position_bias import (
    Cells,
    comparable,
    estimate_examination,
    power_law,
)
from lancedb_embedders.tools.result import Result, rows_table

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class ClickPairs(Result):
    """Pairs to train on, and what became of the rest of a log.

    Attributes
    ----------
    pairs : tuple of TrainingPair
        Sorted by query, the most relevant first; `fine_tune` takes them as they are.
    relevance : tuple of float
        Of each pair: clicks for each time that it is likely to have been looked at; comparable
        within one log only.
    examination : dict of int to float
        Position -> how likely it is looked at, relative to the one that is looked at most.
    impressions, clicks : int
        Rows of the log that were counted, and clicks among them.
    left_out : dict of str to int
        Reason -> how many; of rows where it says so, else of pairs of query and document.
    """

    pairs: tuple[TrainingPair, ...]
    relevance: tuple[float, ...]
    examination: dict[int, float]
    impressions: int
    clicks: int
    left_out: dict[str, int]

    def table(self) -> Table:
        """Return the counts as a table."""
        negatives = sum(len(pair.negatives) for pair in self.pairs)
        rows = [
            ["impressions", f"{self.impressions:,}"],
            ["clicks", f"{self.clicks:,}"],
            ["pairs", f"{len(self.pairs):,}"],
            ["negatives", f"{negatives:,}"],
            *([f"left out: {why}", f"{count:,}"] for why, count in self.left_out.items()),
        ]
        return rows_table("Pairs from clicks", [("", "left"), ("count", "right")], rows)


def pairs_from_clicks(
    log: Any,
    *,
    documents: Mapping[Any, str] | None = None,
    examination: Mapping[int, float] | None = None,
    eta: float | None = None,
    min_examination: float = 0.05,
    min_impressions: int = 10,
    min_clicks: int = 2,
    min_relevance: float = 0.5,
    num_negatives: int = 4,
) -> ClickPairs:
    r"""Return pairs of query and document that users' clicks speak for.

    A document high up is clicked more often because it is seen more often. So clicks are divided by
    how often the document is likely to have been looked at (inverse propensity weighting; Joachims,
    Swaminathan and Schnabel, "Unbiased Learning-to-Rank with Biased Feedback", WSDM 2017), not by
    how often it was shown. How likely a position is looked at is estimated from the log itself,
    see `lancedb_embedders.tools.pairs.position_bias`. Negatives are documents that were shown above
    a clicked one and were not clicked themselves ("skip above"; Joachims, "Optimizing Search
    Engines using Clickthrough Data", KDD 2002), more often than the other way round.

    Parameters
    ----------
    log : iterable, table, str or os.PathLike
        One row for each document that was shown: query, document, position (from 1), whether it was
        clicked, and, if known, the session; as tuples in this order, or as mappings or columns
        with these names. Without sessions, a new list begins where the query changes or the
        position does not rise.
    documents : mapping, optional
        Texts by id, if the log has ids; None: the log has texts.
    examination : mapping of int to float, optional
        Position -> how likely it is looked at, from an experiment with shuffled results, say.
    eta : float, optional
        Takes ``(1 / position) ** eta`` for that; 1 is common.
    min_examination : float, default 0.05
        Positions that are looked at less count as this much, so that single clicks far down do not
        outweigh all else.
    min_impressions, min_clicks : int, default 10 and 2
        Of a pair, that it be judged at all.
    min_relevance : float, default 0.5
        Share of the relevance of the query's most relevant document.
    num_negatives : int, default 4
        At most, for each pair.

    Returns
    -------
    ClickPairs
        The same for the same log.

    Raises
    ------
    InputError
        A row that is no impression; names it, counted from 0.
    ConfigurationError
        The log is empty, or no document was shown at two positions, which alone could tell a look
        from relevance: then give `examination` or `eta`.

    Examples
    --------
    >>> shown = [("tea", "green", 1, 0), ("tea", "black", 2, 1)] * 9
    >>> shown += [("tea", "black", 1, 1), ("tea", "green", 2, 0)] * 3
    >>> pairs_from_clicks(shown).pairs
    (TrainingPair(query='tea', positive='black', negatives=('green',)),)
    """
    _check(examination, eta, min_examination, min_relevance, min_impressions, min_clicks)
    left_out: Counter[str] = Counter()
    rows = impressions(log, documents, left_out)
    if not rows:
        raise ConfigurationError("the log has no row with a query and a document")
    keys = list(dict.fromkeys((row.query, row.document) for row in rows))
    cells = _cells(rows, {key: number for number, key in enumerate(keys)})
    looks = _looks(cells, examination, eta, left_out)
    known = np.isin(cells.position, list(looks))
    cells = cells.of(known)
    looked = np.array([max(looks[p], min_examination) for p in cells.position.tolist()])
    shown = np.bincount(cells.pair, cells.shown, len(keys))
    clicked = np.bincount(cells.pair, cells.clicked, len(keys))
    exposed = np.bincount(cells.pair, cells.shown * looked, len(keys))
    relevance = np.divide(clicked, exposed, out=np.zeros(len(keys)), where=exposed > 0)
    judged = (shown >= min_impressions) & (clicked >= min_clicks)
    left_out[f"fewer than {min_impressions} impressions"] += int((shown < min_impressions).sum())
    few = (shown >= min_impressions) & (clicked < min_clicks)
    left_out[f"fewer than {min_clicks} clicks"] += int(few.sum())
    best: dict[str, float] = {}
    for (query, _), value, counts in zip(keys, relevance.tolist(), judged.tolist(), strict=True):
        if counts:
            best[query] = max(best.get(query, 0.0), value)
    level = dict(zip(keys, relevance.tolist(), strict=True))
    chosen = [
        key
        for key, counts in zip(keys, judged.tolist(), strict=True)
        if counts and level[key] >= min_relevance * best[key[0]]
    ]
    left_out["less relevant than others of the query"] += int(judged.sum()) - len(chosen)
    chosen.sort(key=lambda key: (key[0], -level[key], key[1]))
    skipped = _skipped(rows)
    wanted = {key for key in keys if key[0] in best and level[key] >= min_relevance * best[key[0]]}
    return ClickPairs(
        pairs=tuple(
            TrainingPair(*key, _negatives(key, skipped, wanted, num_negatives)) for key in chosen
        ),
        relevance=tuple(level[key] for key in chosen),
        examination=dict(sorted(looks.items())),
        impressions=int(cells.shown.sum()),
        clicks=int(cells.clicked.sum()),
        left_out={why: count for why, count in left_out.items() if count},
    )


def _check(
    examination: Mapping[int, float] | None,
    eta: float | None,
    min_examination: float,
    min_relevance: float,
    min_impressions: int,
    min_clicks: int,
) -> None:
    if examination is not None and eta is not None:
        raise ConfigurationError("give examination or eta, not both")
    for position, value in (examination or {}).items():
        if not 0 < value <= 1:
            raise ConfigurationError(
                f"examination of position {position} is {value}; it must be above 0, 1 at most"
            )
    if eta is not None and (eta < 0 or not math.isfinite(eta)):
        raise ConfigurationError(f"eta={eta} must be 0 or more")
    for name, share in (("min_examination", min_examination), ("min_relevance", min_relevance)):
        if not 0 < share <= 1:
            raise ConfigurationError(f"{name}={share} must be above 0, 1 at most")
    for name, least in (("min_impressions", min_impressions), ("min_clicks", min_clicks)):
        if least < 1:
            raise ConfigurationError(f"{name}={least} must be 1 or more")


def _cells(rows: Iterable[Impression], numbers: Mapping[tuple[str, str], int]) -> Cells:
    shown: Counter[tuple[int, int]] = Counter()
    clicked: Counter[tuple[int, int]] = Counter()
    for row in rows:
        cell = numbers[row.query, row.document], row.position
        shown[cell] += 1
        clicked[cell] += row.clicked
    pair, position = np.array(list(shown), dtype=np.int64).T
    return Cells(
        pair,
        position,
        np.array(list(shown.values()), dtype=np.float64),
        np.array([clicked[cell] for cell in shown], dtype=np.float64),
    )


def _looks(
    cells: Cells,
    examination: Mapping[int, float] | None,
    eta: float | None,
    left_out: Counter[str],
) -> dict[int, float]:
    positions = sorted(set(cells.position.tolist()))
    if eta is not None:
        return power_law(positions, eta)
    if examination is not None:
        missing = [position for position in positions if position not in examination]
        if missing:
            raise ConfigurationError(f"examination says nothing of position {missing[0]}")
        return {position: float(examination[position]) for position in positions}
    alike = comparable(cells)
    if len(positions) > 1 and len(alike) < 2:
        raise ConfigurationError(
            "no document was shown at two positions for the same query, so the log cannot tell "
            "whether a position is looked at or its documents are relevant; give examination={...} "
            "or eta=1"
        )
    inside = np.isin(cells.position, list(alike))
    why = "rows at positions that no document shares with the others"
    left_out[why] += int(cells.shown[~inside].sum())
    return estimate_examination(cells.of(inside))


def _skipped(rows: list[Impression]) -> dict[tuple[str, str], Counter[str]]:
    """Return (query, clicked document) -> documents that were passed over above it, how often."""
    skipped: dict[tuple[str, str], Counter[str]] = {}
    for shown in lists_of(rows):
        for row in shown:
            if row.clicked:
                above = skipped.setdefault((row.query, row.document), Counter())
                above.update(
                    other.document
                    for other in shown
                    if other.position < row.position and not other.clicked
                )
    return skipped


def _negatives(
    key: tuple[str, str],
    skipped: Mapping[tuple[str, str], Counter[str]],
    wanted: set[tuple[str, str]],
    most: int,
) -> tuple[str, ...]:
    query, positive = key
    found = [
        (count, document)
        for document, count in skipped.get(key, Counter()).items()
        if (query, document) not in wanted
        and document != positive
        and count > skipped.get((query, document), Counter())[positive]
    ]
    found.sort(key=lambda one: (-one[0], one[1]))
    return tuple(document for _, document in found[:most])
