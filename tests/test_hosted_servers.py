"""Each provider as it is, and servers that speak like one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from lancedb.embeddings import get_registry

from lancedb_embedders import ConfigurationError, ProviderError, settings
from tests.hosted import add, create, embed, every_function, make_table, numbered
from tests.providers import ProviderServer

TEXTS = ["Python is great", "Die Straße ist lang", "東京は大きい", "a\nb\n\nc", "x " * 100]


@pytest.fixture(scope="module")
def minilm() -> Iterator[ProviderServer]:
    with ProviderServer("minilm") as server:
        yield server


@pytest.fixture(scope="module")
def expected() -> Any:
    return np.asarray(get_registry().get("sbert").create().compute_source_embeddings(TEXTS))


@every_function
def test_vectors_are_those_of_sentence_transformers(
    minilm: ProviderServer, expected: Any, name: str
) -> None:
    model = {} if name == "cached-huggingface" else {"truncate_dim": 384}
    vectors = embed(create(minilm, name, **model), TEXTS)
    assert vectors.dtype == np.float32
    assert (vectors * expected).sum(axis=1).min() > 0.999


@pytest.mark.parametrize(
    ("name", "dim"),
    [
        ("cached-openai", 512),
        ("cached-cohere", 256),
        ("cached-voyage", 2048),
        ("cached-google", 768),
    ],
)
def test_dimensions_are_asked_for(db: Any, provider: ProviderServer, name: str, dim: int) -> None:
    function = create(provider, name, dim=dim)
    table = make_table(db, function)
    add(table, ["a"])
    assert {seen.dims for seen in provider.seen} == {dim}
    [vector] = table.to_arrow()["vector"].to_pylist()
    assert len(vector) == dim
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_dimensions_that_a_model_does_not_have(provider: ProviderServer) -> None:
    function = create(provider, name="text-embedding-ada-002", dim=512)
    with pytest.raises(ConfigurationError, match="gives 1536 dimensions and no others"):
        embed(function, ["a"])
    assert provider.seen == []


# -- roles --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "roles"),
    [
        ("cached-openai", {}, [None, None]),
        ("cached-cohere", {}, ["search_document", "search_query"]),
        (
            "cached-cohere",
            {"document_input_type": "clustering", "query_input_type": "clustering"},
            ["clustering", "clustering"],
        ),
        ("cached-voyage", {}, ["document", "query"]),
        ("cached-google", {}, ["RETRIEVAL_DOCUMENT", "RETRIEVAL_QUERY"]),
        (
            "cached-google",
            {"document_task": "CLASSIFICATION", "query_task": "QUESTION_ANSWERING"},
            ["CLASSIFICATION", "QUESTION_ANSWERING"],
        ),
        ("cached-google", {"name": "gemini-embedding-2"}, [None, None]),
        ("cached-huggingface", {}, [None, None]),
    ],
)
def test_providers_are_told_what_texts_are_for(
    provider: ProviderServer, name: str, options: dict[str, Any], roles: list[str | None]
) -> None:
    function = create(provider, name, **options)
    embed(function, ["same text"])
    function.compute_query_embeddings_with_retry("same text")
    if roles[0] != roles[1]:
        assert [seen.role for seen in provider.seen] == roles
    else:
        assert provider.seen[0].role == roles[0]


@pytest.mark.parametrize(
    ("name", "model", "sent"),
    [
        (
            "cached-google",
            "gemini-embedding-2",
            ["title: none | text: tea", "task: search result | query: tea"],
        ),
        ("cached-huggingface", "intfloat/multilingual-e5-small", ["passage: tea", "query: tea"]),
        ("cached-openai", "intfloat/multilingual-e5-small", ["passage: tea", "query: tea"]),
    ],
)
def test_prompts_come_from_the_catalogue(
    provider: ProviderServer, name: str, model: str, sent: list[str]
) -> None:
    function = create(provider, name, name=model)
    embed(function, ["tea"])
    function.compute_query_embeddings_with_retry("tea")
    assert provider.texts() == sent
    assert function.safe_model_dump()["document_prompt"] == sent[0].removesuffix("tea")


def test_prompts_can_be_left_out(provider: ProviderServer) -> None:
    embed(create(provider, "cached-google", name="gemini-embedding-2", document_prompt=""), ["tea"])
    assert provider.texts() == ["tea"]


@every_function
def test_texts_are_sent_as_given(provider: ProviderServer, name: str) -> None:
    texts = ["a\nb\r\n\tc", "  spaces  ", "e\u0301 👩‍👧", "<|endoftext|>"]
    embed(create(provider, name), texts)
    assert provider.texts() == texts


# -- Google -------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["gemini-embedding-001", "gemini-embedding-2"])
@pytest.mark.parametrize("version", [None, "v1", "v1beta"])
def test_each_text_has_a_vector_of_its_own(
    provider: ProviderServer, model: str, version: str | None
) -> None:
    function = create(provider, "cached-google", name=model, api_version=version)
    together = embed(function, numbered(7))
    assert len(np.unique(together, axis=0)) == 7
    assert {seen.path.split("/")[1] for seen in provider.seen} <= {version or "v1", "v1beta"}
    with settings.override(cache_dir=settings.cache_dir / "other"):
        np.testing.assert_allclose(embed(function, numbered(7)[3:4])[0], together[3], atol=1e-6)


def test_vertex_ai_in_express_mode(
    provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VERTEX_KEY", "test-key")
    function = create(provider, "cached-google", vertexai=True, api_key_env="VERTEX_KEY")
    assert len(np.unique(embed(function, numbered(7)), axis=0)) == 7
    assert all("/publishers/google/models/" in seen.path for seen in provider.seen)
    assert function.usage().tokens == sum(map(provider.count_tokens, numbered(7)))


def test_vertex_ai_without_credentials_is_a_clear_error(
    provider: ProviderServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    function = create(provider, "cached-google", vertexai=True, project="p", location="us-central1")
    with pytest.raises(ProviderError, match=r"no credentials for Vertex AI: .*none.json"):
        embed(function, ["a"])
    assert provider.seen == []


# -- servers that speak like OpenAI -------------------------------------------------------------


def test_dimensions_are_asked_once_and_stored(
    db: Any, provider: ProviderServer, python: Callable[..., str]
) -> None:
    function = create(provider, name="a-model-of-my-own")
    table = make_table(db, function)
    assert [len(seen.texts) for seen in provider.seen] == [1]
    assert table.schema.field("vector").type.list_size == provider.dims
    add(table, numbered(3))
    assert [len(seen.texts) for seen in provider.seen] == [1, 3]
    provider.reset()
    code = """
