"""Keys: where they come from, where they go, and where they never show."""

from __future__ import annotations

import logging
import pickle
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lancedb.embeddings import get_registry
from pydantic import SecretStr

import lancedb_embedders
from lancedb_embedders import ConfigurationError, EmbeddingError
from lancedb_embedders.hosted import access
from tests.hosted import KEY_NAMES, add, create, embed, every_function, make_table, numbered
from tests.providers import Fault, ProviderServer

KEY = "sk-very-secret-4711-abcdefgh"
PACKAGE = str(Path(lancedb_embedders.__file__).parent)


@pytest.fixture
def keyed(provider: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> ProviderServer:
    """A server that takes one key, which is set, and no other."""
    provider.keys = frozenset({KEY})
    for variable in KEY_NAMES.values():
        monkeypatch.setenv(variable, KEY)
    return provider


def shown(error: BaseException) -> str:
    """Return an error as a debugger would show it: with the variables of this package's frames."""
    found = [str(error), repr(error), "".join(traceback.format_exception(error))]
    whole = traceback.TracebackException.from_exception(error, capture_locals=True)
    for frame in whole.stack:
        if frame.filename.startswith(PACKAGE):
            found += (frame.locals or {}).values()
    return "\n".join(found)


# -- where it never shows -----------------------------------------------------------------------


@every_function
def test_the_key_is_nowhere(
    db: Any, tmp_path: Path, keyed: ProviderServer, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    function = create(keyed, name)
    with caplog.at_level(logging.DEBUG):
        table = make_table(db, function)
        add(table, numbered(3))
        assert len(table.search("a query").limit(1).to_list()) == 1
    assert all(seen.key_ok for seen in keyed.seen)
    assert len(keyed.seen) == 2
    places = [repr(function), str(function), caplog.text, repr(function.safe_model_dump())]
    places += [repr(function.model_dump()), function.identity(), repr(vars(function))]
    assert not [place for place in places if KEY in place]
    files = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) > 3
    assert not [content for content in [*files, pickle.dumps(function)] if KEY.encode() in content]


FAULTS = ["401", "403", "500", "slow", "cut", "garbage", "wrong-count", "wrong-width", "nan"]


@every_function
@pytest.mark.parametrize("fault", FAULTS)
def test_no_error_shows_the_key(
    keyed: ProviderServer, name: str, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    function = create(keyed, name, retry_deadline=0.1, request_timeout=0.2)
    keyed.fault(Fault(fault, times=-1))
    with caplog.at_level(logging.DEBUG), pytest.raises(EmbeddingError) as error:
        embed(function, numbered(3))
    assert KEY not in shown(error.value)
    assert KEY not in caplog.text


@every_function
def test_a_wrong_key_is_one_error_without_it(
    provider: ProviderServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_NAMES[name], KEY)
    with pytest.raises(EmbeddingError, match="key is not accepted") as error:
        embed(create(provider, name), numbered(3))
    assert KEY not in shown(error.value)
    assert len(provider.seen) == 1


@pytest.mark.parametrize("words", [f"bad {KEY}", "bad sk-v*******efgh!", "bad sk-v...***...efgh"])
def test_scrubbed_words_hold_no_key(words: str) -> None:
    assert access.scrub(words, KEY).startswith("bad ***")


@pytest.mark.parametrize("bad", [f"{KEY}ü", f"{KEY} {KEY}", f"{KEY}\n{KEY}"])
@every_function
def test_a_key_that_no_header_can_hold(
    keyed: ProviderServer, name: str, bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_NAMES[name], bad)
    with pytest.raises(ConfigurationError, match=f"the key in {KEY_NAMES[name]} holds") as error:
        embed(create(keyed, name), ["a"])
    assert KEY not in shown(error.value)


def test_a_line_break_behind_the_key_is_left_out(
    keyed: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    assert len(embed(create(keyed), ["a"])) == 1


# -- where it comes from ------------------------------------------------------------------------


@every_function
def test_only_the_name_of_its_variable_is_stored(
    db: Any, provider: ProviderServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.keys = frozenset({KEY})
    monkeypatch.setenv("MY_OWN_KEY", KEY)
    function = create(provider, name, api_key_env="MY_OWN_KEY")
    add(make_table(db, function), numbered(2))
    assert function.safe_model_dump()["api_key_env"] == "MY_OWN_KEY"
    assert db.open_table("t").search("query").limit(1).to_list()
    assert {seen.key_ok for seen in provider.seen} == {True}


@every_function
def test_a_key_from_lancedbs_variables(db: Any, provider: ProviderServer, name: str) -> None:
    provider.keys = frozenset({KEY})
    get_registry().set_var("hosted_key", KEY)
    function = create(provider, name, api_key="$var:hosted_key")
    table = make_table(db, function)
    add(table, numbered(2))
    assert function.safe_model_dump()["api_key"] == "$var:hosted_key"
    assert {seen.key_ok for seen in provider.seen} == {True}


@every_function
@pytest.mark.parametrize("written", [KEY, f"$var:no_such:{KEY}"])
def test_a_key_that_a_table_would_store_is_refused(
    provider: ProviderServer, name: str, written: str
) -> None:
    with pytest.raises(ConfigurationError, match="api_key is a secret") as error:
        create(provider, name, api_key=written)
    assert KEY not in str(error.value)


def test_a_key_in_place_of_its_variables_name(provider: ProviderServer) -> None:
    with pytest.raises(ConfigurationError, match="api_key_env") as error:
        create(provider, api_key_env=KEY)
    assert KEY not in str(error.value)


@pytest.mark.parametrize(
    "header",
    ["Authorization", "X-API-Key", "api-key", "apikey", "apiKey", "Cookie", "X-Auth-Token"],
)
def test_headers_that_carry_credentials_are_refused(provider: ProviderServer, header: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{header}.*looks like a credential") as error:
        create(provider, headers={header: KEY})
    assert KEY not in str(error.value)


def test_other_headers_are_sent(provider: ProviderServer) -> None:
    embed(create(provider, headers={"OpenAI-Project": "p1", "X-Monkeys": "3"}), ["a"])
    assert provider.seen[0].headers["openai-project"] == "p1"


URLS = [
    "https://user:{}@example.com/v1",
    "https://{}@example.com/v1",
    "https://example.com/v1?key={}",
    "https://example.com/v1?apikey={}",
    "https://example.com/v1?v=1&access_token={}",
    "https://example.com/v1?sig={}",
]


@every_function
@pytest.mark.parametrize("url", URLS)
def test_credentials_in_base_url_are_refused(name: str, url: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}: base_url holds") as error:
        get_registry().get(name).create(base_url=url.format(KEY))
    assert KEY not in str(error.value)


def test_azures_endpoint_is_checked_as_well() -> None:
    with pytest.raises(ConfigurationError, match="base_url holds") as error:
        get_registry().get("cached-openai").create(
            azure_endpoint=URLS[0].format(KEY), api_version="2024-10-21"
        )
    assert KEY not in str(error.value)


# -- where it goes ------------------------------------------------------------------------------


def find(url: str, trusted: tuple[str, ...] = (), given: str | None = None) -> str | None:
    secret = None if given is None else SecretStr(given)
    return access.find_key(secret, ["OPENAI_API_KEY"], url, ["api.openai.com"], trusted, "f")


@pytest.mark.parametrize(
    "url",
    ["https://api.openai.com/v1", "http://localhost:1/v1", "http://127.0.0.2", "http://[::1]"],
)
def test_the_provider_and_this_machine_get_the_key(url: str) -> None:
    assert find(url) == "test-key"
    assert find(url, given=KEY) == KEY


@pytest.mark.parametrize(
    "url", ["https://api.openai.com.evil.org", "https://10.0.0.1", "https://localhost.evil.org/v1"]
)
def test_strangers_do_not_get_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="TRUSTED_HOSTS") as error:
        find(url, given=KEY)
    assert KEY not in shown(error.value)


def test_trusted_hosts_get_it() -> None:
    assert find("https://llm.corp.example", ("llm.corp.example",)) == "test-key"
    assert find("https://a.b.corp.example", (".corp.example",)) == "test-key"
    with pytest.raises(ConfigurationError):
        find("https://evilcorp.example", (".corp.example",))


@every_function
def test_without_a_key_there_is_one_clear_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cls: Any = get_registry().get(name)
    for variable in (KEY_NAMES[name], *cls.other_key_variables):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ConfigurationError, match=f"{name}: no key. Set .* {KEY_NAMES[name]}"):
        embed(cls.create(), ["a"])


@every_function
def test_vectors_are_added_and_searched_without_key_and_server(
    db: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_NAMES[name])
    with ProviderServer("hash") as server:
        function = create(server, name)
    vectors = np.random.default_rng(0).random((3, function.ndims()), dtype=np.float32)
    table = make_table(db, function)
    table.add([{"text": text, "vector": v} for text, v in zip("abc", vectors, strict=True)])
    assert table.search(vectors[1]).limit(1).to_list()[0]["text"] == "b"
    assert server.seen == []
