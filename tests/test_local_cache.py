"""Local models with `cache=True`: what was embedded once is not embedded again."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel

from lancedb_embedders import EmbeddingWarning, TextTooLongError, settings
from tests.contract import Case, counting

TEXTS = [f"text number {i}" for i in range(40)]
LONG = "many words " * 400


def create(function: str = "sbert", **options: Any) -> Any:
    return get_registry().get(function).create(cache=True, **options)


def embedded(function: str, **options: Any) -> tuple[Any, list[str]]:
    """Return a function and what reaches its model."""
    texts: list[str] = []
    base: Any = counting(Case(function))[0]

    class WatchedEmbeddings(base, registry_name=f"watched-{function}"):  # type: ignore[call-arg]
        def _embed_now(self, batch: Any, given: Any) -> Any:
            texts.extend(batch.inputs)
            return super()._embed_now(batch, given)

    return WatchedEmbeddings.create(cache=True, **options), texts


def test_the_second_time_nothing_reaches_the_model() -> None:
    function, seen = embedded("sbert")
    first = function.compute_source_embeddings(TEXTS)
    again = function.compute_source_embeddings([*TEXTS[::-1], "a new one"])
    assert seen == [*TEXTS, "a new one"]
    np.testing.assert_array_equal(again[:-1], first[::-1])


def test_vectors_are_those_without_a_cache() -> None:
    plain = get_registry().get("sbert").create()
    kept = create()
    for _ in range(2):
        np.testing.assert_allclose(
            kept.compute_source_embeddings(TEXTS), plain.compute_source_embeddings(TEXTS), atol=1e-6
        )


@pytest.mark.parametrize("reduce", ["mean", "none"])
def test_documents_of_many_windows(reduce: str) -> None:
    options = {"max_tokens": 16, "reduce": reduce}
    plain = get_registry().get("long-document").create(**options)
    function, seen = embedded("long-document", **options)
    texts = ["short", LONG, "another " * 30]
    for _ in range(2):
        found = function.compute_source_embeddings(texts)
        for one, other in zip(found, plain.compute_source_embeddings(texts), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
    assert seen == texts


def test_roles_and_options_do_not_share_vectors() -> None:
    function, seen = embedded("sbert", query_prompt="query: ")
    function.compute_source_embeddings(TEXTS[:1])
    function.compute_query_embeddings(TEXTS[0])
    other, more = embedded("sbert", query_prompt="query: ", max_length=8)
    other.compute_source_embeddings(TEXTS[:1])
    assert (seen, more) == ([TEXTS[0]] * 2, [TEXTS[0]])


def test_what_is_cut_off_is_warned_of_every_time() -> None:
    function, seen = embedded("sbert")
    for _ in range(2):
        with pytest.warns(EmbeddingWarning, match=r"\(row 1\) are longer than 256 tokens"):
            function.compute_source_embeddings([TEXTS[0], LONG])
    assert seen == [TEXTS[0], LONG, LONG]
    create(on_overflow="truncate").compute_source_embeddings([LONG])
    with pytest.raises(TextTooLongError, match="row 0"):
        create(on_overflow="error").compute_source_embeddings([LONG])


def test_by_setting_and_in_a_table(db: Any, python: Callable[..., str]) -> None:
    function = get_registry().get("sbert").create()

    class Row(LanceModel):
        text: str = function.SourceField()
        vector: function.Vector() = function.VectorField()  # type: ignore[valid-type]

    table = db.create_table("t", schema=Row)
    with settings.override(cache=True):
        table.add([{"text": text} for text in TEXTS])
    code = """
import sys, lancedb, lancedb_embedders
table = lancedb.connect(sys.argv[1]).open_table("t")
table.add([{"text": f"text number {i}"} for i in range(40)])
print(table.count_rows(), "torch" in sys.modules)
"""
    # All are in the cache, made by a model of the table's signature: none is loaded.
    out = python(code, db.uri, env={"LANCEDB_EMBEDDERS_CACHE": "1"})
    assert out.split() == ["80", "False"]


def test_off_by_default(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings():
        get_registry().get("sbert").create().compute_source_embeddings(TEXTS)
    assert settings.cache is False
    assert [file.name for file in settings.cache_dir.iterdir()] == ["openvino"]
