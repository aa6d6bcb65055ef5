"""What was used and what it cost; what it would cost; and that no more is spent than allowed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from lancedb.pydantic import LanceModel

import lancedb_embedders
from lancedb_embedders import ConfigurationError, CostError, Usage, estimate_cost
from lancedb_embedders.catalog import find
from lancedb_embedders.hosted.tokens import counter
from tests.hosted import add, create, embed, every_function, make_table, numbered
from tests.providers import ProviderServer

EXACT = counter("cl100k_base")
TEXTS = [f"{i}: the cost of a text goes by its tokens" for i in range(100)]


def dollars(texts: list[str]) -> float:
    usd = estimate_cost(texts, "text-embedding-3-small").usd
    assert usd is not None
    return usd


def exactly(text: str) -> int:
    return int(EXACT.count([text])[0])


@every_function
def test_usage_is_what_the_provider_billed(provider: ProviderServer, name: str) -> None:
    function = create(provider, name)
    before = lancedb_embedders.usage().get((name, function.name), Usage())
    embed(function, numbered(50))
    embed(function, numbered(60))
    billed = sum(map(provider.count_tokens, provider.texts()))
    used = function.usage()
    assert (used.texts, used.cached, used.tokens) == (60, 50, billed)
    assert used.requests == len(provider.seen)
    card = find(function.name)
    assert card is not None
    if card.price is not None:
        assert used.usd == pytest.approx(billed * card.price.usd_per_million_tokens / 1e6)
    after = lancedb_embedders.usage()[name, function.name]
    assert (after.texts - before.texts, after.tokens - before.tokens) == (60, billed)


def test_each_object_counts_for_itself(provider: ProviderServer) -> None:
    first, second = create(provider), create(provider)
    embed(first, numbered(5))
    embed(second, numbered(7))
    assert (first.usage().texts, second.usage().texts) == (5, 2)
    assert (first.usage().cached, second.usage().cached) == (0, 5)


def test_queries_are_counted(provider: ProviderServer) -> None:
    function = create(provider)
    for _ in range(3):
        function.compute_query_embeddings_with_retry("what?")
    assert (function.usage().requests, function.usage().cached) == (1, 2)


def test_a_write_is_logged_at_its_end(
    db: Any, provider: ProviderServer, caplog: pytest.LogCaptureFixture
) -> None:
    table = make_table(db, create(provider))
    with caplog.at_level(logging.INFO, logger="lancedb_embedders"):
        add(table, TEXTS)
        add(table, TEXTS)
    first, second = (r.getMessage() for r in caplog.records if "texts in" in r.getMessage())
    tokens = sum(map(provider.count_tokens, TEXTS))
    assert first.startswith("cached-openai (text-embedding-3-small): 100 texts in 1 requests, 0 ")
    assert f"{tokens:,} tokens, ${tokens * 0.02 / 1e6:.6f}" in first
    assert "0 texts in 0 requests, 100 from the cache, 0 tokens, $0.000000" in second


def test_servers_that_tell_nothing_are_counted_here(provider: ProviderServer) -> None:
    function = create(provider, "cached-google", vertexai=False)
    embed(function, ["abcd" * 10])
    assert function.usage().tokens == 10
    unknown = create(provider, name="a-model-of-my-own")
    embed(unknown, numbered(3))
    assert unknown.usage().usd is None
    assert "no price known" in str(unknown.usage())


# -- what it would cost -------------------------------------------------------------------------


def test_the_estimate_is_what_is_billed(provider: ProviderServer) -> None:
    provider.count_tokens = exactly
    estimate = estimate_cost([*TEXTS, TEXTS[0], "", " "], "text-embedding-3-small")
    function = create(provider)
    embed(function, [*TEXTS, TEXTS[0]])
    assert estimate.exact
    assert (estimate.texts, estimate.tokens) == (100, function.usage().tokens)
    assert estimate.usd == pytest.approx(function.usage().usd)
    assert estimate.batch_usd == pytest.approx(dollars(TEXTS) / 2)
    assert str(estimate.source).startswith("https://")


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("cached-cohere", "embed-v4.0"),
        ("cached-voyage", "voyage-4"),
        ("cached-google", "gemini-embedding-2"),
    ],
)
def test_without_a_tokenizer_there_is_an_upper_bound(
    provider: ProviderServer, name: str, model: str
) -> None:
    provider.count_tokens = lambda text: len(text.encode())  # as many as there can be
    estimate = estimate_cost(TEXTS, model)
    function = create(provider, name, name=model)
    embed(function, TEXTS)
    assert not estimate.exact
    assert estimate.low <= estimate.tokens <= estimate.high
    assert estimate.high >= function.usage().tokens


def test_a_model_without_a_price_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r"no price for 'nobody/knows'.*voyage-4"):
        estimate_cost(TEXTS, "nobody/knows")


# -- what it may cost ---------------------------------------------------------------------------


def test_more_than_max_cost_is_not_sent(db: Any, provider: ProviderServer) -> None:
    cost = dollars(TEXTS)
    table = make_table(db, create(provider, max_cost=cost * 0.99))
    with pytest.raises(RuntimeError, match=r"100 texts to embed have [\d,]+ tokens.*Nothing was"):
        add(table, TEXTS)
    assert provider.seen == []


def test_exactly_max_cost_is_sent(provider: ProviderServer) -> None:
    provider.count_tokens = exactly
    cost = dollars(TEXTS)
    function = create(provider, max_cost=cost)
    embed(function, TEXTS)
    embed(function, TEXTS)
    assert len(provider.seen) == 1, "what is in the cache costs nothing"
    with pytest.raises(CostError):
        embed(function, ["one more"])


def test_max_cost_holds_over_the_batches_of_a_write(db: Any, provider: ProviderServer) -> None:
    provider.count_tokens = exactly
    cost = dollars(TEXTS)
    table = make_table(db, create(provider, max_cost=cost * 0.55))

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, 100, 10):
            yield pa.record_batch({"text": pa.array(TEXTS[start : start + 10])})

    with pytest.raises(RuntimeError, match=r"spent before, that is more than max_cost"):
        table.add(pa.RecordBatchReader.from_batches(pa.schema({"text": pa.string()}), batches()))
    assert len(provider.texts()) == 50
    assert table.count_rows() == 0


def test_max_cost_does_not_concern_servers_without_a_price(provider: ProviderServer) -> None:
    function = create(provider, name="a-model-of-my-own", max_cost=1.0)
    assert len(embed(function, ["a server of one's own costs nothing"])) == 1


def test_nothing_may_cost_anything(db: Any, provider: ProviderServer) -> None:
    function = create(provider, max_cost=0.0)

    class Row(LanceModel):
        text: str = function.SourceField()
        vector: function.Vector() = function.VectorField()  # type: ignore[valid-type]

    table = db.create_table("t", schema=Row)
    with pytest.raises(RuntimeError, match=r"max_cost=0\.0"):
        add(table, ["a"])
    assert provider.seen == []
