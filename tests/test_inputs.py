from __future__ import annotations

import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lancedb_embedders import EmbeddingError
from lancedb_embedders.inputs.clean import clean_text
from lancedb_embedders.inputs.text import accept_texts, is_blank


@given(st.lists(st.none() | st.text()))
def test_text_from_arrow_comes_back_as_it_was(texts: list[str | None]) -> None:
    assert accept_texts(pa.array(texts, pa.string())) == texts
    assert accept_texts(texts) == texts


@given(st.lists(st.text(st.characters(codec=None, exclude_categories=())), min_size=1))
def test_any_string_is_taken_or_refused_clearly(texts: list[str]) -> None:
    try:
        assert accept_texts(texts) == texts
    except EmbeddingError as error:
        assert "lone surrogate" in str(error)  # noqa: PT017


@given(st.text())
def test_cleaning_is_stable_and_loses_no_letter(text: str) -> None:
    cleaned = clean_text(text)
    assert clean_text(cleaned) == cleaned
    assert unicodedata.is_normalized("NFC", cleaned)
    letters = [c for c in unicodedata.normalize("NFC", text) if c.isalnum()]
    assert [c for c in cleaned if c.isalnum()] == letters


def test_cleaning_keeps_the_joiners_that_carry_meaning() -> None:
    persian, family = "\u0645\u06cc\u200c\u062e\u0648", "👨\u200d👩\u200d👧"
    assert clean_text(persian) == persian
    assert clean_text(family) == family
    assert clean_text("a\x00b\u00ad\ufeffc\td") == "abc d"


@pytest.mark.parametrize("text", [None, "", " ", "\n\t\r", "\u3000\u2003"])
def test_blank(text: str | None) -> None:
    assert is_blank(text)
    assert not is_blank("x")
