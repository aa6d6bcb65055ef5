"""`long-document` against transformers and numpy themselves, on small models and real weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from lancedb_embedders import (
    ConfigurationError,
    EmbeddingWarning,
    InputError,
    LongDocumentEmbeddings,
    SbertEmbeddings,
    TextTooLongError,
    settings,
)
from tests.models import (
    SENTENCES,
    tiny_bert,
    tiny_dense,
    tiny_qwen,
    tiny_roberta,
    tiny_router,
    tiny_static,
)

LONG = " ".join(SENTENCES[i % len(SENTENCES)] for i in range(40))
DOCUMENTS = [LONG, "short", LONG[:700], SENTENCES[0], LONG[::-1]]


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return tiny_bert(tmp_path / "bert")


def windows_by_transformers(
    folder: Path, text: str, size: int, overlap: int, prompt: str = ""
) -> Any:
    """Cut with the tokenizer of transformers, embed with sentence-transformers' own modules."""
    model: Any = SentenceTransformer(str(folder), device="cpu")
    tokenizer = model.tokenizer
    tokenizer.deprecation_warnings["Asking-to-pad-a-fast-tokenizer"] = True
    before = tokenizer(prompt, add_special_tokens=False)["input_ids"] if prompt else []
    encoded = tokenizer(
        text,
        max_length=size - len(before),
        stride=overlap,
        truncation=True,
        return_overflowing_tokens=True,
    )
    vectors = []
    for ids in encoded["input_ids"]:
        whole = torch.tensor([[*ids[:1], *before, *ids[1:]]])
        features = {"input_ids": whole, "attention_mask": torch.ones_like(whole)}
        with torch.inference_mode():
            vectors.append(model(features)["sentence_embedding"][0].numpy())
    return np.stack(vectors)


def unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.mark.parametrize(
    ("size", "overlap"),
    [(20, 7), *(pytest.param(*way, marks=pytest.mark.slow) for way in [(64, 0), (20, 0), (9, 6)])],
)
@pytest.mark.parametrize("build", [tiny_bert, tiny_dense, tiny_roberta])
def test_windows_are_those_of_transformers(
    tmp_path: Path, build: Callable[[Path], Path], size: int, overlap: int
) -> None:
    folder = build(tmp_path / "m")
    if build is tiny_roberta:
        size = min(size, 48)
    function = LongDocumentEmbeddings.create(
        name=folder, max_tokens=size, overlap=overlap, reduce="none"
    )
    found = function.compute_source_embeddings(DOCUMENTS)
    for text, own in zip(DOCUMENTS, found, strict=True):
        expected = unit(windows_by_transformers(folder, text, size, overlap))
        assert own.shape == expected.shape
        np.testing.assert_allclose(own, expected, atol=1e-5)


def test_every_window_has_the_prompt(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "m", prompts={"document": "passage: ", "query": "query: "})
    function = LongDocumentEmbeddings.create(name=folder, max_tokens=20, reduce="none")
    expected = unit(windows_by_transformers(folder, LONG, 20, 0, "passage: "))
    np.testing.assert_allclose(function.compute_source_embeddings([LONG])[0], expected, atol=1e-5)
    as_query = function.compute_query_embeddings(LONG)[0]
    expected = unit(windows_by_transformers(folder, LONG, 20, 0, "query: "))
    np.testing.assert_allclose(as_query, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("reduce", "by_numpy"),
    [
        ("mean", lambda v, _: v.mean(axis=0)),
        ("weighted", lambda v, n: (v * n[:, None]).sum(axis=0) / n.sum()),
        ("position", lambda v, _: np.concatenate([v, v[:1], v[-1:]]).mean(axis=0)),
        ("max", lambda v, _: v.max(axis=0)),
        ("first", lambda v, _: v[0]),
    ],
)
@pytest.mark.parametrize("normalize", [True, False])
def test_reduce(bert: Path, reduce: str, by_numpy: Any, normalize: bool) -> None:
    function = LongDocumentEmbeddings.create(
        name=bert, max_tokens=20, reduce=reduce, normalize=normalize, on_overflow="truncate"
    )
    windows = windows_by_transformers(bert, LONG, 20, 0)
    tokenizer: Any = SentenceTransformer(str(bert), device="cpu").tokenizer
    tokens = len(tokenizer(LONG, add_special_tokens=False, verbose=False)["input_ids"])
    counts = np.full(len(windows), 18)
    counts[-1] = tokens - 18 * (len(windows) - 1)
    expected = by_numpy(unit(windows) if normalize else windows, counts)
    found = function.compute_source_embeddings(["short", LONG])[1]
    np.testing.assert_allclose(found, unit(expected) if normalize else expected, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"late": True}, {"split": "sentences"}])
