"""Texts into requests: limits of each provider, tokens, and texts that are too long."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lancedb_embedders import EmbeddingWarning, InputError, TextTooLongError
from lancedb_embedders.hosted.packing import pack
from lancedb_embedders.hosted.provider import Limits
from lancedb_embedders.hosted.tokens import SPECIAL, ByteCounter, Counter, byte_bounds, counter
from tests.hosted import add, create, embed, make_table, numbered, sizes
from tests.providers import Fault, ProviderServer

EXACT = counter("cl100k_base")
LONG = "The quick brown fox jumps over the lazy dog, and über die Straße läuft ein Hund. "


# -- requests -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "count", "expected"),
    [
        ("cached-openai", {}, 5000, [904, 2048, 2048]),
        ("cached-openai", {"batch_size": 2000}, 5000, [1000, 2000, 2000]),
        ("cached-cohere", {}, 200, [8, 96, 96]),
        ("cached-voyage", {}, 2500, [500, 1000, 1000]),
        ("cached-google", {}, 250, [50, 100, 100]),
        ("cached-huggingface", {}, 70, [6, 32, 32]),
        ("cached-huggingface", {"batch_size": 5}, 12, [2, 5, 5]),
    ],
)
def test_requests_are_as_full_as_the_provider_allows(
    provider: ProviderServer, name: str, options: dict[str, Any], count: int, expected: list[int]
) -> None:
    embed(create(provider, name, **options), numbered(count))
    assert sizes(provider) == expected
    assert len(provider.seen) == len(expected)


@pytest.mark.parametrize(
    ("model", "tokens"),
    [("voyage-4-large", 120_000), ("voyage-4", 320_000), ("voyage-4-lite", 1_000_000)],
)
def test_voyages_requests_go_by_the_models_tokens(
    provider: ProviderServer, model: str, tokens: int
) -> None:
    provider.count_tokens = lambda text: len(text.encode()) + SPECIAL
    texts = [f"{i:04}" + "x" * (9996 - SPECIAL) for i in range(120)]
    embed(create(provider, "cached-voyage", name=model), texts)
    full = tokens // 10_000
    assert sizes(provider) == sorted([full] * (120 // full) + [120 % full] * (120 % full > 0))
    assert len(provider.seen) == len(sizes(provider))


def test_openais_requests_go_by_exact_tokens(provider: ProviderServer) -> None:
    provider.count_tokens = lambda text: int(EXACT.count([text])[0])
    texts = [f"{i} {LONG * 60}" for i in range(600)]
    tokens = int(EXACT.count(texts).sum())
    embed(create(provider), texts)
    assert len(provider.seen) == -(-tokens // 300_000)
    assert {seen.status for seen in provider.seen} == {200}


@pytest.mark.parametrize("fault", ["max-tokens-per-request", "413"])
@pytest.mark.parametrize("name", ["cached-openai", "cached-cohere", "cached-voyage"])
def test_a_request_that_is_too_large_is_halved(
    provider: ProviderServer, name: str, fault: str
) -> None:
    provider.fault(Fault(fault, when=lambda seen: len(seen.texts) > 20, times=-1))
    assert (
        len(
            embed(
                create(provider, name, base_url=provider.url + ("" if "cohere" in name else "/v1")),
                numbered(64),
            )
        )
        == 64
    )
    assert sizes(provider) == [16] * 4
    assert len(provider.seen) == 7


def test_vertex_ais_tokens_a_request_are_learned(provider: ProviderServer) -> None:
    def too_large(seen: Any) -> bool:
        return len(seen.texts) > 40

    provider.fault(Fault("max-tokens-per-request", when=too_large, times=-1))
    assert len(embed(create(provider, "cached-google"), numbered(80))) == 80
    assert sizes(provider) == [40, 40]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.text(max_size=30), min_size=1, max_size=60),
    st.integers(1, 20),
    st.one_of(st.none(), st.integers(1, 100)),
)
def test_requests_hold_every_text_once_in_order(
    texts: list[str], inputs: int, tokens: int | None
) -> None:
    requests = pack(texts, Limits(inputs, tokens), ByteCounter())
    assert np.concatenate([r.positions for r in requests]).tolist() == list(range(len(texts)))
    bounds = byte_bounds(texts)
    for request in requests:
        assert len(request.positions) <= inputs
        if tokens is not None and len(request.positions) > 1:
            assert bounds[request.positions].sum() <= tokens


# -- tokens -------------------------------------------------------------------------------------

#: As the OpenAI cookbook and tiktoken's own tests have them.
KNOWN = {
    "tiktoken is great!": 6,
    "hello world": 2,
    "antidisestablishmentarianism": 6,
    "2 + 2 = 4": 7,
    "お誕生日おめでとう": 9,
    "": 0,
}


def test_exact_counts_are_those_of_tiktoken() -> None:
    assert EXACT.exact
    assert EXACT.count(list(KNOWN)).tolist() == list(KNOWN.values())


def write_table(folder: Path) -> None:
    """Put the table of cl100k_base where tiktoken looks for it, as it would download it."""
    import bpe_openai

    encoding = bpe_openai.get_encoding("cl100k_base")
    pieces = [encoding.decode_single_token_bytes(rank) for rank in range(100_256)]
    lines = (b"%b %d" % (base64.b64encode(piece), rank) for rank, piece in enumerate(pieces))
    url = "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken"
    name = hashlib.sha1(url.encode()).hexdigest()
    (folder / name).write_bytes(b"\n".join(lines) + b"\n")


COUNTING = """
import sys
from lancedb_embedders.hosted.tokens import counter
counted = counter("cl100k_base")
print(counted.count(["tiktoken is great!", "antidisestablishmentarianism"]).tolist(), counted.exact)
print("tiktoken" in sys.modules, "bpe_openai" in sys.modules)
"""


def test_tiktoken_counts_where_its_table_is(tmp_path: Path, python: Callable[..., str]) -> None:
    write_table(tmp_path)
    found = python(COUNTING, env={"TIKTOKEN_CACHE_DIR": str(tmp_path)}).split("\n")
    assert found[:2] == ["[6, 6] True", "True False"]


COUNTERS = [EXACT, ByteCounter()]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(COUNTERS), st.text(min_size=1, max_size=80), st.integers(3, 40))
def test_pieces_lose_nothing_and_fit(counts: Counter, text: str, limit: int) -> None:
    pieces = counts.pieces(text, limit)
    assert "".join(pieces) == text
    for piece in pieces:
        # A single character may have more tokens than a tiny limit.
        assert len(piece) == 1 or not counts.exceeds(piece, limit)
    assert text.startswith(counts.cut(text, limit))


@pytest.mark.parametrize(
    "text", ["👩‍👩‍👧‍👦" * 50, "नमस्ते दुनिया " * 40, "a" * 5000, "\n" * 300, "𒀀" * 99]
)
def test_pieces_of_other_scripts(text: str) -> None:
    pieces = EXACT.pieces(text, 20)
    assert "".join(pieces) == text
    assert EXACT.count(pieces).max() <= 20


# -- texts that are too long --------------------------------------------------------------------


def test_nothing_is_sent_if_one_text_is_too_long(db: Any, provider: ProviderServer) -> None:
    table = make_table(db, create(provider, max_length=50))
    texts = [*numbered(3), LONG * 5, "short"]
    with pytest.raises(RuntimeError, match=r"row 3: longer than the 50 tokens .* Nothing was sent"):
        add(table, texts)
    assert provider.seen == []
    assert issubclass(TextTooLongError, InputError)


def test_bytes_do_not_make_a_text_too_long(provider: ProviderServer) -> None:
    text = LONG * 2
    tokens = int(EXACT.count([text])[0])
    assert tokens < len(text)
    embed(create(provider, max_length=tokens), [text])
    assert provider.texts() == [text]
    with pytest.raises(TextTooLongError):
        embed(create(provider, max_length=tokens - 1), [text])


def test_without_a_tokenizer_the_provider_decides(provider: ProviderServer) -> None:
    provider.count_tokens = lambda text: len(text.split())
    function = create(provider, "cached-cohere", name="embed-english-v3.0")
    assert len(embed(function, ["word " * 500])) == 1
    with pytest.raises(InputError, match=r"row 1: .*too many tokens: size limit exceeded by 88"):
        embed(function, ["fine", "word " * 600])
    assert set(provider.texts()) - {"test"} == {"word " * 500, "fine"}


def test_a_provider_that_cuts_without_a_word_is_warned_of(provider: ProviderServer) -> None:
    with pytest.warns(EmbeddingWarning, match="row 1: may be longer than the 2,048 tokens"):
        embed(create(provider, "cached-google"), ["a", "word " * 600])


def test_truncated_texts_are_as_long_as_may_be(provider: ProviderServer) -> None:
    embed(create(provider, max_length=50, on_overflow="truncate"), [LONG * 9, "b"])
    cut, short = provider.texts()
    assert ((LONG * 9).startswith(cut), short) == (True, "b")
    assert 45 <= EXACT.count([cut])[0] <= 50


@pytest.mark.parametrize("name", ["cached-cohere", "cached-voyage", "cached-huggingface"])
def test_providers_cut_where_they_can(provider: ProviderServer, name: str) -> None:
    text = "word " * 200_000 if name != "cached-huggingface" else LONG * 60
    embed(create(provider, name, on_overflow="truncate"), [text])
    assert provider.seen[-1].status == 200


@pytest.mark.parametrize("prompt", ["", "passage: "])
def test_chunks_are_averaged_by_their_tokens(provider: ProviderServer, prompt: str) -> None:
    options: dict[str, Any] = {"max_length": 40, "document_prompt": prompt}
    text = LONG * 7
    [vector] = embed(create(provider, on_overflow="chunk", **options), [text])
    sent = provider.texts()
    pieces = [piece.removeprefix(prompt) for piece in sent]
    assert "".join(pieces) == text
    assert all(piece.startswith(prompt) for piece in sent)
    assert EXACT.count(sent).max() <= 40
    single = embed(create(provider, document_prompt=prompt), pieces)
    mean = EXACT.count(pieces).astype(np.float64) @ single
    np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-6)


def test_chunks_beside_short_texts_keep_their_rows(provider: ProviderServer) -> None:
    texts = ["a", LONG * 7, "b", LONG * 8, "a"]
    function = create(provider, on_overflow="chunk", max_length=40)
    together = embed(function, texts)
    for i, text in enumerate(texts):
        np.testing.assert_allclose(embed(function, [text])[0], together[i], atol=1e-6)


def test_a_bad_piece_names_the_row_of_its_text(provider: ProviderServer) -> None:
    pieces = EXACT.pieces(LONG * 7, 40)
    provider.poison = {pieces[3]}
    with pytest.raises(InputError, match="row 1: "):
        embed(create(provider, on_overflow="chunk", max_length=40), ["a", LONG * 7])


def test_prompts_count(provider: ProviderServer) -> None:
    tokens = int(EXACT.count([LONG])[0])
    embed(create(provider, max_length=tokens), [LONG])
    with pytest.raises(TextTooLongError):
        embed(create(provider, max_length=tokens, document_prompt="passage: "), [LONG])
