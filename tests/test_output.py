from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lancedb.embeddings import get_registry

from lancedb_embedders import Batch, Embedder, VectorError, output
from lancedb_embedders.local.batches import plan
from lancedb_embedders.local.probe import signature, similarity


class GivenVectors(Embedder, registry_name="given-vectors-test"):
    """Gives the vectors that a test puts here."""

    normalize: bool = True

    def ndims(self) -> int:
        return self.column_dims(8)

    def embed(self, batch: Batch) -> np.ndarray:
        return np.array([VECTORS[text] for text in batch.inputs])


VECTORS = {
    "good": [1.0, 0, 0, 0, 0, 0, 0, 0],
    "nan": [np.nan, 1, 0, 0, 0, 0, 0, 0],
    "inf": [np.inf, -np.inf, 0, 0, 0, 0, 0, 0],
    "zero": [0.0] * 8,
    "large": [3e38] * 8,
}


@pytest.mark.parametrize(
    ("bad", "what"), [("nan", "NaN or infinity"), ("inf", "NaN or infinity"), ("zero", "zeros")]
)
def test_a_bad_vector_is_an_error_with_its_row(bad: str, what: str) -> None:
    function = GivenVectors.create()
    with pytest.raises(VectorError, match=rf"{what}.* for rows 3, 4;"):
        function.compute_source_embeddings(["good", None, "good", bad, bad])


def test_zeros_may_stay_where_nothing_is_normalized() -> None:
    function = GivenVectors.create(normalize=False)
    assert not function.compute_source_embeddings(["zero"]).any()


def test_large_but_finite_vectors_pass() -> None:
    vectors = GivenVectors.create().compute_source_embeddings(["large"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


class WrongShape(Embedder, registry_name="wrong-shape-test"):
    dim: int
    count: int

    def ndims(self) -> int:
        return 4

    def embed(self, batch: Batch) -> np.ndarray:
        return np.ones((self.count, self.dim))


def test_wrong_count_and_wrong_width_are_errors() -> None:
    with pytest.raises(VectorError, match=r"shape \(3, 4\) for 2 inputs"):
        WrongShape.create(count=3, dim=4).compute_source_embeddings(["a", "b"])
    with pytest.raises(VectorError, match="expected to give 4 dimensions and its model gives 5"):
        WrongShape.create(count=2, dim=5).compute_source_embeddings(["a", "b"])


def test_cut_then_normalized() -> None:
    vectors = np.array([[3, 4, 12.0]], dtype=np.float32)
    cut = output.normalize(output.truncate(vectors, 2))
    np.testing.assert_allclose(cut, [[0.6, 0.8]], atol=1e-6)


@given(
    st.lists(st.integers(1, 512), max_size=200).map(lambda x: np.array(x, dtype=np.int64)),
    st.integers(1, 4096),
)
def test_batches_hold_every_input_once_and_stay_in_budget(lengths: np.ndarray, budget: int) -> None:
    batches = list(plan(lengths, budget))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= budget
    longest = [int(lengths[batch].max()) for batch in batches]
    assert longest == sorted(longest, reverse=True)


@given(st.integers(0, 2**32 - 1), st.sampled_from([8, 384, 512, 4096]))
def test_a_signature_knows_its_vector(seed: int, dim: int) -> None:
    random = np.random.default_rng(seed)
    vector, other = random.normal(size=(2, dim)).astype(np.float32)
    stored = signature(vector)
    assert len(stored) <= 700
    assert similarity(stored, vector) > 0.999
    assert similarity(stored, vector * 7) > 0.999
    assert similarity(stored, -vector) < -0.999
    assert dim < 100 or similarity(stored, other) < 0.5


def test_a_damaged_signature_matches_nothing() -> None:
    vector = np.ones(8, dtype=np.float32)
    assert similarity("not base64!", vector) == -1
    assert similarity(signature(np.ones(16, dtype=np.float32)), vector) == -1


def test_binary_needs_whole_bytes() -> None:
    create = get_registry().get("sbert").create
    assert create(quantization="binary", truncate_dim=128).ndims() == 16
    with pytest.raises(ValueError, match="100 is not a multiple of 8"):
        create(quantization="binary", truncate_dim=100)