def test_a_text_of_one_window_is_embedded_as_sbert_does(options: dict[str, Any]) -> None:
    sbert = SbertEmbeddings.create()
    function = LongDocumentEmbeddings.create(**options)
    short = [*SENTENCES, "word"]
    expected = sbert.compute_source_embeddings(short)
    np.testing.assert_allclose(function.compute_source_embeddings(short), expected, atol=1e-6)
    # Among long ones as well, where it takes the other way.
    together = function.compute_source_embeddings([LONG, *short])
    np.testing.assert_allclose(together[1:], expected, atol=1e-6)
    query = function.compute_query_embeddings("where is the river?")
    np.testing.assert_allclose(query, sbert.compute_query_embeddings("where is the river?"))


@pytest.mark.parametrize("options", [{}, {"pooling": "mean"}, {"ending": True}])
def test_padding_on_the_left(tmp_path: Path, options: dict[str, Any]) -> None:
    folder = tiny_qwen(tmp_path / "m", **options)
    function = LongDocumentEmbeddings.create(name=folder, max_tokens=16, reduce="none")
    together = function.compute_source_embeddings(DOCUMENTS)
    for text, own in zip(DOCUMENTS, together, strict=True):
        alone = function.compute_source_embeddings([text])[0]
        np.testing.assert_allclose(own, alone, atol=1e-5)
    with settings.override(batch_tokens=1):
        one_by_one = function.compute_source_embeddings([LONG])[0]
    np.testing.assert_allclose(together[0], one_by_one, atol=1e-5)


def test_a_model_without_a_limit_takes_documents_whole(tmp_path: Path) -> None:
    folder = tiny_static(tmp_path / "m")
    whole = SbertEmbeddings.create(name=folder).compute_source_embeddings([LONG])
    function = LongDocumentEmbeddings.create(name=folder)
    np.testing.assert_allclose(function.compute_source_embeddings([LONG]), whole, atol=1e-6)
    function = LongDocumentEmbeddings.create(name=folder, max_tokens=10, reduce="none")
    assert len(function.compute_source_embeddings([LONG])[0]) > 10


# -- late chunking --------------------------------------------------------------------------


def token_vectors(folder: Path, text: str) -> Any:
    """Return the vectors of a text's own tokens, as transformers gives them."""
    model: Any = SentenceTransformer(str(folder), device="cpu")
    features = model.tokenizer(text, return_tensors="pt")
    with torch.inference_mode():
        return model[0](dict(features))["token_embeddings"][0, 1:-1].numpy()


def test_late_chunking_is_the_mean_over_a_window_of_one_long_run(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "m", positions=2048)
    function = LongDocumentEmbeddings.create(
        name=folder, late=True, max_tokens=30, overlap=5, reduce="none"
    )
    text = LONG[:2000]
    tokens = token_vectors(folder, text)
    assert 100 < len(tokens) < 2000
    starts = range(0, len(tokens) - 5, 28 - 5)
    expected = unit(np.stack([tokens[a : a + 28].mean(axis=0) for a in starts]))
    found = function.compute_source_embeddings([SENTENCES[0], text, LONG[:400]])
    np.testing.assert_allclose(found[1], expected, atol=1e-5)
    apart = LongDocumentEmbeddings.create(name=folder, max_tokens=30, overlap=5, reduce="none")
    alone = apart.compute_source_embeddings([text])[0]
    assert not np.allclose(alone, found[1], atol=1e-2), "context makes a difference"


def test_late_chunking_of_more_than_one_context(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "m", positions=64)
    function = LongDocumentEmbeddings.create(
        name=folder, late=True, max_tokens=16, split="sentences", reduce="none"
    )
    assert function.max_length == 64
    apart = LongDocumentEmbeddings.create(
        name=folder, max_tokens=16, split="sentences", reduce="none"
    )
    found, expected = (f.compute_source_embeddings([LONG])[0] for f in (function, apart))
    assert found.shape == expected.shape
    assert np.isfinite(found).all()


def test_the_first_window_of_a_context_is_seen_in_it(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "m", positions=2048)
    options = {"name": folder, "late": True, "max_tokens": 30, "on_overflow": "truncate"}
    first = LongDocumentEmbeddings.create(reduce="first", **options)
    every = LongDocumentEmbeddings.create(reduce="none", **options)
    text = LONG[:2000]
    found = first.compute_source_embeddings([text])[0]
    np.testing.assert_allclose(found, every.compute_source_embeddings([text])[0][0], atol=1e-6)


