"""Several vectors a row, in real tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lancedb
import numpy as np
import numpy.typing as npt
import pytest
from lancedb.pydantic import LanceModel, MultiVector

from lancedb_embedders import (
    Batch,
    ConfigurationError,
    Embedder,
    EmbeddingWarning,
    LongDocumentEmbeddings,
    MultiVectors,
    VectorError,
)

TOWN = "The old town lies on the river. " * 30
BOATS = "Boats to the islands leave at nine in the morning. "
TAXES = "Income tax is due by the end of May. " * 30


@pytest.fixture
def table(db: Any) -> Any:
    function = LongDocumentEmbeddings.create(reduce="none", max_tokens=64, overlap=8)

    class Document(LanceModel):
        id: int
        text: str | None = function.SourceField(default=None)
        vector: function.Vector() | None = function.VectorField(default=None)  # type: ignore[valid-type]

    table = db.create_table("t", schema=Document)
    table.add(
        [{"id": 1, "text": TOWN + BOATS + TOWN}, {"id": 2, "text": TAXES}, {"id": 3, "text": "x"}]
    )
    return table


def test_no_row_is_nulled_and_none_is_cut(table: Any) -> None:
    stored = table.to_arrow().sort_by("id")["vector"].to_pylist()
    direct = table.embedding_functions["vector"].function.compute_source_embeddings(
        [TOWN + BOATS + TOWN, TAXES, "x"]
    )
    assert [len(vectors) for vectors in stored] == [len(vectors) for vectors in direct]
    assert len(stored[0]) > 5
    for one, other in zip(stored, direct, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
        assert other.shape[1] == 384


def test_the_best_passage_counts(table: Any) -> None:
    query = "When do boats leave for the islands?"
    hit = table.search(query).distance_type("cosine").limit(1).to_list()[0]
    function = table.embedding_functions["vector"].function
    asked = function.compute_query_embeddings(query)[0]
    best = max(np.asarray(hit["vector"]) @ asked)
    assert hit["id"] == 1
    assert 1 - hit["_distance"] == pytest.approx(best, abs=1e-4)
    one = LongDocumentEmbeddings.create(max_tokens=64, overlap=8)
    assert best > one.compute_source_embeddings([TOWN + BOATS + TOWN])[0] @ asked + 0.1


def test_a_long_query_is_searched_by_all_its_windows(table: Any) -> None:
    function = table.embedding_functions["vector"].function
    assert function.compute_query_embeddings(TAXES)[0].ndim == 2
    hits = table.search(TAXES).distance_type("cosine").limit(3).to_list()
    assert hits[0]["id"] == 2
    assert hits[0]["_distance"] == pytest.approx(0, abs=1e-3)


def test_null_rows_stay_null(table: Any) -> None:
    with pytest.warns(EmbeddingWarning, match="1 of 2 rows have no text"):
        table.add([{"id": 8, "text": None}, {"id": 9, "text": BOATS}], on_bad_vectors="null")
    stored = table.to_arrow().sort_by("id")["vector"].to_pylist()
    assert [vectors is None for vectors in stored] == [False, False, False, True, False]


async def test_async(tmp_path: Any) -> None:
    function = LongDocumentEmbeddings.create(reduce="none", quantization="float16")

    class Document(LanceModel):
        text: str = function.SourceField()
        vector: MultiVector(384, function.Vector().value_arrow_type()) = function.VectorField()  # type: ignore[valid-type]

    db = await lancedb.connect_async(tmp_path)
    table = await db.create_table("t", schema=Document)
    await table.add([{"text": TOWN * 20}, {"text": TAXES}])
    query: Any = await table.search("when are taxes due?")
    hits = await query.distance_type("cosine").limit(2).to_list()
    assert hits[0]["text"] == TAXES
    assert len(hits[1]["vector"]) > 1


class _Pairs(Embedder, registry_name="pairs"):
    """Gives each text as many vectors as it has words."""

    def ndims(self) -> int:
        return self.column_dims(8)

    @property
    def multivector(self) -> bool:
        return True

    def embed(self, batch: Batch) -> MultiVectors:
        counts = np.array([len(text.split()) for text in batch.inputs])
        vectors = np.ones((counts.sum(), 8), dtype=np.float32)
        bad = {"nan": np.nan, "zero": 0}
        words = [word for text in batch.inputs for word in text.split()]
        for row, word in enumerate(words):
            vectors[row] *= bad.get(word, 1)
        return MultiVectors(vectors, counts if "lost" not in words else counts[:-1])


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a b", "c", "d nan e"], "NaN or infinity for row 2"),
        (["a b zero", "c", "a b zero"], "zeros for rows 0, 2"),
        (["a", "lost"], "gave some inputs no vector"),
    ],
)
def test_bad_vectors_are_named_by_row(texts: Sequence[str], message: str) -> None:
    with pytest.raises(VectorError, match=message):
        _Pairs.create().compute_source_embeddings(texts)


def test_a_function_of_ones_own_may_give_several(db: Any) -> None:
    pairs = _Pairs.create()

    class Row(LanceModel):
        text: str = pairs.SourceField()
        vector: pairs.Vector() = pairs.VectorField()  # type: ignore[valid-type]

    table = db.create_table("pairs", schema=Row)
    table.add([{"text": "one two three"}, {"text": "one"}, {"text": "one two three"}])
    assert [len(v) for v in table.to_arrow()["vector"].to_pylist()] == [3, 1, 3]
    with pytest.raises(ConfigurationError, match="several vectors a row"):
        _Pairs.create(quantization="binary").ndims()


def test_lancedb_still_needs_the_work_around(db: Any) -> None:
    class PlainPairs(_Pairs, registry_name="plain-pairs"):
        def compute_source_embeddings_with_retry(self, values: Any) -> Any:
            found: list[npt.NDArray[Any]] = self.compute_source_embeddings(values)
            return [list(vectors) for vectors in found]

    plain = PlainPairs.create()

    class Row(LanceModel):
        text: str = plain.SourceField()
        vector: plain.Vector() | None = plain.VectorField(default=None)  # type: ignore[valid-type]

    table = db.create_table("plain", schema=Row)
    table.add([{"text": "one two three"}])
    assert table.to_arrow()["vector"].to_pylist() == [None], (
        "LanceDB keeps rows of several vectors now: lancedb_embedders.multivector._Row can go"
    )