import sys, lancedb, lancedb_embedders
table = lancedb.connect(sys.argv[1]).open_table("t")
table.add([{"text": "one more"}])
print(len(table.search("a query").limit(9).to_list()))
"""
    assert python(code, str(db.uri)).strip() == "4"
    assert provider.texts() == ["one more", "a query"]


def test_ollama_by_its_openai_path(provider: ProviderServer) -> None:
    provider.keys = frozenset()
    function = create(provider, name="nomic-embed-text:latest", dim=provider.dims)
    assert embed(function, numbered(3)).shape == (3, provider.dims)


def test_lists_of_numbers_are_taken_too(provider: ProviderServer) -> None:
    # TEI and Ollama's own paths answer so, whatever they are asked for.
    function = create(provider, "cached-huggingface", base_url=f"{provider.url}/embed")
    vectors = embed(function, numbered(3))
    assert vectors.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_key_is_not_needed_on_ones_own_server(
    provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.keys = frozenset()
    monkeypatch.delenv("OPENAI_API_KEY")
    assert len(embed(create(provider), ["a"])) == 1


def test_azure(provider: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> None:
    provider.keys = frozenset({"azure-key"})
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-key")
    function = (
        get_registry()
        .get("cached-openai")
        .create(
            azure_endpoint=provider.url,
            azure_deployment="text-embedding-3-large",
            dim=3072,
            api_version="2024-10-21",
        )
    )
    assert len(embed(function, ["a"])) == 1
    [seen] = provider.seen
    assert seen.path == "/openai/deployments/text-embedding-3-large/embeddings"
    assert seen.key_ok


def test_azures_key_and_openais_are_not_mixed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-key")
    openai = get_registry().get("cached-openai")
    azure = openai.create(azure_endpoint="https://x.openai.azure.com", api_version="2024-10-21")
    compatible = openai.create(base_url="https://x.openai.azure.com/openai/v1")
    assert openai.create().find_key() == "test-key"
    assert azure.find_key() == compatible.find_key() == "azure-key"


def test_azure_needs_a_version() -> None:
    with pytest.raises(ConfigurationError, match="azure_endpoint needs an api_version"):
        get_registry().get("cached-openai").create(azure_endpoint="https://x.openai.azure.com")


def test_openai_base_url_counts_when_the_function_is_made(
    db: Any, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{provider.url}/v1/")
    table = make_table(db, get_registry().get("cached-openai").create())
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    add(table, ["a"])
    add(db.open_table("t"), ["b"])
    assert provider.texts() == ["a", "b"]


def test_another_server_has_vectors_of_its_own(provider: ProviderServer) -> None:
    embed(create(provider), ["a"])
    with ProviderServer("hash") as other:
        embed(create(other), ["a"])
        assert other.texts() == ["a"]


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://localhost", "", "http://"])
def test_base_url_must_be_one(url: str) -> None:
    if url:
        with pytest.raises(ConfigurationError, match="base_url is the address of a server"):
            get_registry().get("cached-openai").create(base_url=url)