def test_late_chunking_goes_through_the_layers_behind_the_pooling(tmp_path: Path) -> None:
    folder = tiny_dense(tmp_path / "m")
    function = LongDocumentEmbeddings.create(name=folder, late=True, max_tokens=12, reduce="none")
    text = SENTENCES[0] + " " + SENTENCES[1]
    tokens = token_vectors(folder, text)
    model: Any = SentenceTransformer(str(folder), device="cpu")
    pooled = torch.from_numpy(tokens[:10].mean(axis=0, keepdims=True))
    with torch.inference_mode():
        expected = model[2]({"sentence_embedding": pooled})["sentence_embedding"].numpy()
    found = function.compute_source_embeddings([text])[0]
    np.testing.assert_allclose(found[:1], unit(expected), atol=1e-5)


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (tiny_bert, {"pooling": "cls"}),
        (tiny_qwen, {}),
        (tiny_static, {"max_tokens": 10}),
    ],
)
def test_late_chunking_needs_a_model_that_pools_by_the_mean(
    tmp_path: Path, build: Callable[[Path], Path], options: dict[str, Any]
) -> None:
    folder = build(tmp_path / "m")
    with pytest.raises(ConfigurationError, match="late=True takes the mean of token vectors"):
        LongDocumentEmbeddings.create(name=folder, late=True, **options).compute_source_embeddings(
            [LONG]
        )


# -- sentences -----------------------------------------------------------------------------


def test_sentences_stay_whole() -> None:
    both = "The old town lies on the river. Boats leave at nine. Tickets are sold on board."
    function = LongDocumentEmbeddings.create(max_tokens=16, split="sentences", reduce="none")
    sbert = SbertEmbeddings.create()
    packed = ["The old town lies on the river. Boats leave at nine.", "Tickets are sold on board."]
    found = function.compute_source_embeddings([both])[0]
    np.testing.assert_allclose(found, sbert.compute_source_embeddings(packed), atol=1e-5)


def test_sentences_without_spaces_between_them() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EmbeddingWarning)  # the model is an English one
        function = LongDocumentEmbeddings.create(max_tokens=12, split="sentences", reduce="none")
        found = function.compute_source_embeddings(["这里有一条河。船九点开。票在船上卖。"])[0]
        packed = ["这里有一条河。", "船九点开。", "票在船上卖。"]
        expected = SbertEmbeddings.create().compute_source_embeddings(packed)
    np.testing.assert_allclose(found, expected, atol=1e-5)


# -- options that do not fit, texts that are odd ---------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overlap": 256}, "overlap=256 is not less than the window, max_tokens=256"),
        ({"max_tokens": 64, "overlap": 99}, "overlap=99 is not less than the window"),
        ({"overlap": -1}, "overlap: Input should be greater than or equal to 0"),
        ({"max_tokens": 513}, "max_tokens=513 is more than the 512 tokens"),
        ({"max_tokens": 0}, "max_tokens: Input should be greater than 0"),
        ({"late": True, "max_tokens": 300}, "max_tokens=300 is more than the 256 tokens"),
        ({"max_tokens": 64, "max_length": 128}, "give max_tokens alone"),
        ({"reduce": "median"}, "reduce: Input should be 'mean', 'weighted'"),
        ({"reduce": len}, "reduce: Input should be 'mean'"),
        ({"split": "words"}, "split: Input should be 'tokens' or 'sentences'"),
        ({"reduce": "none", "quantization": "binary"}, "several vectors a row"),
    ],
)
def test_unfit_options_are_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        LongDocumentEmbeddings.create(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overlap": 254}, "overlap=254 is not less than the 254 tokens of text that a window"),
        ({"max_tokens": 2}, "max_tokens=2 leaves no room for text"),
        (
            {"max_tokens": 8, "overlap": 3, "document_prompt": "a long prompt: "},
            "overlap=3 is not less than the 2 tokens",
        ),
    ],
)
def test_what_only_the_tokenizer_tells_is_refused_before_anything_is_embedded(
    options: dict[str, Any], message: str
) -> None:
    function = LongDocumentEmbeddings.create(**options)
    with pytest.raises(ConfigurationError, match=message):
        function.compute_source_embeddings(["short"])


