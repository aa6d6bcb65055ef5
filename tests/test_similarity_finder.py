"""The example that finds near-duplicates: all of them, each once, and in little memory."""

from __future__ import annotations

import math
import random
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from lancedb.embeddings import get_registry
from lancedb.index import IvfFlat
from lancedb.pydantic import LanceModel

from benchmarks.near_duplicate_vectors import edited, known
from examples.similarity_finder import (
    Pair,
    SimilarityFinder,
    compare,
    fit_threshold,
    judge,
)
from examples.similarity_finder import (
    __main__ as script,
)
from lancedb_embedders import ConfigurationError, EmbeddingWarning, InputError
from lancedb_embedders.tools.evaluate.datasets import ScoredPair, read_pairs

TEXTS = [
    "The ferry leaves at nine.",
    "The ferry leaves at nine.",
    "The ferry leaves at 9.",
    "Green tea is steeped at 80 degrees.",
    "Green tea should be steeped at 80 degrees.",
    "The museum is closed on Mondays.",
]


def vectors_table(db: Any, vectors: Any, name: str = "t") -> Any:
    column = pa.FixedSizeListArray.from_arrays(
        pa.array(np.ascontiguousarray(vectors, dtype=np.float32).ravel()), vectors.shape[1]
    )
    keys = pa.array([f"row {i}" for i in range(len(vectors))])
    return db.create_table(name, pa.table({"id": keys, "vector": column}))


def planted(rows: int, copies: int, dims: int = 64, noise: float = 0.2) -> Any:
    """Return vectors of length 1, of which the last ones are near to others."""
    rng = np.random.default_rng(0)
    first = rng.standard_normal((rows - copies, dims)) / math.sqrt(dims)
    near = first[rng.integers(len(first), size=copies)]
    vectors = np.concatenate([first, near + noise * rng.standard_normal(near.shape) / 8])
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def exact(vectors: Any, threshold: float) -> dict[frozenset[str], float]:
    alike = np.triu(vectors @ vectors.T, 1)
    return {
        frozenset({f"row {i}", f"row {j}"}): float(alike[i, j])
        for i, j in zip(*np.nonzero(alike >= threshold), strict=True)
    }


def as_dict(pairs: list[Pair]) -> dict[frozenset[str], float]:
    made = {frozenset({pair.first, pair.second}): pair.similarity for pair in pairs}
    assert len(made) == len(pairs), "a pair was given twice"
    assert all(len(keys) == 2 for keys in made), "a row was paired with itself"
    return made


@pytest.fixture
def sentences(db: Any) -> SimilarityFinder:
    sbert = get_registry().get("sbert").create()

    class Sentence(LanceModel):
        id: int
        text: str = sbert.SourceField()
        vector: sbert.Vector() = sbert.VectorField()  # type: ignore[valid-type]

    table = db.create_table("sentences", schema=Sentence)
    table.add([{"id": 10 + i, "text": text} for i, text in enumerate(TEXTS)])
    return SimilarityFinder(table)


def test_a_row_finds_its_like_and_not_itself(sentences: SimilarityFinder) -> None:
    found = sentences.similar_to(10, limit=2)
    assert [match.row["id"] for match in found] == [11, 12]
    # The same text under another key stays.
    assert found[0].similarity == pytest.approx(1, abs=1e-5)
    assert found[0].row == {"id": 11, "text": TEXTS[1]}
    assert len(sentences.similar_to(10)) == len(TEXTS) - 1


def test_a_text_finds_its_like(sentences: SimilarityFinder) -> None:
    found = sentences.similar("When does the boat go?", limit=3)
    assert {match.row["id"] for match in found} == {10, 11, 12}
    assert found[0].similarity > 0.4
    pairs = {frozenset((p.first, p.second)) for p in sentences.pairs(0.8)}
    assert pairs == {frozenset(p) for p in ((10, 11), (10, 12), (11, 12), (13, 14))}
    assert [sorted(one.keys) for one in sentences.clusters(sentences.pairs(0.8))] == [
        [10, 11, 12],
        [13, 14],
    ]


def test_bad_questions_are_said_at_once(sentences: SimilarityFinder) -> None:
    with pytest.raises(InputError, match="no row with a vector whose id is 99"):
        sentences.similar_to(99)
    for text in ("", "  ", None):
        with pytest.raises(InputError, match="expected a text"):
            sentences.similar(text)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="limit is at least 1"):
        sentences.similar("tea", limit=0)
    for threshold in (-1.0, 1.5, float("nan")):
        with pytest.raises(ConfigurationError, match="threshold is a cosine"):
            sentences.pairs(threshold)
    with pytest.raises(ConfigurationError, match="no column 'key'; it has: id, text, vector"):
        SimilarityFinder(sentences.table, key="key")


