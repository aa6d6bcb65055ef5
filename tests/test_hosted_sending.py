"""Requests in flight: order, retries, refusals taken apart, and what is kept of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from typing import Any

import numpy as np
import pytest

from lancedb_embedders import EmbeddingWarning, InputError, ProviderError, VectorError
from tests.hosted import PATHS, add, create, embed, every_function, has, make_table, numbered
from tests.providers import Fault, ProviderServer

TEXTS = numbered(2048)


# -- answers ------------------------------------------------------------------------------------


@every_function
def test_order_is_kept_whatever_comes_first(provider: ProviderServer, name: str) -> None:
    function = create(provider, name, batch_size=20, concurrency=8)
    for seconds in (0.2, 0.05, 0.15, 0.1):
        provider.fault(Fault("slow", seconds=seconds))
    many = embed(function, numbered(200))
    provider.reset()
    one_by_one = [
        embed(create(provider, name, dim=None), [text])[0] for text in numbered(200)[::40]
    ]
    assert provider.seen == [], "all in the cache"
    np.testing.assert_array_equal(many[::40], one_by_one)


@pytest.mark.parametrize("name", ["cached-openai", "cached-voyage"])
def test_answers_in_another_order(provider: ProviderServer, name: str) -> None:
    provider.fault(Fault("wrong-order"))
    mixed = embed(create(provider, name, base_url=f"{provider.url}/v1"), numbered(50))
    with ProviderServer("hash") as second:
        np.testing.assert_array_equal(mixed, embed(create(second, name), numbered(50)))


@every_function
@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("wrong-count", ProviderError, "19 vectors for 20 texts"),
        ("wrong-width", VectorError, r"gives vectors of \d+ dimensions, and \d+ were expected"),
        ("garbage", ProviderError, "no JSON"),
        ("nan", InputError, "row 0: .* gave a vector with NaN"),
        ("inf", InputError, "row 0: .* gave a vector with NaN or infinity"),
        ("zeros", InputError, "row 0: .* gave a vector of zeros"),
    ],
)
def test_unusable_answers_are_errors_and_not_kept(
    provider: ProviderServer, name: str, fault: str, error: type[Exception], words: str
) -> None:
    function = create(provider, name)
    provider.fault(Fault(fault))
    with pytest.raises(error, match=words):
        embed(function, numbered(20))
    assert np.isfinite(embed(function, numbered(20))).all()
    assert len(provider.seen[-1].texts) == (1 if error is InputError else 20)


# -- what is tried again ------------------------------------------------------------------------

PASSING = ["408", "409", "500", "502", "503", "cut", "cut-body", "slow"]


@every_function
def test_what_passes_is_tried_exactly_once_more(provider: ProviderServer, name: str) -> None:
    function = create(provider, name, batch_size=1, request_timeout=1)
    for kind in PASSING:
        provider.fault(Fault(kind, when=has(kind), seconds=3))
    assert len(embed(function, [*PASSING, "good"])) == 9
    sent = [text for seen in provider.seen for text in seen.texts]
    assert sorted(sent) == sorted([*PASSING, *PASSING, "good"])


@pytest.mark.parametrize(
    ("name", "fault"), [*((name, "429-retry-after") for name in PATHS), ("cached-openai", "429")]
)
def test_a_rate_limit_is_waited_for(provider: ProviderServer, name: str, fault: str) -> None:
    function = create(provider, name)
    provider.fault(Fault(fault, seconds=0.9))
    assert len(embed(function, ["a"])) == 1
    first, second = provider.seen
    assert second.at - first.at >= (0.9 if fault == "429-retry-after" else 0.5)
    assert second.at - first.at < 3


@every_function
@pytest.mark.parametrize("fault", ["400", "401", "403", "404", "quota", "garbage"])
def test_what_cannot_pass_is_sent_once(provider: ProviderServer, name: str, fault: str) -> None:
    function = create(provider, name)
    provider.fault(Fault(fault, times=-1))
    with pytest.raises(ProviderError) as error:
        embed(function, ["a", "b"])
    # Whether a 400 is about the texts, one more request tells.
    assert [seen.texts for seen in provider.seen] == [["a", "b"], *([["test"]] * (fault == "400"))]
    assert "test-key" not in str(error.value)


@pytest.mark.slow
def test_a_long_retry_after_is_honoured_by_all(provider: ProviderServer) -> None:
    provider.fault(Fault("429-retry-after", seconds=1.5))
    function = create(provider, batch_size=10, concurrency=4)
    embed(function, numbered(60))
    refused = min(seen.at for seen in provider.seen if seen.status == 429)
    pause = [seen.at - refused for seen in provider.seen if seen.at > refused + 0.1]
    assert min(pause) >= 1.4


def test_the_deadline_ends_retries(provider: ProviderServer) -> None:
    provider.fault(Fault("503", times=-1))
    started = time.monotonic()
    with pytest.raises(ProviderError, match=r"HTTP 503.*tried again for up to 2 seconds"):
        embed(create(provider, retry_deadline=2), ["a"])
    assert 2 <= len(provider.seen) <= 4
    assert time.monotonic() - started < 6


def test_a_wait_beyond_the_deadline_is_not_begun(provider: ProviderServer) -> None:
    provider.fault(Fault("429-retry-after", times=-1, seconds=3600))
    started = time.monotonic()
    with pytest.raises(ProviderError, match="429"):
        embed(create(provider, retry_deadline=5), ["a"])
    assert (len(provider.seen), time.monotonic() - started < 2) == (1, True)


def test_a_server_that_is_not_there_is_one_clear_error() -> None:
    with ProviderServer("hash") as server:
        function = create(server, retry_deadline=1)
    with pytest.raises(ProviderError, match="refused"):
        embed(function, ["a"])


# -- one bad text among many --------------------------------------------------------------------


def test_one_bad_text_in_2048(db: Any, provider: ProviderServer) -> None:
    provider.poison = {TEXTS[1234]}
    table = make_table(db, create(provider))
    with pytest.raises(RuntimeError, match=r"row 1234: .*The input is not valid.*2,047 texts"):
        add(table, TEXTS)
    assert len(provider.seen) <= 2 * 11 + 2
    provider.reset()
    provider.poison = set()
    add(table, TEXTS)
    assert provider.texts() == [TEXTS[1234]]
    assert table.count_rows() == 2048


@every_function
def test_several_bad_texts_are_all_named(provider: ProviderServer, name: str) -> None:
    provider.poison = {TEXTS[3], TEXTS[17], TEXTS[64]}
    with pytest.raises(InputError, match=r"rows 3, 17, 64: ") as error:
        embed(create(provider, name), TEXTS[:96])
    assert error.value.rows == (3, 17, 64)
    assert set(provider.texts()) - {"test"} == set(TEXTS[:96]) - provider.poison


def test_nothing_but_bad_texts(provider: ProviderServer) -> None:
    provider.poison = set(TEXTS[:9])
    with pytest.raises(InputError, match=r"rows 0, 1, 2, 3, 4 and 4 more: .*The other 0 texts"):
        embed(create(provider), TEXTS[:9])
    assert len(provider.seen) == 17 + 1


def test_a_wrong_configuration_is_not_taken_apart(provider: ProviderServer) -> None:
    provider.fault(Fault("400", times=-1))
    with pytest.raises(ProviderError, match="HTTP 400: The input is not valid"):
        embed(create(provider, batch_size=100, concurrency=3), numbered(1000))
    assert len(provider.seen) <= 3 + 1 + 2


def test_bad_texts_become_nulls_if_asked(db: Any, provider: ProviderServer) -> None:
    provider.poison = {TEXTS[3], TEXTS[40]}
    table = make_table(db, create(provider, on_error="null"))
    with pytest.warns(EmbeddingWarning, match=r"rows 3, 40: .*2 of 50 rows get no vector") as seen:
        add(table, TEXTS[:50], on_bad_vectors="null")
    assert len([one for one in seen if one.category is EmbeddingWarning]) == 1
    rows = table.to_arrow().to_pylist()
    assert [row["text"] for row in rows if row["vector"] is None] == [TEXTS[3], TEXTS[40]]


def test_nothing_but_nulls(db: Any, provider: ProviderServer) -> None:
    provider.poison = set(TEXTS[:3])
    table = make_table(db, create(provider, on_error="null"))
    with pytest.warns(EmbeddingWarning, match=r"3 of 3 rows"):
        add(table, TEXTS[:3], on_bad_vectors="null")
    assert [row["vector"] for row in table.to_arrow().to_pylist()] == [None] * 3


@pytest.mark.parametrize("on_error", ["raise", "null"])
def test_a_query_that_is_refused_is_an_error(provider: ProviderServer, on_error: str) -> None:
    provider.poison = {"bad"}
    with pytest.raises(InputError, match=r"refuses the query: .*The input is not valid"):
        create(provider, on_error=on_error).compute_query_embeddings_with_retry("bad")


def test_equal_texts_are_all_named(provider: ProviderServer) -> None:
    provider.poison = {"bad"}
    with pytest.raises(InputError, match=r"rows 1, 3: "):
        embed(create(provider), ["a", "bad", "b", "bad"])


# -- giving up ----------------------------------------------------------------------------------


@every_function
def test_what_was_answered_before_an_error_is_kept(
    db: Any, provider: ProviderServer, name: str
) -> None:
    function = create(provider, name, batch_size=10, concurrency=2)
    table = make_table(db, function)
    provider.fault(Fault("403", when=has(TEXTS[55])))
    with pytest.raises(RuntimeError, match=r"\d+ of 100 texts were embedded before") as error:
        add(table, TEXTS[:100])
    answered = provider.texts()
    assert f"{len(answered)} of 100" in str(error.value)
    assert len(answered) >= 50
    provider.reset()
    add(table, TEXTS[:100])
    assert sorted(provider.texts()) == sorted(set(TEXTS[:100]) - set(answered))
    assert table.count_rows() == 100


ADDING = """
import sys, lancedb, lancedb_embedders
from lancedb.embeddings import get_registry
from tests.hosted import make_table, add, numbered
function = get_registry().get("cached-openai").create(
    base_url=sys.argv[1], batch_size=10, concurrency=2
)
texts = numbered(2000)
if sys.argv[2] == "table":
    add(make_table(lancedb.connect("interrupted"), function), texts)
else:
    function.compute_source_embeddings(texts)
"""


@pytest.mark.parametrize(
    ("how", "fault"), [pytest.param("table", "503", marks=pytest.mark.slow), ("function", "")]
)
def test_an_interrupted_process_ends_and_sends_no_more(
    provider: ProviderServer, how: str, fault: str, tmp_path: Any
) -> None:
    provider.latency = 0.05
    command = [sys.executable, "-c", ADDING, f"{provider.url}/v1", how]
    env = {**os.environ, "PYTHONPATH": os.getcwd()}  # noqa: PTH109
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
    while len(provider.seen) < 10:
        time.sleep(0.02)
    if fault:
        provider.fault(Fault(fault, times=-1))
        time.sleep(2.5)
    process.send_signal(signal.SIGINT)
    sent, started = len(provider.seen), time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - started < 4, errors
    assert "KeyboardInterrupt" in errors
    assert process.returncode != 0
    assert len(provider.seen) <= sent + 4


def test_no_warning_without_a_reason(provider: ProviderServer) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        embed(create(provider), numbered(10))
