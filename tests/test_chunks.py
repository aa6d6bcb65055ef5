"""Documents to chunk tables."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lancedb.pydantic import LanceModel

from lancedb_embedders import (
    ConfigurationError,
    EmbeddingWarning,
    InputError,
    LongDocumentEmbeddings,
    MultilingualEmbeddings,
    SbertEmbeddings,
    chunk_documents,
)
from tests.models import tiny_bert, tiny_qwen, tiny_roberta, tiny_router, tiny_static

ROWS = [
    {"id": 1, "text": "Boats leave at nine. Tickets are sold on board. " * 40, "lang": "en"},
    {"id": 2, "text": "Short.", "lang": "en"},
    {"id": 3, "text": "没有空格的文字。" * 60, "lang": "zh"},
]


def schema(function: Any) -> type[LanceModel]:
    class Chunk(LanceModel):
        id: int
        lang: str
        chunk: str | None = function.SourceField(default=None)
        chunk_index: int
        start: int
        end: int
        vector: function.Vector() | None = function.VectorField(default=None)  # type: ignore[valid-type]

    return Chunk


@pytest.mark.parametrize("split", ["tokens", "sentences"])
@pytest.mark.parametrize("overlap", [0, 10])
def test_chunks_are_slices_and_miss_nothing(split: Any, overlap: int) -> None:
    chunks = list(chunk_documents(ROWS, max_tokens=40, overlap=overlap, split=split))
    for row in ROWS:
        own = [chunk for chunk in chunks if chunk["id"] == row["id"]]
        text = str(row["text"])
        assert [chunk["chunk_index"] for chunk in own] == list(range(len(own)))
        assert all(chunk["chunk"] == text[chunk["start"] : chunk["end"]] for chunk in own)
        assert all(chunk["lang"] == row["lang"] for chunk in own)
        covered = {i for chunk in own for i in range(chunk["start"], chunk["end"])}
        assert "".join(c for i, c in enumerate(text) if i not in covered).strip() == ""
        if split == "sentences" or overlap == 0:
            gaps = pairwise(own)
            assert all((a["end"] > b["start"]) is (overlap > 0) for a, b in gaps)
    assert set(chunks[0]) == {"id", "lang", "chunk", "chunk_index", "start", "end"}


def test_chunks_hold_whole_sentences_or_whole_words() -> None:
    sentences = {
        chunk["chunk"] for chunk in chunk_documents(ROWS[:1], max_tokens=10, split="sentences")
    }
    assert sentences == {"Boats leave at nine.", "Tickets are sold on board."}
    text = ROWS[0]["text"].split()  # type: ignore[attr-defined]
    words = [chunk["chunk"] for chunk in chunk_documents(ROWS[:1], max_tokens=11, split="tokens")]
    assert " ".join(words).split() == text
    assert max(len(chunk.split()) for chunk in words) == 8


def test_goes_straight_into_a_table(db: Any) -> None:
    sbert = SbertEmbeddings.create(on_overflow="error", max_length=64)
    table = db.create_table("t", schema=schema(sbert))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EmbeddingWarning)  # an English model over Chinese
        table.add(chunk_documents(ROWS, function=sbert))
        found = table.to_arrow().to_pylist()
        assert len(found) == len(list(chunk_documents(ROWS, function=sbert))) > 10
    assert all(row["vector"] is not None for row in found)
    hit = table.search("where can I buy a ticket?").limit(1).to_list()[0]
    assert "Tickets" in hit["chunk"]
    table.add(list(chunk_documents(ROWS[:1], function=sbert)))
    table.add(chunk_documents(iter(ROWS[:1]), function=sbert).to_batches())
    assert table.count_rows("id = 1") == 3 * sum(row["id"] == 1 for row in found)


async def test_goes_straight_into_an_async_table(tmp_path: Path) -> None:
    import lancedb

    sbert = SbertEmbeddings.create()
    db = await lancedb.connect_async(tmp_path)
    table = await db.create_table("t", schema=schema(sbert))
    await table.add(chunk_documents(ROWS[:2], function=sbert, max_tokens=32))
    assert await table.count_rows() > 10


def test_a_new_table_takes_them_as_well(db: Any) -> None:
    table = db.create_table("t", chunk_documents(ROWS))
    assert table.count_rows() == len(list(chunk_documents(ROWS)))


@pytest.mark.parametrize(
    "container",
    [
        lambda: ROWS,
        lambda: iter(ROWS),
        lambda: pa.Table.from_pylist(ROWS),
        lambda: pa.Table.from_pylist(ROWS).to_reader(max_chunksize=1),
        lambda: pa.Table.from_pylist(ROWS).to_batches()[0],
        lambda: iter(pa.Table.from_pylist(ROWS).to_batches(max_chunksize=1)),
        lambda: pd.DataFrame(ROWS),
        lambda: pl.DataFrame(ROWS),
        lambda: [_Document(**row) for row in ROWS],  # type: ignore[arg-type]
    ],
)
def test_takes_every_container(container: Callable[[], Any]) -> None:
    assert list(chunk_documents(container())) == list(chunk_documents(ROWS))


class _Document(LanceModel):
    id: int
    text: str
    lang: str


def test_streams() -> None:
    read = 0

    def documents() -> Iterator[dict[str, Any]]:
        nonlocal read
        while True:  # for ever
            read += 1
            yield {"text": f"Document {read}. " * 20}

    chunks = iter(chunk_documents(documents(), max_tokens=32))
    for _ in range(100):
        next(chunks)
    assert read < 100


BUILDERS = [tiny_bert, tiny_roberta, tiny_qwen, tiny_static]


@pytest.fixture(scope="module", params=BUILDERS, ids=lambda build: build.__name__)
def function(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = request.param(tmp_path_factory.mktemp("models") / "m")
    length = None if request.param is tiny_static else 24
    return MultilingualEmbeddings.create(
        name=folder,
        max_length=length,
        on_overflow="error",
        clean=True,
        unicode="NFKC",
        normalize=False,  # no token has no direction
    )


@given(
    st.text(
        st.sampled_from("ab Zß. \n\t,;ﬁﬃ½㍿東京です。ไทย🦊\u200b\u0301"), min_size=1, max_size=400
    ),
    st.integers(0, 8),
    st.sampled_from(["tokens", "sentences"]),
)
@settings(max_examples=60, deadline=None)
def test_no_chunk_is_too_long_for_its_function(
    function: Any, text: str, overlap: int, split: Any
) -> None:
    chunks = list(
        chunk_documents(
            [{"text": text}], function=function, max_tokens=24, overlap=overlap, split=split
        )
    )
    assert all(text[c["start"] : c["end"]] == c["chunk"] for c in chunks)
    pieces = [c["chunk"] for c in chunks if function.prepare(c["chunk"]).strip()]
    if pieces:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", EmbeddingWarning)
            function.compute_source_embeddings(pieces)  # on_overflow="error"


def test_prompt_and_window_of_the_function_count() -> None:
    prompt = "represent this text for me: "
    function = SbertEmbeddings.create(document_prompt=prompt, on_overflow="error", max_length=20)
    chunks = [chunk["chunk"] for chunk in chunk_documents(ROWS[:1], function=function)]
    function.compute_source_embeddings(chunks)
    assert len(chunks) > len(list(chunk_documents(ROWS[:1], max_tokens=20)))
    windows = LongDocumentEmbeddings.create(max_tokens=20)
    assert len(list(chunk_documents(ROWS[:1], function=windows))) > 20


def test_null_and_blank_documents_stay_a_row(db: Any) -> None:
    texts = [None, " \n", "Fine."]
    rows = [{"id": i, "text": text, "lang": "en"} for i, text in enumerate(texts, start=1)]
    chunks = list(chunk_documents(rows))
    assert [(c["id"], c["chunk"], c["start"], c["end"]) for c in chunks] == [
        (1, None, 0, 0),
        (2, " \n", 0, 2),
        (3, "Fine.", 0, 5),
    ]
    table = db.create_table("t", schema=schema(SbertEmbeddings.create()))
    with pytest.warns(EmbeddingWarning, match="2 of 3 rows"):
        table.add(chunk_documents(rows), on_bad_vectors="null")
    assert table.count_rows() == 3


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([{"body": "x"}], {}, "row 0 has no column 'text'; it has: body"),
        ([{"text": "x"}, {"text": 5}], {}, "row 1: expected a string, got int"),
        ([{"text": "a\ud800"}], {}, "row 0: character 1 is a lone surrogate"),
        ([{"text": "x", "start": 1}], {}, "row 0 has a column 'start', which chunks need"),
        (["just a text"], {}, "row 0: expected a dict, got str"),
        ({"text": "x"}, {}, "expected rows, got dict; put a single row into a list"),
        ("text", {}, "expected rows, got str"),
        (5, {}, "expected rows, got int"),
    ],
)
def test_bad_rows_are_named(rows: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(chunk_documents(rows, **options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": 300}, "max_tokens=300 is more than the 256 tokens"),
        ({"max_tokens": 20, "overlap": 18}, "overlap=18 must be 0 or more, and less than the 18"),
        ({"overlap": -1}, "overlap=-1 must be 0 or more"),
        ({"max_tokens": 2}, "less than the 0 tokens"),
        ({"split": "words"}, "split='words' is not known"),
    ],
)
def test_unfit_options_are_refused_before_a_row_is_read(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        chunk_documents(iter([]), **options)


def test_a_model_that_tokenizes_by_itself_is_refused(tmp_path: Path) -> None:
    function = SbertEmbeddings.create(name=tiny_router(tmp_path / "m"))
    with pytest.raises(ConfigurationError, match="tokenizes by itself"):
        chunk_documents(ROWS, function=function)


def test_another_column_may_hold_the_text() -> None:
    chunks = list(chunk_documents([{"chunk": "One. Two.", "n": 1}], "chunk"))
    assert chunks == [{"n": 1, "chunk": "One. Two.", "chunk_index": 0, "start": 0, "end": 9}]


def test_a_large_document_takes_time_in_proportion() -> None:
    text = "Boats leave at nine. Tickets are sold on board. " * 10_000
    chunks = list(chunk_documents([{"text": text}]))
    assert np.ptp([len(chunk["chunk"]) for chunk in chunks[:-1]]) < 200
    assert chunks[-1]["end"] == len(text) - 1