def test_without_an_index_all_pairs_are_found_each_once(db: Any) -> None:
    vectors = planted(1500, 300)
    finder = SimilarityFinder(vectors_table(db, vectors))
    assert not finder.index()
    # A last batch of a single row is one of those that LanceDB answers in another form.
    found = as_dict(list(finder.pairs(0.9, batch_rows=1499)))
    expected = exact(vectors, 0.9)
    assert found.keys() == expected.keys()
    assert len(expected) > 200
    for keys, similarity in expected.items():
        assert found[keys] == pytest.approx(similarity, abs=1e-5)


def test_through_the_index_nearly_all_pairs_are_found(db: Any) -> None:
    vectors = planted(8000, 1500)
    finder = SimilarityFinder(vectors_table(db, vectors))
    assert finder.index()
    plan = finder._search(vectors[:2]).limit(2).explain_plan()
    assert "ANNIvf" in plan
    found, expected = as_dict(list(finder.pairs(0.9))), exact(vectors, 0.9)
    assert found.keys() <= expected.keys()
    # Random directions form no groups: real sentences are easier.
    assert len(found) > 0.95 * len(expected) > 1000
    # More partitions find no less.
    assert len(list(finder.pairs(0.9, nprobes=40))) >= len(found)


@pytest.mark.slow
def test_rows_that_came_after_the_index_are_found(db: Any) -> None:
    vectors = planted(6000, 500)
    table = vectors_table(db, vectors)
    finder = SimilarityFinder(table)
    assert finder.index()
    table.add([{"id": "new", "vector": vectors[7]}, {"id": "newer", "vector": vectors[8]}])
    late = {frozenset({"new", "row 7"}), frozenset({"newer", "row 8"})}
    assert late <= as_dict(list(finder.pairs(0.99))).keys()
    assert finder.index()
    table.delete("id = 'newer'")
    pairs = as_dict(list(finder.pairs(0.99))).keys()
    assert frozenset({"new", "row 7"}) in pairs
    assert not any("newer" in keys for keys in pairs)


def test_an_index_of_another_kind_is_not_taken(db: Any) -> None:
    table = vectors_table(db, planted(1000, 100))
    table.create_index("vector", config=IvfFlat("l2", 4))
    with pytest.raises(ConfigurationError, match="has another index, 'vector_idx'"):
        SimilarityFinder(table).index()


def test_rows_without_a_vector_or_of_zeros_are_like_none(db: Any) -> None:
    rows = [[1.0, 0.0], None, [1.0, 0.01], [0.0, 0.0], None]
    data = pa.table({"id": list(range(5)), "vector": pa.array(rows, pa.list_(pa.float32(), 2))})
    finder = SimilarityFinder(db.create_table("t", data, on_bad_vectors="null"))
    assert [(pair.first, pair.second) for pair in finder.pairs(0.9)] == [(0, 2)]
    with pytest.raises(InputError, match="no row with a vector whose id is 1"):
        finder.similar_to(1)


@pytest.mark.parametrize("keys", [[1, 1, 2], [1, None, 2]])
def test_keys_must_tell_rows_apart(db: Any, keys: list[int | None]) -> None:
    data = pa.table({"id": keys, "vector": pa.array([[1.0, 0.0]] * 3, pa.list_(pa.float32(), 2))})
    with pytest.raises(InputError, match="'id' does not tell rows apart: of 3 values"):
        SimilarityFinder(db.create_table("t", data)).pairs(0.9)


def test_a_row_with_more_duplicates_than_asked_for_is_told_of(db: Any) -> None:
    vectors = np.concatenate([np.tile(np.eye(4)[0], (30, 1)), np.eye(4)[1:]])
    finder = SimilarityFinder(vectors_table(db, vectors))
    with pytest.warns(EmbeddingWarning, match="30 rows have 5 near-duplicates or more"):
        pairs = list(finder.pairs(0.9, most=5))
    assert 0 < len(pairs) < 30 * 29 / 2
    assert len(list(finder.pairs(0.9, most=30))) == 30 * 29 / 2


def test_a_chain_is_told_by_its_least_similarity_and_divided_on_request(db: Any) -> None:
    angles = np.radians([0, 20, 40, 60, 80, 200, 210])
    finder = SimilarityFinder(vectors_table(db, np.column_stack([np.cos(angles), np.sin(angles)])))
    threshold = math.cos(math.radians(25))
    pairs = list(finder.pairs(threshold))
    chain, close = finder.clusters(pairs)
    assert sorted(chain.keys) == [f"row {i}" for i in range(5)]
    assert chain.least == pytest.approx(math.cos(math.radians(80)), abs=1e-5)
    assert close.least == pytest.approx(math.cos(math.radians(10)), abs=1e-5)
    tight = finder.clusters(pairs, complete=threshold)
    assert len(tight) == 3
    assert all(len(one.keys) == 2 and one.least >= threshold - 1e-5 for one in tight)
    assert finder.clusters([]) == []
    finder.LARGEST = 4
    with pytest.raises(ConfigurationError, match="a cluster of 5 rows is too large"):
        finder.clusters(pairs, complete=threshold)


