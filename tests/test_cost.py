"""What embedding would cost: counted as the functions count, from lists, tables and files."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from lancedb_embedders import (
    ConfigurationError,
    InputError,
    TextTooLongError,
    VectorCache,
    catalog,
    estimate_cost,
    settings,
    tables,
)
from lancedb_embedders.batch import Batch
from lancedb_embedders.cli import app
from lancedb_embedders.hosted.tokens import counter
from lancedb_embedders.local.embedder import LocalTextEmbedder
from lancedb_embedders.tools.cost import text_stream
from lancedb_embedders.tools.cost.tally import Seen
from lancedb_embedders.tools.cost.token_estimate import estimated_tokens
from lancedb_embedders.tools.given import function_of
from tests.hosted import add, create, embed, make_table
from tests.models import tiny_bert
from tests.providers import ProviderServer

OPENAI = "text-embedding-3-small"
TEXTS = [f"{i}: the cost of a text goes by its tokens" for i in range(100)]
LONG = "word " * 9000


def exactly(text: str) -> int:
    return int(counter("cl100k_base").count([text])[0])


# -- hosted: what is estimated is what is billed ------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"document_prompt": "search in this: "},
        {"clean": True},
        {"max_length": 8, "on_overflow": "truncate"},
        {"max_length": 8, "on_overflow": "chunk"},
        {"max_length": 9, "on_overflow": "chunk", "document_prompt": "a b "},
    ],
)
def test_the_estimate_is_what_is_billed(provider: ProviderServer, options: dict[str, Any]) -> None:
    provider.count_tokens = exactly
    texts = [*TEXTS, TEXTS[0], f"  {TEXTS[1]}\n", "", " ", None]
    function = create(provider, **options)
    estimate = estimate_cost(texts, function)
    assert provider.seen == [], "nothing is sent"
    with pytest.warns(UserWarning, match="have no text"):
        function.compute_source_embeddings_with_retry(texts)
    used = function.usage()
    assert (estimate.texts, estimate.tokens) == (used.texts, used.tokens)
    assert estimate.usd == pytest.approx(used.usd)
    assert estimate.exact
    assert estimate.low == estimate.tokens == estimate.high
    assert estimate.rows == len(texts)


def test_a_model_s_name_and_options_count_as_its_function_does(provider: ProviderServer) -> None:
    options: dict[str, Any] = {"max_length": 8, "on_overflow": "chunk", "document_prompt": "a: "}
    by_name = estimate_cost(TEXTS, OPENAI, **options)
    assert by_name == estimate_cost(TEXTS, create(provider, **options))
    assert by_name.texts > estimate_cost(TEXTS, OPENAI).texts


def test_texts_that_would_be_refused_are_told_and_no_error() -> None:
    estimate = estimate_cost([LONG, "short"], OPENAI)
    assert (estimate.texts, estimate.too_long) == (2, 1)
    assert "would be refused" in estimate.notes[0]
    with pytest.raises(TextTooLongError):
        embed(function_of(OPENAI), [LONG, "short"])
    cut = estimate_cost([LONG, "short"], OPENAI, on_overflow="truncate")
    assert 8100 < cut.tokens <= 8192 + exactly("short")
    assert cut.too_long == 1


def test_cached_texts_cost_nothing(provider: ProviderServer, tmp_path: Path) -> None:
    function = create(provider, cache_dir=tmp_path / "vectors")
    embed(function, TEXTS[:60])
    everything = estimate_cost(TEXTS, function)
    rest = estimate_cost(TEXTS[60:], function)
    asked = len(provider.seen)
    for cache in (True, tmp_path / "vectors", str(tmp_path / "vectors"), function.open_cache()):
        left = estimate_cost([*TEXTS, *TEXTS], function, cache=cache)
        assert (left.texts, left.cached) == (40, 60)
        assert (left.tokens, left.usd) == (rest.tokens, rest.usd)
    assert everything.cached == 0
    assert len(provider.seen) == asked
    other = create(provider, cache_dir=tmp_path / "vectors", dim=512)
    assert estimate_cost(TEXTS, other, cache=True).cached == 0, "they are of other dimensions"
    with VectorCache(tmp_path / "vectors") as opened:
        assert estimate_cost(TEXTS, function, cache=opened).cached == 60


def test_a_cache_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with settings.override(cache_dir=tmp_path / "none"):
        assert estimate_cost(TEXTS, OPENAI, cache=True).cached == 0
    assert not (tmp_path / "none").exists()
    with pytest.raises(ConfigurationError, match="there is no cache in the folder"):
        estimate_cost(TEXTS, OPENAI, cache=tmp_path / "none")


def test_prices_are_the_catalogue_s() -> None:
    for card in catalog.cards().values():
        if card.price is None:
            continue
        estimate = estimate_cost(["a"] * 3 + ["b"], card.name)
        rate = card.price.usd_per_million_tokens
        assert estimate.usd == pytest.approx(estimate.tokens * rate / 1e6)
        assert (estimate.source, estimate.date) == (card.price.source, card.price.date)
        batch = card.price.batch_usd_per_million_tokens
        assert (estimate.batch_usd is None) == (batch is None)


def test_a_server_of_one_s_own_has_no_price(provider: ProviderServer) -> None:
    estimate = estimate_cost(["a", "b"], create(provider, name="a-model-of-my-own", dim=8))
    assert estimate.usd is None
    assert "no price known" in str(estimate)


def test_every_model_is_counted_without_network_and_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("OPENAI_API_KEY", "COHERE_API_KEY", "VOYAGE_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.delenv(name)
    for name in catalog.cards():
        estimate = estimate_cost(["one text", "another"], name)
        assert estimate.texts == 2
        assert 2 <= estimate.low <= estimate.tokens <= estimate.high


# -- local --------------------------------------------------------------------------------------


def seen_tokens(function: LocalTextEmbedder, texts: list[str]) -> int:
    model, encoding = function.prepared_model("document")
    batch = function.batch_of(texts, "document")
    _, lengths, _ = model.encode(batch.inputs, encoding)
    return int(lengths.sum())


@pytest.mark.parametrize(
    "options",
    [{}, {"document_prompt": "passage: "}, {"max_length": 10}, {"clean": True}],
)
def test_local_tokens_are_those_the_model_sees(options: dict[str, Any]) -> None:
    function: Any = function_of("sbert", on_overflow="truncate", **options)
    texts = [*TEXTS[:20], "Straße und Café", LONG, TEXTS[0]]
    estimate = estimate_cost(texts, function)
    assert estimate.exact
    assert estimate.tokens == seen_tokens(function, texts)
    assert (estimate.usd, estimate.source) == (0.0, None)
    assert estimate.too_long == (21 if "max_length" in options else 1)


def test_windows_of_long_documents_are_all_counted() -> None:
    text = " ".join(TEXTS)
    whole = estimate_cost([text], "long-document")
    content = estimate_cost([text], "sbert", max_length=256, on_overflow="truncate").tokens
    assert content == 256
    assert whole.tokens > 1000
    windows = -(-(whole.tokens) // 256)
    lapped = estimate_cost([text], "long-document", overlap=64)
    assert lapped.tokens > whole.tokens + 64 * (windows - 2)
    first = estimate_cost([text], "long-document", reduce="first")
    assert first.tokens == 256


def test_a_model_of_one_s_own_is_counted_by_its_tokenizer(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "mine")
    estimate = estimate_cost(TEXTS, folder)
    assert estimate.exact
    assert estimate.tokens == seen_tokens(function_of(folder, on_overflow="truncate"), TEXTS)  # type: ignore[arg-type]
    with settings.override(models=(tmp_path,)):
        assert estimate_cost(TEXTS, "mine").tokens == estimate.tokens


def test_local_vectors_in_the_cache_are_deducted(tmp_path: Path) -> None:
    function = function_of("sbert", cache=True, cache_dir=tmp_path)
    function.compute_source_embeddings(TEXTS[:10])
    left = estimate_cost(TEXTS[:15], function, cache=True)
    assert (left.texts, left.cached) == (5, 10)
    assert left.tokens == estimate_cost(TEXTS[10:15], function).tokens


def test_hours_are_measured_only_where_the_model_is() -> None:
    here = estimate_cost(TEXTS, "sbert", measure=True)
    assert here.hours is not None
    assert here.hours > 0
    assert "embedded here in" in here.notes[-1]
    for model in ("BAAI/bge-m3", OPENAI):
        elsewhere = estimate_cost(TEXTS, model, measure=True)
        assert elsewhere.hours is None
        assert "time was not measured" in elsewhere.notes[-1]
    assert "time here" in str(here)


def test_pictures_have_no_tokens() -> None:
    with pytest.raises(ConfigurationError, match='create it with source="text"'):
        estimate_cost(["a.png"], function_of("clip"))
    assert estimate_cost(["a photo of a cat"], "clip").texts == 1


# -- where there is no tokenizer ----------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["cl100k_base", "o200k_base", "voyage3_base"])
def test_estimates_hold_what_is_said_of_their_error(data: Path, encoding: str) -> None:
    bpe = pytest.importorskip("bpe_openai").get_encoding(encoding)
    with gzip.open(data / "multi_flores_sib200/a-train.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line)["text"] for line, _ in zip(file, range(60), strict=False)]
    for language in rows[0]:
        texts = [row[language] for row in rows]
        counts = estimated_tokens(texts)
        true = np.array([len(bpe.encode_ordinary(text)) for text in texts])
        assert (true <= counts.high).all(), "the bound is certain"
        assert counts.low.sum() <= true.sum()
        ratio = true.sum() / counts.tokens.sum()
        lowest, highest = (0.84, 1.23) if language == "eng_Latn" else (0.55, 1.71)
        if not language.endswith("_Latn"):
            lowest, highest = 0.46, 2.4
        assert lowest - 0.02 <= ratio <= highest + 0.02, language


def test_estimates_say_that_they_are_none_of_the_model_s() -> None:
    estimate = estimate_cost(TEXTS, "voyage-4")
    assert not estimate.exact
    assert estimate.low < estimate.tokens < estimate.high
    assert estimate.usd is not None
    assert estimate.usd_low is not None
    assert estimate.usd_high is not None
    assert estimate.usd_low < estimate.usd < estimate.usd_high
    assert "tokens are estimated" in estimate.notes[0]
    assert "at most" in str(estimate)


# -- tables and files ---------------------------------------------------------------------------


def test_a_table_is_counted_by_its_own_function(db: Any, provider: ProviderServer) -> None:
    table = make_table(db, create(provider))
    add(table, [*TEXTS, TEXTS[0]])
    estimate = estimate_cost(table)
    assert (estimate.rows, estimate.texts, estimate.model) == (101, 100, OPENAI)
    assert estimate.tokens == estimate_cost(TEXTS, OPENAI).tokens
    assert estimate_cost(table, cache=True).usd == 0
    assert estimate_cost(table, "sbert").tokens == estimate_cost(TEXTS, "sbert").tokens


def test_a_table_without_a_function(db: Any) -> None:
    table = db.create_table("t", [{"id": i, "body": text} for i, text in enumerate(TEXTS)])
    with pytest.raises(ConfigurationError, match=r"no column 'text'.*of: id, body"):
        estimate_cost(table, OPENAI)
    estimate = estimate_cost(table, OPENAI, column="body")
    assert estimate.tokens == estimate_cost(TEXTS, OPENAI).tokens
    with pytest.raises(ConfigurationError):
        estimate_cost(table)
    tables.attach(table, "body", "vector", function_of("sbert"))
    assert estimate_cost(table).model == "all-MiniLM-L6-v2"


@pytest.mark.parametrize("ending", [".parquet", ".jsonl", ".csv", ".txt"])
def test_files_are_counted(tmp_path: Path, ending: str) -> None:
    rows = pa.table({"id": range(100), "text": TEXTS})
    file = tmp_path / f"texts{ending}"
    if ending == ".parquet":
        pq.write_table(rows, file)
    elif ending == ".jsonl":
        file.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    elif ending == ".csv":
        file.write_text("text\n" + "".join(f'"{text}"\n' for text in TEXTS))
    else:
        file.write_text("\n".join(TEXTS))
    expected = ["\n".join(TEXTS)] if ending == ".txt" else TEXTS
    estimate = estimate_cost(file, OPENAI)
    assert estimate.tokens == estimate_cost(expected, OPENAI).tokens
    assert estimate.rows == len(expected)
    assert estimate_cost([file, file], OPENAI).tokens == estimate.tokens


def test_many_rows_pass_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0

    def texts() -> Iterator[str]:
        for i in range(10_000):
            yield f"text {i % 3000}"

    function: Any = function_of(OPENAI)
    original = type(function).batch_of

    def watched(self: Any, values: Any, role: Any) -> Batch:
        nonlocal largest
        largest = max(largest, len(values))
        found: Batch = original(self, values, role)
        return found

    monkeypatch.setattr(type(function), "batch_of", watched)
    estimate = estimate_cost(texts(), function)
    assert (estimate.rows, estimate.texts) == (10_000, 3000)
    assert largest == text_stream.BATCH_ROWS


def test_equal_texts_are_known_again_after_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Seen, "_FRESH", 100)
    seen, random = Seen(), np.random.default_rng(0)
    known: set[bytes] = set()
    for _ in range(30):
        keys = [int(n).to_bytes(16, "big")[::-1] for n in random.integers(0, 900, 50)]
        expected = []
        for key in keys:
            expected.append(key not in known)
            known.add(key)
        assert seen.new(keys).tolist() == expected


@pytest.mark.parametrize(
    ("given", "model", "options", "error", "message"),
    [
        ("one text", OPENAI, {}, ConfigurationError, r"got one string.*pathlib"),
        (5, OPENAI, {}, ConfigurationError, r"expected texts, a table or files, got int"),
        (["a"], None, {}, ConfigurationError, r"say which model"),
        (["a"], "nobody/knows", {}, ConfigurationError, r"no price for 'nobody/knows'.*voyage-4"),
        (["a"], OPENAI, {"column": "x"}, ConfigurationError, r"column=.* is for tables"),
        (["a"], OPENAI, {"dimm": 3}, ConfigurationError, r"no option 'dimm'"),
        (["a", 3], OPENAI, {}, InputError, r"row 1: expected a string, got int"),
        (Path("nothing.csv"), OPENAI, {}, ConfigurationError, r"nothing\.csv"),
    ],
)
def test_bad_input_is_one_clear_error(
    given: Any, model: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        estimate_cost(given, model, **options)


def test_a_wrong_value_far_down_is_named_by_its_row() -> None:
    texts: list[Any] = [f"text {i}" for i in range(3000)]
    texts[2500] = 7
    with pytest.raises(InputError) as caught:
        estimate_cost(texts, OPENAI)
    assert caught.value.rows == (2500,)


# -- from a shell -------------------------------------------------------------------------------


def run(*arguments: str, status: int = 0) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == status, done.output
    return done.output


def test_from_a_shell(db: Any, provider: ProviderServer, tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"body": text}) + "\n" for text in TEXTS))
    found = json.loads(run("cost", str(file), "--model", OPENAI, "--column", "body", "--json"))
    expected = estimate_cost(TEXTS, OPENAI)
    assert (found["tokens"], found["usd"]) == (expected.tokens, expected.usd)
    chunked = ["-o", "max_length=8", "-o", "on_overflow=chunk"]
    more = run("cost", str(file), "--model", OPENAI, "--column", "body", *chunked, "--json")
    assert json.loads(more)["texts"] > 100
    add(make_table(db, create(provider)), TEXTS)
    said = run("cost", "--db", str(db.uri), "--table", "t")
    assert f"{expected.tokens:,}" in said
    assert "files, or --db and --table" in run("cost", "--model", OPENAI, status=1)
    assert "name that by --db" in run("cost", "--table", "t", status=1)
