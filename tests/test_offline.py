"""Batches of OpenAI and Voyage: submitted once, collected by whoever comes later."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel

from lancedb_embedders import ConfigurationError, CostError, ProviderError, embed_offline, settings
from tests.providers import ProviderServer

TEXTS = [f"text number {i}" for i in range(3000)]
POLL = 0.01


@pytest.fixture(params=["cached-openai", "cached-voyage"])
def function(request: pytest.FixtureRequest, provider: ProviderServer) -> Any:
    return get_registry().get(request.param).create(base_url=f"{provider.url}/v1")


def openai(provider: ProviderServer, **options: Any) -> Any:
    return get_registry().get("cached-openai").create(base_url=f"{provider.url}/v1", **options)


def live(provider: ProviderServer) -> int:
    """Return how many requests came outside of batches."""
    return sum(seen.path != "/v1/batches" for seen in provider.seen)


def test_adding_to_a_table_is_free_afterwards(
    db: Any, provider: ProviderServer, function: Any
) -> None:
    report = embed_offline(function, [*TEXTS, TEXTS[0], ""], poll_seconds=POLL)
    assert (report.submitted, report.embedded, report.pending) == (3000, 3000, 0)
    assert report.failed == {}
    assert sum(len(seen.texts) for seen in provider.seen) == 3000

    class Row(LanceModel):
        text: str = function.SourceField()
        vector: function.Vector() = function.VectorField()  # type: ignore[valid-type]

    table = db.create_table("t", schema=Row)
    table.add([{"text": text} for text in TEXTS])
    assert (table.count_rows(), live(provider)) == (3000, 0)


def test_vectors_are_those_of_the_live_api(provider: ProviderServer, function: Any) -> None:
    embed_offline(function, TEXTS[:50], poll_seconds=POLL)
    kept = function.compute_source_embeddings(TEXTS[:50])
    with settings.override(cache_dir=settings.cache_dir / "other"):
        asked = function.compute_source_embeddings(TEXTS[:50])
    assert live(provider) > 0
    np.testing.assert_array_equal(kept, asked)


def test_it_costs_what_batches_cost(provider: ProviderServer, function: Any) -> None:
    report = embed_offline(function, TEXTS, poll_seconds=POLL)
    price = function.card().price
    expected = report.usage.tokens * price.batch_usd_per_million_tokens / 1e6
    assert report.usage.usd == pytest.approx(expected)
    assert expected < report.usage.tokens * price.usd_per_million_tokens / 1e6


def test_without_waiting_and_collected_later(provider: ProviderServer, function: Any) -> None:
    first = embed_offline(function, TEXTS, wait=False)
    assert (first.submitted, first.embedded, first.pending) == (3000, 0, 3000)
    again = embed_offline(function, TEXTS[:10], wait=False)
    assert again.submitted == 0, "what is on its way is not submitted twice"
    later = embed_offline(function, poll_seconds=POLL)
    assert first.embedded + again.embedded + later.embedded == 3000
    assert embed_offline(function, TEXTS, wait=False).cached == 3000


def test_only_what_is_missing_is_submitted(provider: ProviderServer, function: Any) -> None:
    function.compute_source_embeddings(TEXTS[:100])
    report = embed_offline(function, TEXTS, poll_seconds=POLL)
    assert (report.cached, report.submitted) == (100, 2900)


@pytest.mark.parametrize("outcome", ["failed", "expired", "cancelled"])
def test_batches_that_do_not_complete(provider: ProviderServer, outcome: str) -> None:
    function = openai(provider)
    provider.batch_outcome = outcome
    report = embed_offline(function, TEXTS, poll_seconds=POLL)
    assert report.embedded < 3000
    assert sum(report.failed.values()) == 3000 - report.embedded
    provider.batch_outcome = "completed"
    second = embed_offline(function, TEXTS, poll_seconds=POLL)
    assert second.submitted == 3000 - report.embedded
    assert second.failed == {}


def test_a_refused_line_is_reported_in_the_providers_words(provider: ProviderServer) -> None:
    provider.poison.add(TEXTS[7])
    report = embed_offline(openai(provider, batch_size=1000), TEXTS, poll_seconds=POLL)
    assert report.embedded == 2000
    [(words, count)] = report.failed.items()
    assert (count, bool(words)) == (1000, True)


def test_max_cost_holds(provider: ProviderServer) -> None:
    with pytest.raises(CostError, match="Nothing was submitted"):
        embed_offline(openai(provider, max_cost=1e-9), TEXTS)
    assert provider.seen == []


def test_providers_without_batches_are_named(provider: ProviderServer) -> None:
    function = get_registry().get("cached-cohere").create(base_url=provider.url)
    with pytest.raises(ConfigurationError, match="cached-cohere has no batches"):
        embed_offline(function, TEXTS)


def test_a_wrong_key_is_one_error_without_the_key(
    provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-but-secret")
    with pytest.raises(ProviderError, match="401") as error:
        embed_offline(openai(provider), TEXTS)
    assert "sk-wrong-but-secret" not in str(error.value)


CODE = """
import sys
from lancedb.embeddings import get_registry
import lancedb_embedders
function = get_registry().get("cached-openai").create(base_url=sys.argv[1])
texts = [f"text number {i}" for i in range(3000)]
print(lancedb_embedders.embed_offline(function, texts, poll_seconds=0.02).pending)
"""


@pytest.mark.slow
def test_killed_at_any_moment_it_submits_nothing_twice(
    provider: ProviderServer, python: Callable[..., str]
) -> None:
    provider.batch_polls = 40
    for seconds in np.random.default_rng(0).uniform(0.5, 3.0, size=6):
        process = subprocess.Popen([sys.executable, "-c", CODE, f"{provider.url}/v1"])
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    provider.batch_polls = 2
    assert python(CODE, f"{provider.url}/v1").strip() == "0"
    sent = [text for seen in provider.seen for text in seen.texts]
    assert len(sent) == len(set(sent)) == 3000
    assert list(settings.cache_dir.glob("batches/*.json")) == []


def test_no_text_and_no_key_is_written_beside_the_cache(provider: ProviderServer) -> None:
    embed_offline(openai(provider), TEXTS, wait=False)
    [file] = settings.cache_dir.glob("batches/*.json")
    job = json.loads(file.read_text())
    assert job["batch"]
    assert "text number" not in file.read_text()
    assert "test-key" not in file.read_text()