def test_pairs_take_little_memory(db: Any) -> None:
    rows = 8000
    finder = SimilarityFinder(vectors_table(db, planted(rows, 800, dims=16)))
    finder.index()
    tracemalloc.start()
    try:
        first = next(pairs := finder.pairs(0.98, batch_rows=256))
        assert first.similarity >= 0.98
        count = 1 + sum(1 for _ in pairs)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count > 100
    # numpy's arrays are counted: all similarities at once would be 256 MB.
    assert peak < 16e6 < rows**2 * 4


def test_the_threshold_is_the_best_there_is() -> None:
    similarities = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    same = [True, True, False, True, False, False]
    best = fit_threshold(similarities, same)
    assert (best.similarity, best.precision, best.recall) == (0.6, 0.75, 1.0)
    assert best.f1 == pytest.approx(6 / 7)
    sure = fit_threshold(similarities, same, precision=0.9)
    assert (sure.similarity, sure.precision) == (0.8, 1.0)
    assert sure.recall == pytest.approx(2 / 3)
    assert judge(similarities, same, 0.95).precision == 0.0
    with pytest.raises(ConfigurationError, match=r"no threshold has a precision of 0\.9"):
        fit_threshold([0.9, 0.8], [False, True], precision=0.9)
    with pytest.raises(ConfigurationError, match="pairs that are the same and pairs that are not"):
        fit_threshold([0.9, 0.8], [True, True])


def test_labelled_pairs_are_told_apart(data: Path) -> None:
    pairs = random.Random(1).sample(read_pairs(data / "dup_mrpc" / "mrpc-train.tsv"), 300)
    learned, held_out = script.split(pairs)
    texts = {text for pair in learned for text in (pair.first, pair.second)}
    assert texts.isdisjoint(text for pair in held_out for text in (pair.first, pair.second))
    sbert = get_registry().get("sbert").create()
    fitted = fit_threshold(compare(sbert, learned), [pair.score > 0 for pair in learned])
    found = judge(compare(sbert, held_out), [p.score > 0 for p in held_out], fitted.similarity)
    # Of MRPC's test pairs: AP 83.7, best F1 81.8; to call all pairs the same has an F1 of 0.8.
    assert found.average_precision > 0.78
    assert found.f1 > 0.75


def test_a_text_of_many_pairs_is_compared_as_often() -> None:
    sbert = get_registry().get("sbert").create()
    pairs = [ScoredPair(1, "Tea.", "Tea."), ScoredPair(0, "Tea.", "A ferry to Oslo.")]
    same, other = compare(sbert, pairs)
    assert same == pytest.approx(1, abs=1e-5)
    assert other < 0.5


def test_the_benchmark_knows_what_it_planted(data: Path, tmp_path: Path) -> None:
    def embed(texts: list[str]) -> Any:
        seen.extend(texts)
        rng = np.random.default_rng(len(texts))
        vectors = rng.standard_normal((len(texts), 32)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    seen: list[str] = []
    made = known(1000, 200, embed, tmp_path / "v.npz")
    assert len(seen) == len(set(seen[:200])) + 20
    assert made.vectors.shape == (1000, 32)
    assert len(made.edits) == 20
    np.testing.assert_allclose(np.linalg.norm(made.vectors, axis=1), 1, atol=1e-5)
    first, second = made.vectors[made.planted[:, 0]], made.vectors[made.planted[:, 1]]
    others = np.roll(second, 1, axis=0)
    assert (first * second).sum(1).mean() > (first * others).sum(1).mean() + 0.2
    assert np.array_equal(known(1000, 200, embed, tmp_path / "v.npz").vectors, made.vectors)
    assert len(seen) == 220, "embedded again"
    rng = random.Random(0)
    assert all(edited(text, rng) != text for text in seen[:200])


def test_the_script_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LANCEDB_EMBEDDERS_DATA", str(tmp_path / "absent"))
    monkeypatch.setattr("sys.argv", ["similarity_finder"])
    script.main()
    assert capsys.readouterr().out.startswith("skipped: no evaluation data in ")


def test_the_script_finds_near_duplicates_of_real_sentences(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script.run(tmp_path, data, 100)
    printed = capsys.readouterr().out
    assert "50 other pairs: precision" in printed
    assert "sentences, too few for an index" in printed
