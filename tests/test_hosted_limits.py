"""How fast requests go: limits that are set, told by headers, and learned from refusals."""

from __future__ import annotations

import threading
import time
from itertools import pairwise

import pytest

from lancedb_embedders import settings
from lancedb_embedders.hosted.limits import Bucket, Limiter, limiter
from tests.hosted import create, embed, numbered
from tests.providers import ProviderServer

GO = threading.Event()


# -- units --------------------------------------------------------------------------------------


def test_a_bucket_fills_at_its_rate() -> None:
    bucket = Bucket(rate=10, capacity=2)
    bucket.take(2)
    assert 0.08 < bucket.wait() <= 0.1
    time.sleep(0.11)
    assert bucket.wait() == 0


def test_a_bucket_gives_more_than_it_holds_on_credit() -> None:
    bucket = Bucket(rate=10, capacity=5)
    assert bucket.wait() == 0
    bucket.take(25)
    assert 2.0 < bucket.wait() <= 2.1


def test_a_limiter_without_limits_lets_all_through() -> None:
    free, started = Limiter(), time.monotonic()
    for _ in range(1000):
        free.acquire(1000, GO)
    assert time.monotonic() - started < 0.5


def test_requests_are_spread_over_the_minute() -> None:
    held, started = Limiter(), time.monotonic()
    for _ in range(11):
        held.acquire(1, GO, requests_per_minute=600)
    assert 0.05 <= time.monotonic() - started <= 0.6, "a second's worth at once"
    for _ in range(5):
        held.acquire(1, GO, requests_per_minute=600)
    assert 0.5 <= time.monotonic() - started <= 1.2


def test_tokens_are_spread_over_the_minute() -> None:
    held, started = Limiter(), time.monotonic()
    for _ in range(4):
        held.acquire(500, GO, tokens_per_minute=60_000)
    assert 0.4 <= time.monotonic() - started <= 1.2


def test_a_stop_ends_the_wait() -> None:
    held, stop = Limiter(), threading.Event()
    held.pause(60)
    threading.Timer(0.1, stop.set).start()
    started = time.monotonic()
    assert held.acquire(1, stop) is None
    assert time.monotonic() - started < 1


def test_many_refusals_at_once_slow_down_once() -> None:
    slowed = Limiter()
    sent = [slowed.acquire(1, GO) or 0.0 for _ in range(8)]
    for at in sent:
        slowed.refused(at, None)
    started = time.monotonic()
    slowed.acquire(1, GO)
    slowed.acquire(1, GO)
    assert 1.0 < time.monotonic() - started < 2.5, "half a request a second"


def test_headers_tell_what_is_left() -> None:
    told = Limiter()
    told.answered(
        {
            "x-ratelimit-limit-requests": "100",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "10s",
        }
    )
    started = time.monotonic()
    told.acquire(1, GO)
    assert time.monotonic() - started == pytest.approx(0.1, abs=0.08)


def test_headers_that_say_nothing_are_no_limit() -> None:
    told = Limiter()
    told.answered({"x-ratelimit-limit-requests": "soon", "x-ratelimit-remaining-tokens": "-1"})
    started = time.monotonic()
    for _ in range(100):
        told.acquire(1, GO)
    assert time.monotonic() - started < 0.5


def test_one_limiter_for_an_endpoint_and_key() -> None:
    assert limiter(("a", "b")) is limiter(("a", "b"))
    assert limiter(("a", "b")) is not limiter(("a", "c"))


# -- through functions --------------------------------------------------------------------------


def at(provider: ProviderServer) -> list[float]:
    return sorted(seen.at for seen in provider.seen)


def test_requests_per_minute_hold(provider: ProviderServer) -> None:
    embed(create(provider, batch_size=1, requests_per_minute=300), numbered(12))
    times = at(provider)
    assert (12 - 5) / 5 - 0.15 <= times[-1] - times[0] <= 3


def test_tokens_per_minute_hold(provider: ProviderServer) -> None:
    provider.count_tokens = len
    texts = [text.ljust(98) for text in numbered(12)]
    with settings.override(tokens_per_minute=30_000):
        embed(create(provider, batch_size=1), texts)
    times = at(provider)
    assert (12 - 6) * 0.2 - 0.25 <= times[-1] - times[0] <= 4


def test_tokens_that_were_not_needed_are_given_back(provider: ProviderServer) -> None:
    texts = [text.ljust(400) for text in numbered(40)]  # 100 tokens each, 400 bytes
    started = time.monotonic()
    embed(create(provider, batch_size=1, tokens_per_minute=60_000), texts)
    assert (4000 - 1000) / 1000 - 0.7 <= time.monotonic() - started <= 8


def test_two_functions_share_the_limits_of_a_key(provider: ProviderServer) -> None:
    functions = [create(provider, batch_size=1, requests_per_minute=300, dim=d) for d in (8, 16)]
    threads = [threading.Thread(target=embed, args=(f, numbered(6))) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = at(provider)
    assert len(times) == 12
    assert times[-1] - times[0] >= (12 - 5) / 5 - 0.15


def test_another_key_has_limits_of_its_own(
    provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.keys = frozenset({"test-key", "second-key"})
    monkeypatch.setenv("SECOND_KEY", "second-key")
    embed(create(provider, batch_size=1, requests_per_minute=120), numbered(2))
    started = time.monotonic()
    other = create(provider, batch_size=1, requests_per_minute=120, api_key_env="SECOND_KEY")
    embed(other, numbered(2, "other"))
    assert time.monotonic() - started < 0.6


def test_what_headers_tell_keeps_from_refusals(provider: ProviderServer) -> None:
    provider.rate = (240, 1_000_000)
    embed(create(provider, batch_size=1, concurrency=8), numbered(250))
    refused = [seen for seen in provider.seen if seen.status == 429]
    assert len(provider.texts()) == 250
    assert len(refused) <= 10


@pytest.mark.slow
def test_refusals_without_headers_are_learned_from(provider: ProviderServer) -> None:
    provider.rate = (120, 1_000_000)  # only answers of OpenAI's have headers
    embed(create(provider, "cached-voyage", batch_size=1, retry_deadline=60), numbered(130))
    assert len(set(provider.texts())) == len(provider.texts()) == 130
    refused = [seen for seen in provider.seen if seen.status == 429]
    assert 1 <= len(refused) <= 25
    assert all(later >= earlier for earlier, later in pairwise(at(provider)))
