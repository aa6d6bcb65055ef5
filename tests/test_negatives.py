"""Hard negatives: near to the query, and none of what is right for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel

from lancedb_embedders.errors import ConfigurationError, InputError
from lancedb_embedders.tools import mine_hard_negatives
from lancedb_embedders.tools.evaluate.datasets import read_labelled

CORPUS = [
    "Logging in to your account",
    "logging in  to your ACCOUNT",
    "Logging out of your account",
    "Creating a new account",
    "Signing in with another account",
    "Changing your password",
    "How tea is steeped in hot water",
    "Snow falls in winter",
]
PAIR = ("How do I sign in?", "Logging in to your account")


@pytest.fixture(scope="module")
def sbert() -> Any:
    return get_registry().get("sbert").create()


def cosine(sbert: Any, query: str, text: str) -> float:
    first = sbert.compute_query_embeddings([query])[0]
    second = sbert.compute_source_embeddings([text])[0]
    return float(np.dot(first, second))


def test_the_nearest_that_are_not_right_come_first(sbert: Any) -> None:
    found = mine_hard_negatives(sbert, [PAIR], CORPUS, num_negatives=3, relative_margin=None)
    (pair,) = found.pairs
    others = [text for text in CORPUS if text.casefold().split() != PAIR[1].casefold().split()]
    nearest = sorted(others, key=lambda text: -cosine(sbert, PAIR[0], text))
    assert list(pair.negatives) == nearest[:3]
    positive, negatives = found.scores[0]
    assert positive == pytest.approx(cosine(sbert, *PAIR), abs=1e-5)
    assert negatives == pytest.approx([cosine(sbert, PAIR[0], t) for t in nearest[:3]], abs=1e-5)
    assert found.short == 0
    assert found.left_out["right for the query, or there already"] == 2
    assert "Hard negatives" in str(found)


def test_what_is_nearly_as_near_as_the_positive_is_none(sbert: Any) -> None:
    corpus = [*CORPUS, "How to sign in"]  # nobody said that it is right as well
    free = mine_hard_negatives(sbert, [PAIR], corpus, num_negatives=7, relative_margin=None)
    positive, scores = free.scores[0]
    assert max(scores) > 0.95 * positive  # there is something to guard against
    guarded = mine_hard_negatives(sbert, [PAIR], corpus, num_negatives=7)
    assert max(guarded.scores[0][1]) <= 0.95 * positive
    near = sum(score > 0.95 * positive for score in scores)
    assert guarded.left_out["too near: it may be right as well"] == near
    assert guarded.short == 1
    assert "How to sign in" in free.pairs[0].negatives
    assert "How to sign in" not in guarded.pairs[0].negatives
    capped = mine_hard_negatives(
        sbert, [PAIR], corpus, num_negatives=7, relative_margin=None, max_score=0.3, min_score=0.0
    )
    assert capped.scores[0][1] == pytest.approx([s for s in scores if 0 <= s <= 0.3], abs=1e-6)
    absolute = mine_hard_negatives(
        sbert, [PAIR], corpus, num_negatives=7, relative_margin=None, margin=0.2
    )
    assert max(absolute.scores[0][1]) <= positive - 0.2


def test_ranks_are_skipped_and_limited(sbert: Any) -> None:
    options: dict[str, Any] = {"relative_margin": None}
    every = mine_hard_negatives(sbert, [PAIR], CORPUS, num_negatives=6, **options).pairs[0]
    later = mine_hard_negatives(
        sbert, [PAIR], CORPUS, num_negatives=2, range_min=2, range_max=5, **options
    ).pairs[0]
    assert later.negatives == every.negatives[2:4]


def test_all_positives_of_a_query_are_right_for_it(sbert: Any) -> None:
    pairs = [PAIR, (PAIR[0], "Signing in with another account", "Snow falls in winter")]
    found = mine_hard_negatives(sbert, pairs, CORPUS, num_negatives=9, relative_margin=None)
    assert len(found.pairs) == 2
    for pair in found.pairs:
        assert "Signing in with another account" not in pair.negatives
        assert PAIR[1] not in pair.negatives
    # What was there is kept, and is not there twice.
    assert found.pairs[1].negatives[0] == "Snow falls in winter"
    assert found.pairs[1].negatives.count("Snow falls in winter") == 1


def test_without_a_corpus_the_other_positives_are_it(sbert: Any) -> None:
    pairs = [PAIR, ("How do I make tea?", CORPUS[6]), ("When does it snow?", CORPUS[7])]
    found = mine_hard_negatives(sbert, pairs, num_negatives=2)
    assert set(found.pairs[0].negatives) == {CORPUS[6], CORPUS[7]}


@pytest.mark.parametrize("quantization", [None, "binary"])
def test_a_table_is_searched_as_it_is(db: Any, quantization: Any) -> None:
    function: Any = get_registry().get("sbert").create(quantization=quantization)

    class Row(LanceModel):
        body: str = function.SourceField()
        vector: function.Vector() = function.VectorField()  # type: ignore[valid-type]

    table = db.create_table("rows", schema=Row)
    table.add([{"body": text} for text in CORPUS])
    found = mine_hard_negatives(None, [PAIR], table, num_negatives=2)
    same = mine_hard_negatives(function, [PAIR], table, num_negatives=2)
    texts = mine_hard_negatives(function, [PAIR], CORPUS, num_negatives=2)
    assert found.pairs == same.pairs == texts.pairs
    assert len(found.pairs[0].negatives) == 2
    with pytest.raises(ConfigurationError, match="vectors of table 'rows' are by"):
        mine_hard_negatives(get_registry().get("sbert").create(truncate_dim=8), [PAIR], table)


def test_mined_negatives_of_real_intents_are_of_other_intents(sbert: Any, data: Path) -> None:
    rows = read_labelled(data / "intent_banking77" / "train.tsv")
    by_label: dict[str, list[str]] = {}
    for row in rows:
        by_label.setdefault(row.label, []).append(row.text)
    label_of = {row.text: row.label for row in rows}
    few = {label: sorted(texts)[:4] for label, texts in sorted(by_label.items())[:30]}
    pairs = [(texts[0], texts[1]) for texts in few.values()]
    corpus = [text for texts in few.values() for text in texts]
    free = mine_hard_negatives(sbert, pairs, corpus, num_negatives=3, relative_margin=None)
    guarded = mine_hard_negatives(sbert, pairs, corpus, num_negatives=3, relative_margin=0.2)

    def wrong(found: Any) -> float:
        """Return the share of negatives that are of the query's own intent."""
        same = [label_of[t] == label_of[p.query] for p in found.pairs for t in p.negatives]
        return sum(same) / len(same)

    assert wrong(guarded) < wrong(free)


def test_what_makes_no_sense_is_refused(sbert: Any) -> None:
    with pytest.raises(ConfigurationError, match="without a score"):
        mine_hard_negatives(sbert, [("a", "b", 0.5)])
    with pytest.raises(ConfigurationError, match="num_negatives=0"):
        mine_hard_negatives(sbert, [PAIR], CORPUS, num_negatives=0)
    with pytest.raises(ConfigurationError, match="no room for 3"):
        mine_hard_negatives(sbert, [PAIR], CORPUS, num_negatives=3, range_min=4, range_max=6)
    with pytest.raises(ConfigurationError, match="relative_margin=5"):
        mine_hard_negatives(sbert, [PAIR], CORPUS, relative_margin=5)
    with pytest.raises(ConfigurationError, match="max_score=90"):
        mine_hard_negatives(sbert, [PAIR], CORPUS, max_score=90)
    with pytest.raises(ConfigurationError, match="name a function"):
        mine_hard_negatives(None, [PAIR], CORPUS)
    with pytest.raises(InputError, match="row 1"):
        mine_hard_negatives(sbert, [PAIR, ("no positive",)], CORPUS)
