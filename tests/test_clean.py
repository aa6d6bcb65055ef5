"""What is taken out of texts, what stays, and that documents and queries are treated alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel

from lancedb_embedders import (
    CachedOpenAIEmbeddings,
    ConfigurationError,
    InputError,
    SbertEmbeddings,
    clean_text,
    truncate_text,
)
from lancedb_embedders.inputs.clean import STEPS
from tests.conftest import HIDE
from tests.table_function import LabelledEmbeddings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<p>One</p><p>two</p>", "One two"),
        ("wor<b>ld</b>, li<wbr>ne<br>break", "world, line break"),
        ("<script>x()</script><style>p{}</style><!-- note -->shown", "shown"),
        ("<table><tr><td>a</td><td>b</td></tr></table>", "a b"),
        ("R&amp;D &eacute;t&eacute; &#8364;5", "R&D été €5"),
        ("<img src='x.png' alt='a cat'> sits", "a cat sits"),
        ("<!DOCTYPE html><html><head><title>T</title></head><body>B</body></html>", "B"),
        # What is no HTML stays as it is.
        ("a < b and c > d & e", "a < b and c > d & e"),
        ("Dict<String, List<Int>> from <me@x.org>", "Dict<String, List<Int>> from <me@x.org>"),
        ("&lt;script&gt;", "<script>"),
        ("plain text", "plain text"),
    ],
)
def test_html(text: str, expected: str) -> None:
    assert clean_text(text, html=True) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "# Title\n\nSome **bold**, _slanted_ and ~~struck~~ text.",
            "Title Some bold, slanted and struck text.",
        ),
        ("see [the docs](https://a.b 'title') and ![a cat](cat.png)", "see the docs and a cat"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "a b 1 2"),
        ("```py\nx = 1\n```\n\n    y = 2", "x = 1 y = 2"),
        ("> quoted\n\n---\n\n* one\n* two", "quoted one two"),
        # A year that begins a line is written like a list; it must not be lost.
        ("1984. A novel.", "1984. A novel."),
        ("snake_case_name #hashtag <b>tag</b>", "snake_case_name #hashtag <b>tag</b>"),
    ],
)
def test_markdown(text: str, expected: str) -> None:
    assert clean_text(text, markdown=True) == expected


def test_urls() -> None:
    text = "see https://a.b/c?d=e#f, www.x.org or mailto:me@x.org; v1.2 of e.g. a.b stays"
    assert clean_text(text, urls=True) == "see , or ; v1.2 of e.g. a.b stays"


def test_html_goes_before_markdown() -> None:
    text = "<p>**bold** <em>slanted</em></p>"
    assert clean_text(text, html=True, markdown=True) == "bold slanted"


@given(st.text())
def test_any_text_can_be_cleaned(text: str) -> None:
    for steps in ({}, {"html": True}, {"markdown": True}, {"urls": True}):
        found = clean_text(text, **steps)
        assert found == " ".join(found.split())
        assert clean_text(found) == found


def test_texts_without_remnants_stay_as_they_are() -> None:
    text = "Boats leave at nine, and cost 5 euros: 2 + 3 > 4."
    assert clean_text(text, **dict.fromkeys(STEPS, True)) == text


def test_the_option_holds_for_documents_and_queries_and_is_stored(db: Any) -> None:
    function = LabelledEmbeddings.create(clean=["markdown", "html"])
    assert function.clean == ("html", "markdown")
    assert function == LabelledEmbeddings.create(clean=("html", "markdown"))
    plain = LabelledEmbeddings.create().compute_source_embeddings(["hot tea"])[0]
    for compute in (function.compute_source_embeddings, function.compute_query_embeddings):
        np.testing.assert_array_equal(compute(["<p>**hot**  tea</p>"])[0], plain)

    class Row(LanceModel):
        text: str = function.SourceField()
        vector: function.Vector() = function.VectorField()  # type: ignore[valid-type]

    table = db.create_table("t", schema=Row)
    table.add([{"text": "<b>hot</b> tea"}])
    np.testing.assert_array_equal(table.to_arrow()["vector"].to_pylist()[0], plain)
    stored = json.loads(table.schema.metadata[b"embedding_functions"])[0]["model"]
    assert stored["clean"] == ["html", "markdown"]
    [hit] = db.open_table("t").search("__hot__ <i>tea</i>").to_list()
    assert hit["_distance"] == pytest.approx(0, abs=1e-6)


def test_what_is_nothing_but_marks_counts_as_blank() -> None:
    function = LabelledEmbeddings.create(clean="html")
    with pytest.warns(UserWarning, match="row 1"):
        found = function.compute_source_embeddings(["tea", "<br><img>"])
    assert found[1] is None


def test_one_step_by_its_name_and_unknown_ones() -> None:
    assert LabelledEmbeddings.create(clean="urls").clean == ("urls",)
    assert LabelledEmbeddings.create(clean=[]).clean is False
    with pytest.raises(
        ConfigurationError, match="'xml' is no step; there are: html, markdown, urls"
    ):
        LabelledEmbeddings.create(clean=["html", "xml"])


def test_without_the_extra_the_error_says_what_to_install(python: Callable[..., str]) -> None:
    code = (
        HIDE
        + """