def test_a_model_that_tokenizes_by_itself_is_refused(tmp_path: Path) -> None:
    function = LongDocumentEmbeddings.create(name=tiny_router(tmp_path / "m"))
    with pytest.raises(ConfigurationError, match='it tokenizes by itself; use it through "sbert"'):
        function.compute_source_embeddings(["short"])


def test_the_first_window_alone_obeys_on_overflow() -> None:
    texts = [SENTENCES[0] * 40, "short", SENTENCES[0] * 40]
    sbert = SbertEmbeddings.create(on_overflow="truncate")
    function = LongDocumentEmbeddings.create(reduce="first")
    with pytest.warns(EmbeddingWarning, match=r"2 of 3 texts \(rows 0, 2\) are longer than 256"):
        found = function.compute_source_embeddings(texts)
    np.testing.assert_allclose(found, sbert.compute_source_embeddings(texts), atol=1e-5)
    function = LongDocumentEmbeddings.create(reduce="first", on_overflow="error")
    with pytest.raises(TextTooLongError, match="rows 0, 2: longer than the 256 tokens"):
        function.compute_source_embeddings(texts)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LongDocumentEmbeddings.create(
            reduce="first", on_overflow="truncate"
        ).compute_source_embeddings(texts)


def test_nothing_else_is_ever_cut_off(bert: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        function = LongDocumentEmbeddings.create(name=bert, on_overflow="error")
        changed = LONG + " passage: by row"
        one, other = function.compute_source_embeddings([LONG, changed])
    assert not np.allclose(one, other, atol=1e-6), "the end counts as well"


def test_a_short_text_that_its_tokenizer_makes_long_is_not_cut(tmp_path: Path) -> None:
    function = LongDocumentEmbeddings.create(
        name=tiny_roberta(tmp_path / "m", growing=True), reduce="none", on_overflow="error"
    )
    text = "\ufdfa" * 8  # 24 bytes, of which NFKC makes 144 characters
    assert len(function.compute_source_embeddings([text])[0]) > 1


@pytest.mark.parametrize(
    "text", ["a\x00b " * 3000, "\u200b" * 5000, "🦊" * 5000, "a" * 200_000, "\ufffd " * 5000]
)
@pytest.mark.parametrize("options", [{}, {"split": "sentences", "late": True, "overlap": 9}])
def test_odd_texts_get_a_vector(bert: Path, text: str, options: dict[str, Any]) -> None:
    function = LongDocumentEmbeddings.create(name=bert, **options)
    vector = function.compute_source_embeddings([text])[0]
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_a_lone_surrogate_is_refused_by_its_row(bert: Path) -> None:
    function = LongDocumentEmbeddings.create(name=bert)
    with pytest.raises(InputError, match=r"row 1: character 3600 is a lone surrogate"):
        function.compute_source_embeddings(["fine", "words " * 600 + "\udc80"])


@pytest.mark.slow
def test_50_megabytes_are_refused_before_anything_is_embedded() -> None:
    function = LongDocumentEmbeddings.create()
    with pytest.raises(TextTooLongError, match="row 1: more than 4,161,536 tokens") as caught:
        function.compute_source_embeddings(["fine", "all the words " * 3_600_000])
    assert caught.value.rows == (1,)


def test_how_many_windows_a_document_may_have_is_up_to_this_process(bert: Path) -> None:
    with settings.override(max_windows=3):
        function = LongDocumentEmbeddings.create(name=bert)
        with pytest.raises(TextTooLongError, match="max_windows"):
            function.compute_source_embeddings([LONG])
        more = LongDocumentEmbeddings.create(name=bert, max_windows=100)
        assert more.compute_source_embeddings([LONG]).shape == (1, 32)
    assert function.compute_source_embeddings([LONG]).shape == (1, 32)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_documents(
    tmp_path: Path, python: Callable[..., str]
) -> None:
    # Static, so that the test is about windows and not about waiting for a transformer.
    folder = tiny_static(tmp_path / "m")
    code = """
import sys, psutil, lancedb_embedders
me = psutil.Process()
create = lancedb_embedders.LongDocumentEmbeddings.create
function = create(name=sys.argv[1], max_tokens=64, overlap=8)
text = "the quick brown fox jumps over the lazy dog " * 1200
def use(count):
    function.compute_source_embeddings([f"{i} {text}" for i in range(count)])
    return me.memory_info().rss
use(60)
before = use(100)
print((use(400) - before) // 2**20)
"""
    # 300 documents more are 16 MB of text, 3 million tokens and 60,000 windows.
    assert int(python(code, str(folder))) < 100
