"""The server that stands in for the providers, asked by the providers' own clients."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import cohere
import httpx
import httpx2
import numpy as np
import openai
import pytest
import voyageai
import voyageai.error as voyage_errors
from cohere import errors as cohere_errors
from cohere.core import ApiError as CohereError
from google import genai
from google.genai import errors as google_errors
from google.genai import types
from huggingface_hub import InferenceClient, constants
from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError

from tests.providers import Fault, ProviderServer

SMALL = "text-embedding-3-small"


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Hugging Face's client ask: offline, it does not even ask 127.0.0.1."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with ProviderServer("hash") as server:
        yield server


def _openai(server: ProviderServer, key: str = "test-key", **options: Any) -> openai.OpenAI:
    return openai.OpenAI(api_key=key, base_url=f"{server.url}/v1", max_retries=0, **options)


def _cohere(server: ProviderServer, key: str = "test-key", **options: Any) -> cohere.ClientV2:
    return cohere.ClientV2(key, base_url=server.url, max_retries=0, **options)


def _voyage(server: ProviderServer, key: str = "test-key", **options: Any) -> Any:
    return voyageai.Client(  # type: ignore[attr-defined]
        key, base_url=f"{server.url}/v1", **options
    )


def _google(server: ProviderServer, key: str = "test-key", **options: Any) -> Any:
    return genai.Client(
        api_key=key,
        vertexai=False,
        http_options=types.HttpOptions(base_url=server.url, **options),
    )


def _tei(server: ProviderServer, key: str = "test-key", **options: Any) -> InferenceClient:
    return InferenceClient(base_url=server.url, token=key, **options)


def _ask(server: ProviderServer, provider: str, texts: list[str], **options: Any) -> np.ndarray:
    found: Any
    if provider == "openai":
        with _openai(server, **options) as client:
            answer: Any = client.embeddings.create(model=SMALL, input=texts)
        found = [item.embedding for item in answer.data]
    elif provider == "cohere":
        with _cohere(server, **options) as cohere_client:
            found = cohere_client.embed(
                model="embed-v4.0",
                texts=texts,
                input_type="search_document",
                embedding_types=["float"],
            ).embeddings.float_
    elif provider == "voyage":
        found = _voyage(server, **options).embed(texts, "voyage-4").embeddings
    elif provider == "google":
        google = _google(server, **options)  # its models stop working when it is forgotten
        answer = google.models.embed_content(model="gemini-embedding-001", contents=texts)
        found = [item.values for item in answer.embeddings]
    else:
        found = _tei(server, **options).feature_extraction(texts)
    return np.asarray(found, np.float32)


WIDTHS = {"openai": 1536, "cohere": 1536, "voyage": 1024, "google": 3072, "huggingface": 384}


@pytest.mark.parametrize(("provider", "width"), WIDTHS.items())
def test_each_client_gets_vectors(server: ProviderServer, provider: str, width: int) -> None:
    found = _ask(server, provider, ["one", "two"])
    again = _ask(server, provider, ["two"])

    assert found.shape == (2, width)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(found[1], again[0])
    assert abs(found[0] @ found[1]) < 0.2
    assert [seen.provider for seen in server.seen] == [provider] * 2
    assert server.texts() == ["one", "two", "two"]
    assert all(seen.key_ok and seen.status == 200 for seen in server.seen)
    assert "test-key" not in repr(server.seen)


def test_minilm_finds_what_means_the_same() -> None:
    with ProviderServer() as server:
        found = _ask(server, "huggingface", ["a small cat", "a kitten", "tax law"])
        padded = _ask(server, "openai", ["a small cat"])
        with _openai(server) as client:
            short = client.embeddings.create(model=SMALL, input="a small cat", dimensions=64)

    assert found[0] @ found[1] > found[0] @ found[2] + 0.3
    np.testing.assert_allclose(padded[0, :384], found[0], atol=1e-6)
    assert not padded[0, 384:].any()
    cut = found[0, :64] / np.linalg.norm(found[0, :64])
    np.testing.assert_allclose(short.data[0].embedding, cut, atol=1e-6)


def test_roles_change_vectors(server: ProviderServer) -> None:
    with _cohere(server) as client:
        found = client.embed(
            model="embed-v4.0",
            texts=["x"],
            input_type="search_query",
            embedding_types=["float", "base64", "int8"],
            output_dimension=256,
        )
        as_document = client.embed(
            model="embed-v4.0",
            texts=["query: x"],
            input_type="search_document",
            output_dimension=256,
        )
    assert found.embeddings.float_ == as_document.embeddings.float_
    assert np.shape(found.embeddings.int8) == (1, 256)
    letters = base64.b64decode((found.embeddings.base64 or [""])[0])
    assert found.embeddings.float_
    np.testing.assert_array_equal(
        np.frombuffer(letters, np.float32), np.array(found.embeddings.float_[0], np.float32)
    )

    voyage = _voyage(server)
    queries = voyage.embed(["x"], "voyage-4", input_type="query", output_dimension=512)
    assert (
        queries.embeddings
        == voyage.embed(["query: x"], "voyage-4", output_dimension=512).embeddings
    )

    google = _google(server)
    config = types.EmbedContentConfig(task_type="RETRIEVAL_QUERY", output_dimensionality=768)
    query = google.models.embed_content(model="gemini-embedding-001", contents="x", config=config)
    config = types.EmbedContentConfig(output_dimensionality=768)
    same = google.models.embed_content(
        model="gemini-embedding-001", contents="query: x", config=config
    )
    assert query.embeddings[0].values == same.embeddings[0].values
    assert np.linalg.norm(query.embeddings[0].values) == pytest.approx(0.5)

    tei = _tei(server)
    np.testing.assert_array_equal(
        tei.feature_extraction(["x"], prompt_name="query"), tei.feature_extraction(["query: x"])
    )
    assert [seen.role for seen in server.seen] == [
        *("search_query", "search_document", "query", None),
        *("RETRIEVAL_QUERY", None, "query", None),
    ]
    assert [seen.dims for seen in server.seen] == [256, 256, 512, 512, 768, 768, None, None]


def test_gemini_2_makes_one_vector_of_several_strings(server: ProviderServer) -> None:
    google = _google(server)
    merged = google.models.embed_content(model="gemini-embedding-2", contents=["a", "b"])
    apart = google.models.embed_content(
        model="gemini-embedding-2",
        contents=[types.Content(parts=[types.Part(text=text)]) for text in "ab"],
    )
    assert (len(merged.embeddings), len(apart.embeddings)) == (1, 2)
    mean = np.mean([one.values for one in apart.embeddings], axis=0)
    np.testing.assert_allclose(merged.embeddings[0].values, mean / np.linalg.norm(mean), atol=1e-6)


@pytest.mark.parametrize("model", ["gemini-embedding-001", "text-embedding-005"])
def test_vertex_paths(server: ProviderServer, model: str) -> None:
    client: Any = genai.Client(
        vertexai=True, api_key="test-key", http_options=types.HttpOptions(base_url=server.url)
    )
    for texts in (["a"], ["a", "b"]):
        answer = client.models.embed_content(model=model, contents=texts)
        assert len(answer.embeddings) == len(texts)
    assert server.texts() == ["a", "a", "b"]


@pytest.mark.parametrize("dims", [100, 192, 194, 256, 1000, 1536])
def test_base64_and_floats_are_the_same(server: ProviderServer, dims: int) -> None:
    with _openai(server) as client:
        ask = {"model": SMALL, "input": ["a", "b"], "dimensions": dims}
        letters = client.embeddings.create(**ask)  # type: ignore[arg-type]
        numbers = client.embeddings.create(**ask, encoding_format="float")  # type: ignore[arg-type]
    assert [seen.encoding for seen in server.seen] == ["base64", "float"]
    for one, other in zip(letters.data, numbers.data, strict=True):
        np.testing.assert_array_equal(
            np.array(one.embedding, np.float32), np.array(other.embedding, np.float32)
        )


STATUSES: dict[str, dict[str, type[Exception]]] = {
    "openai": {
        "429": openai.RateLimitError,
        "quota": openai.RateLimitError,
        "500": openai.InternalServerError,
        "502": openai.InternalServerError,
        "408": openai.APIStatusError,
        "409": openai.ConflictError,
        "413": openai.APIStatusError,
        "401": openai.AuthenticationError,
        "403": openai.PermissionDeniedError,
        "404": openai.NotFoundError,
        "400": openai.BadRequestError,
        "max-tokens-per-request": openai.BadRequestError,
        "cut": openai.APIConnectionError,
        "cut-body": openai.APIConnectionError,
        "garbage": AttributeError,
    },
    "cohere": {
        "429": cohere_errors.TooManyRequestsError,
        "quota": cohere_errors.TooManyRequestsError,
        "500": cohere_errors.InternalServerError,
        "502": CohereError,
        "503": cohere_errors.ServiceUnavailableError,
        "401": cohere_errors.UnauthorizedError,
        "404": cohere_errors.NotFoundError,
        "400": cohere_errors.BadRequestError,
        "cut": httpx.RemoteProtocolError,
        "cut-body": httpx.RemoteProtocolError,
        "garbage": CohereError,
    },
    "voyage": {
        "429": voyage_errors.RateLimitError,
        "quota": voyage_errors.RateLimitError,
        "500": voyage_errors.ServerError,
        "502": voyage_errors.ServiceUnavailableError,
        "413": voyage_errors.APIError,
        "401": voyage_errors.AuthenticationError,
        "403": voyage_errors.APIError,
        "400": voyage_errors.InvalidRequestError,
        "cut": voyage_errors.APIConnectionError,
        "cut-body": voyage_errors.APIConnectionError,
        "garbage": voyage_errors.APIError,
    },
    "google": {
        "429": google_errors.ClientError,
        "quota": google_errors.ClientError,
        "500": google_errors.ServerError,
        "502": google_errors.ServerError,
        "401": google_errors.ClientError,
        "404": google_errors.ClientError,
        "cut": Exception,
        "cut-body": Exception,
        "garbage": json.JSONDecodeError,
    },
    "huggingface": {
        "429": HfHubHTTPError,
        "quota": HfHubHTTPError,
        "500": HfHubHTTPError,
        "503": HfHubHTTPError,
        "401": HfHubHTTPError,
        "max-tokens-per-request": HfHubHTTPError,
        "cut": Exception,
        "cut-body": Exception,
        "garbage": json.JSONDecodeError,
    },
}


@pytest.mark.parametrize("provider", STATUSES)
def test_faults_raise_what_the_client_raises(server: ProviderServer, provider: str) -> None:
    for kind, error in STATUSES[provider].items():
        server.fault(Fault(kind))
        with pytest.raises(error):
            _ask(server, provider, ["text"])
        if kind in ("cut", "cut-body"):
            assert server.seen[-1].status == 0
    assert len(_ask(server, provider, ["text"])) == 1


def test_faults_spoil_answers(server: ProviderServer) -> None:
    good = _ask(server, "openai", ["a", "b"])
    spoilt = {}
    for kind in ("nan", "inf", "zeros", "wrong-width", "wrong-count", "wrong-order"):
        server.fault(Fault(kind))
        spoilt[kind] = _ask(server, "openai", ["a", "b"])
    assert np.isnan(spoilt["nan"][0, 0])
    assert np.isinf(spoilt["inf"][0, 0])
    assert not spoilt["zeros"][0].any()
    assert spoilt["wrong-width"].shape == (2, 1535)
    np.testing.assert_array_equal(spoilt["wrong-count"], good[:1])
    np.testing.assert_array_equal(spoilt["wrong-order"], good[::-1])

    server.fault(Fault("nan"))
    assert np.isnan(_ask(server, "google", ["a", "b"])[0, 0])  # as a number in JSON


def test_faults_hit_what_they_are_meant_for(server: ProviderServer) -> None:
    server.fault(Fault("500", times=-1, when=lambda seen: "b" in seen.texts))
    server.fault(Fault("429-retry-after", seconds=0.5))
    with pytest.raises(openai.RateLimitError) as caught:
        _ask(server, "openai", ["a"])
    assert caught.value.response.headers["retry-after"] == "0.5"
    assert caught.value.response.headers["retry-after-ms"] == "500"
    _ask(server, "openai", ["a"])
    for _ in range(3):
        with pytest.raises(openai.InternalServerError):
            _ask(server, "openai", ["a", "b"])
    assert server.texts() == ["a"]
    server.reset()
    assert len(_ask(server, "openai", ["b"])) == 1
    assert server.texts() == ["b"]

    server.fault(Fault("429-retry-after", seconds=7))
    with pytest.raises(google_errors.ClientError) as refused:
        _ask(server, "google", ["a"])
    assert refused.value.details["error"]["details"][0]["retryDelay"] == "7s"


TIMEOUTS: dict[str, tuple[type[Exception], dict[str, Any]]] = {
    "openai": (openai.APITimeoutError, {"timeout": 0.1}),
    "cohere": (httpx.ReadTimeout, {"timeout": 0.1}),
    "voyage": (voyage_errors.Timeout, {"timeout": 0.1}),
    "google": (httpx2.ReadTimeout, {"timeout": 100}),
    "huggingface": (InferenceTimeoutError, {"timeout": 0.1}),
}


@pytest.mark.parametrize("provider", TIMEOUTS)
def test_a_slow_answer_is_a_timeout(server: ProviderServer, provider: str) -> None:
    error, options = TIMEOUTS[provider]
    server.fault(Fault("slow", seconds=0.3))
    with pytest.raises(error):
        _ask(server, provider, ["text"], **options)


@pytest.mark.parametrize("provider", WIDTHS)
def test_wrong_keys_and_poison_are_refused(server: ProviderServer, provider: str) -> None:
    with pytest.raises(Exception, match="wrong-key"):
        _ask(server, provider, ["text"], key="wrong-key")
    assert [seen.key_ok for seen in server.seen] == [False]
    assert "wrong-key" not in repr(server.seen)

    server.poison = {"bad"}
    with pytest.raises(Exception, match=r"(?i)embedded|not valid|invalid"):
        _ask(server, provider, ["good", "bad"])
    assert [seen.status for seen in server.seen][1:] == [400]
    assert server.texts() == []


LIMITS = {
    "openai": [(["x"] * 2049, "array too long"), (["x" * 32_000] * 40, "Requested 320000 tokens")],
    "cohere": [(["x"] * 97, "at most 96 - received 97")],
    "voyage": [(["x"] * 1001, "batch size"), (["x" * 120_000] * 11, "after truncation")],
    "google": [(["x"] * 101, "at most 100 requests")],
    "huggingface": [(["x"] * 33, "maximum allowed batch size 32"), (["x" * 4000], "less than 512")],
}


@pytest.mark.parametrize("provider", LIMITS)
def test_limits(server: ProviderServer, provider: str) -> None:
    for texts, message in LIMITS[provider]:
        with pytest.raises(Exception, match=message):
            _ask(server, provider, texts)
    server.enforce_limits = False
    texts, _ = LIMITS[provider][0]
    assert len(_ask(server, provider, texts)) == len(texts)


def test_openai_refuses_an_empty_text_and_one_that_is_too_long(server: ProviderServer) -> None:
    for text, message in {"": "is invalid", "x" * 40_000: "maximum context length"}.items():
        with pytest.raises(openai.BadRequestError, match=message):
            _ask(server, "openai", ["good", text])


def test_rate_limits(server: ProviderServer) -> None:
    server.rate = (60, 30)
    with _openai(server) as client:
        ask = client.embeddings.with_raw_response.create
        answer = ask(model=SMALL, input=["x" * 80])
        assert answer.headers["x-ratelimit-limit-tokens"] == "30"
        assert answer.headers["x-ratelimit-remaining-requests"] == "59"
        with pytest.raises(openai.RateLimitError) as caught:
            ask(model=SMALL, input=["x" * 80])
        with pytest.raises(openai.RateLimitError, match="Request too large"):
            ask(model=SMALL, input=["x" * 160])
    assert caught.value.type == "tokens"
    assert caught.value.code == "rate_limit_exceeded"
    assert 15 < float(caught.value.response.headers["retry-after"]) <= 20
    with pytest.raises(CohereError):
        _ask(server, "cohere", ["x" * 80])


def test_azure_and_ollama_paths(server: ProviderServer) -> None:
    azure = openai.AzureOpenAI(
        api_key="test-key", azure_endpoint=server.url, api_version="2024-10-21", max_retries=0
    )
    with azure:
        assert azure.embeddings.create(model="text-embedding-3-small", input="a").data
    with openai.OpenAI(api_key="test-key", base_url=f"{server.url}/openai/v1") as newer:
        assert newer.embeddings.create(model="mine", input="a").data
    body = {"model": "all-minilm", "input": ["a", "b"], "dimensions": 200}
    answer = httpx.post(f"{server.url}/api/embed", json=body).json()
    assert np.shape(answer["embeddings"]) == (2, 200)
    assert [seen.provider for seen in server.seen] == ["openai", "openai", "ollama"]


@pytest.mark.parametrize("provider", ["openai", "voyage"])
def test_batches(server: ProviderServer, provider: str) -> None:
    server.poison = {"bad"}
    model = {"openai": SMALL, "voyage": "voyage-4"}[provider]
    lines: list[dict[str, Any]] = [
        {"custom_id": f"line {text}", "body": {"input": [text, "and"]}}
        for text in ("a", "bad", "c")
    ]
    options: dict[str, Any] = {"completion_window": "12h"}
    if provider == "voyage":
        options["extra_body"] = {"request_params": {"model": model, "input_type": "query"}}
    else:
        options["completion_window"] = "24h"
        for line in lines:
            line.update(method="POST", url="/v1/embeddings")
            line["body"]["model"] = model
    content = "\n".join(map(json.dumps, lines)).encode()
    with _openai(server) as client:
        file = client.files.create(file=("lines.jsonl", content), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", **options)
        states = [batch.status]
        while batch.status not in ("completed", "failed"):
            batch = client.batches.retrieve(batch.id)
            states.append(batch.status)
        assert [one.id for one in client.batches.list(limit=1)] == [batch.id]
        answers = client.files.content(batch.output_file_id or "").text.splitlines()
        errors = client.files.content(batch.error_file_id or "").text.splitlines()
    assert states == ["validating", "in_progress", "completed"]
    assert [json.loads(line)["custom_id"] for line in answers] == ["line c", "line a"]
    assert len(json.loads(answers[0])["response"]["body"]["data"]) == 2
    assert [json.loads(line)["response"]["status_code"] for line in errors] == [400]
    assert server.texts() == ["a", "and", "c", "and"]
    assert {(seen.provider, seen.path) for seen in server.seen} == {(provider, "/v1/batches")}


@pytest.mark.parametrize("outcome", ["failed", "expired", "cancelled"])
def test_batches_that_do_not_complete(server: ProviderServer, outcome: str) -> None:
    server.batch_polls, server.batch_outcome = 1, outcome
    lines = [{"custom_id": text, "body": {"input": text, "model": SMALL}} for text in "abcd"]
    content = "\n".join(map(json.dumps, lines)).encode()
    with _openai(server) as client:
        file = client.files.create(file=("lines.jsonl", content), purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h"
        )
        batch = client.batches.retrieve(batch.id)
    assert batch.status == outcome
    assert server.texts() == ([] if outcome == "failed" else ["a", "b"])


def test_it_is_a_process_as_well() -> None:
    command = [sys.executable, "-m", "tests.providers", "--dims", "1536", "--rate", "100"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        url = process.stdout.readline().strip()
        with openai.OpenAI(api_key="test-key", base_url=f"{url}/v1") as client:
            start = time.monotonic()
            answer = client.embeddings.create(model="any", input=["a"] * 20)
            assert len(answer.data[0].embedding) == 1536
            assert time.monotonic() - start > 0.2
        with urllib.request.urlopen(f"{url}/seen") as counters:
            assert json.load(counters) == {"requests": 1, "answered": 1, "texts": 20}
        process.stdin.close()
        assert process.wait(10) == 0


def test_a_stopped_server_leaves_no_connection_open() -> None:
    with ProviderServer("hash") as server, _openai(server) as client:
        client.embeddings.create(model=SMALL, input="a")
        server.stop()
        with pytest.raises(openai.APIConnectionError):
            client.embeddings.create(model=SMALL, input="a")