import lancedb_embedders
hide(["bs4", "markdown_it", "linkify_it"])
for step in ("html", "markdown", "urls"):
    try:
        lancedb_embedders.clean_text("<p> https://a.b", **{step: True})
    except lancedb_embedders.MissingExtraError as error:
        print(error)
print(lancedb_embedders.clean_text("  a  b "))
"""
    )
    out = python(code)
    assert out.count('pip install "lancedb-embedders[clean]"') == 3
    assert out.endswith("a b\n")


# -- tokens ---------------------------------------------------------------------------------------


def tokens(text: str) -> int:
    model, _ = SbertEmbeddings.create().prepared_model("document")
    tokenizer: Any = model.engine.tokenizer
    return int(tokenizer.encode([text], None).lengths[0])


@pytest.mark.parametrize("limit", [3, 4, 7, 16, 64])
@pytest.mark.parametrize(
    "text",
    ["Supercalifragilistic words, naïve cafés. " * 20, "日本語のテキスト" * 30, "👩‍👩‍👧 " * 99],
)
def test_as_many_tokens_as_go_in(text: str, limit: int) -> None:
    cut = truncate_text(text, limit)
    assert text.startswith(cut)
    assert 1 <= len(cut) < len(text)
    assert tokens(cut) <= limit
    assert tokens(text[: len(cut) + 40]) > limit


def test_what_fits_is_left_alone() -> None:
    assert truncate_text("short", 256) == "short"
    assert truncate_text("", 16) == ""


def test_the_vector_is_that_of_the_whole_text_cut_by_the_function() -> None:
    text = "Boats leave at nine. Tickets are sold on board. " * 30
    cutting = SbertEmbeddings.create(max_length=20, on_overflow="truncate")
    whole = SbertEmbeddings.create()
    np.testing.assert_allclose(
        whole.compute_source_embeddings([truncate_text(text, 20)])[0],
        cutting.compute_source_embeddings([text])[0],
        atol=1e-5,
    )


def test_the_prompt_counts() -> None:
    prompted = SbertEmbeddings.create(document_prompt="This is a passage of text: ")
    text = "one two three four five six seven eight nine ten eleven twelve"
    assert len(truncate_text(text, 14, prompted)) < len(truncate_text(text, 14))


def test_a_hosted_model() -> None:
    openai = CachedOpenAIEmbeddings.create()
    text = "Boats leave at nine. " * 50
    cut = truncate_text(text, 20, openai)
    assert text.startswith(cut)
    assert 15 <= int(openai.counter().count([cut])[0]) <= 20
    with pytest.raises(ConfigurationError, match="leaves no room"):
        truncate_text(text, 0, openai)


def test_texts_that_cannot_be_cut() -> None:
    with pytest.raises(ConfigurationError, match="max_tokens=2 leaves no room"):
        truncate_text("a text", 2)
    with pytest.raises(InputError, match="expected a string, got int"):
        truncate_text(7, 20)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="no tokenizer"):
        truncate_text("a text", 20, get_registry().get("labelled").create())
