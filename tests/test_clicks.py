"""Pairs from clicks: what is looked at is told from what is relevant."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest

from lancedb_embedders.errors import ConfigurationError, InputError
from lancedb_embedders.tools import pairs_from_clicks
from lancedb_embedders.tools.pairs.clicks import ClickPairs

LOOKS = {position: 1 / position for position in range(1, 11)}
#: How likely a click is on a document that is looked at.
RELEVANT, OTHER = 0.7, 0.12


def simulate(seed: int, queries: int = 40, sessions: int = 150) -> tuple[list[Any], set[Any]]:
    """Return a log, and the pairs that are relevant.

    The ranker that made the lists is no good: relevant documents stand anywhere. Like those in use,
    it changes little from day to day: neighbours change places.
    """
    chance = random.Random(seed)
    log, relevant = [], set()
    for query in (f"query {number}" for number in range(queries)):
        order = [f"{query}, document {number}" for number in range(10)]
        right = set(chance.sample(order, 2))
        relevant |= {(query, document) for document in right}
        for session in range(sessions):
            shown = sorted(order, key=lambda d: order.index(d) + chance.gauss(0, 1.2))
            for position, document in enumerate(shown, 1):
                click = LOOKS[position] * (RELEVANT if document in right else OTHER)
                clicked = chance.random() < click
                log.append((query, document, position, clicked, f"{query}/{session}"))
    return log, relevant


def naive(log: list[Any], count: int) -> set[Any]:
    """Return so many pairs of the highest click-through rate."""
    shown: dict[Any, list[bool]] = {}
    for query, document, _, clicked, _ in log:
        shown.setdefault((query, document), []).append(clicked)
    rates = {pair: sum(clicks) / len(clicks) for pair, clicks in shown.items()}
    return set(sorted(rates, key=lambda pair: -rates[pair])[:count])


def pairs(found: ClickPairs) -> set[Any]:
    return {(pair.query, pair.positive) for pair in found.pairs}


@pytest.mark.parametrize("seed", [0, 1])
def test_pairs_are_more_often_right_than_those_of_the_highest_click_through(seed: int) -> None:
    log, relevant = simulate(seed)
    found = pairs(pairs_from_clicks(log))
    clicked = naive(log, len(found))
    precision, by_rate = len(found & relevant) / len(found), len(clicked & relevant) / len(found)
    assert precision > 0.8
    assert precision > by_rate + 0.1
    assert len(found & relevant) > 0.7 * len(relevant)


def test_examination_is_estimated_from_the_log() -> None:
    log, _ = simulate(2)
    found = pairs_from_clicks(log).examination
    assert found[1] == 1
    assert [found[k] for k in (2, 3, 5)] == pytest.approx([1 / 2, 1 / 3, 1 / 5], rel=0.25)
    assert sorted(found, key=lambda position: -found[position])[:5] == [1, 2, 3, 4, 5]


def test_known_examination_is_taken_instead() -> None:
    log, relevant = simulate(3)
    by_eta = pairs_from_clicks(log, eta=1)
    assert by_eta.examination == pytest.approx(LOOKS)
    assert by_eta.pairs == pairs_from_clicks(log, examination=LOOKS).pairs
    found = pairs(by_eta)
    assert len(found & relevant) / len(found) > 0.8
    unbiased = pairs(pairs_from_clicks(log, eta=0))  # as if all positions were looked at alike
    assert len(unbiased & relevant) / len(unbiased) < len(found & relevant) / len(found)


def test_negatives_were_skipped_above_a_click() -> None:
    log, relevant = simulate(4)
    found = pairs_from_clicks(log, num_negatives=3)
    negatives = [(pair.query, text) for pair in found.pairs for text in pair.negatives]
    assert len(negatives) > 50
    assert max(len(pair.negatives) for pair in found.pairs) == 3
    wrong = [negative for negative in negatives if negative in relevant]
    assert len(wrong) / len(negatives) < 0.05
    assert all(pair.positive not in pair.negatives for pair in found.pairs)
    assert pairs_from_clicks(log, num_negatives=0).pairs[0].negatives == ()


def test_only_what_is_above_the_click_is_a_negative() -> None:
    shown = [("q", "above", 1, 0), ("q", "clicked", 2, 1), ("q", "below", 3, 0)] * 20
    found = pairs_from_clicks(shown, eta=1)
    assert [(pair.positive, pair.negatives) for pair in found.pairs] == [("clicked", ("above",))]


def test_sessions_tell_lists_apart_that_were_logged_together() -> None:
    # Sorted by position, as a database may give it: without sessions it reads as other lists.
    rows = [("q", "a", 1, 0, n) for n in range(20)] + [("q", "b", 2, 1, n) for n in range(20)]
    assert pairs_from_clicks(rows, eta=1).pairs[0].negatives == ("a",)
    without = [row[:4] for row in rows]
    assert pairs_from_clicks(without, eta=1).pairs[0].negatives == ("a",)  # one list by chance
    apart = [("q", "a", 1, 0, n) for n in range(20)] + [("q", "b", 2, 1, n) for n in range(20, 40)]
    assert pairs_from_clicks(apart, eta=1).pairs[0].negatives == ()


def test_the_same_log_gives_the_same_and_says_what_was_left_out() -> None:
    log, _ = simulate(5, queries=8)
    log += [("rare", "seen once", 1, 1, "x"), ("query 0", " ", 1, 0, "y")]
    first, second = pairs_from_clicks(log), pairs_from_clicks(list(log))
    assert first == second
    assert first.impressions == 8 * 150 * 10 + 1
    assert first.clicks == sum(row[3] for row in log)
    judged = 8 * 10 + 1  # pairs of query and document in the log
    rows = first.left_out.pop("rows with a blank query or document")
    assert rows == 1
    assert first.left_out["fewer than 10 impressions"] == 1
    assert sum(first.left_out.values()) + len(first.pairs) == judged
    assert "Pairs from clicks" in str(first)


@pytest.mark.parametrize("form", ["dicts", "arrow", "file"])
def test_a_log_comes_in_any_form(form: str, tmp_path: Any) -> None:
    log, _ = simulate(6, queries=4)
    names = ("query", "document", "position", "clicked", "session")
    columns = {
        name: list(column) for name, column in zip(names, zip(*log, strict=True), strict=True)
    }
    table = pa.table(columns)
    given: Any = table.to_pylist() if form == "dicts" else table
    if form == "file":
        given = tmp_path / "log.tsv"
        lines = ["\t".join(names), *("\t".join(map(str, row)) for row in log)]
        given.write_text("\n".join(lines))
    assert pairs_from_clicks(given).pairs == pairs_from_clicks(log).pairs


def test_ids_are_looked_up() -> None:
    shown = [("tea", 7, 1, 1), ("tea", 8, 2, 0), ("tea", 9, 3, 0)] * 20
    found = pairs_from_clicks(shown, documents={7: "green tea", 8: "a teapot"}, eta=1)
    assert [pair.positive for pair in found.pairs] == ["green tea"]
    assert found.left_out["rows whose document has no text in documents"] == 20
    with pytest.raises(InputError, match=r"row 0: .* documents="):
        pairs_from_clicks(shown, eta=1)


def test_a_log_that_cannot_tell_looks_from_relevance_is_refused() -> None:
    fixed = [("q", "a", 1, 1), ("q", "b", 2, 0)] * 20
    with pytest.raises(ConfigurationError, match="at two positions"):
        pairs_from_clicks(fixed)
    assert pairs_from_clicks(fixed, eta=1).pairs[0].positive == "a"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("q", "d", 0, 1), "position 0"),
        (("q", "d", 1.5, 1), "position 1.5"),
        (("q", "d", 1, "maybe"), "clicked is 'maybe'"),
        (("q", "d"), "expected query"),
    ],
)
def test_a_row_that_is_no_impression_is_named(row: Any, said: str) -> None:
    with pytest.raises(InputError, match=rf"row 1: .*{said}") as caught:
        pairs_from_clicks([("q", "d", 1, 1), row], eta=1)
    assert caught.value.rows == (1,)


def test_options_that_make_no_sense_are_refused() -> None:
    shown = [("q", "d", 1, 1)] * 20
    with pytest.raises(ConfigurationError, match="not both"):
        pairs_from_clicks(shown, eta=1, examination={1: 1.0})
    with pytest.raises(ConfigurationError, match="position 1 is 0"):
        pairs_from_clicks(shown, examination={1: 0.0})
    with pytest.raises(ConfigurationError, match="min_relevance=2"):
        pairs_from_clicks(shown, min_relevance=2)
    with pytest.raises(ConfigurationError, match="no row"):
        pairs_from_clicks([])
    with pytest.raises(ConfigurationError, match="there is no position"):
        pairs_from_clicks([{"query": "q", "document": "d", "clicked": 1}])
