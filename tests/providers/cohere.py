"""Cohere, version 2 of its API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from uuid import uuid4

from tests.providers.vectors import Form
from tests.providers.wire import (
    Ask,
    Columns,
    CountTokens,
    Messages,
    Provider,
    RefusalError,
    Reply,
    dump,
    strings,
)

MOST_TEXTS = 96

_ROLES = frozenset({"search_document", "search_query", "classification", "clustering", "image"})
_TYPES = frozenset({"float", "int8", "uint8", "binary", "ubinary", "base64"})


class Cohere(Provider):
    name = "cohere"
    default_dims: ClassVar[Mapping[str, int]] = {
        "embed-v4.0": 1536,
        "embed-v5.0-pro": 2048,
        "embed-v5.0-fast": 2048,
        "embed-english-v3.0": 1024,
        "embed-multilingual-v3.0": 1024,
    }
    messages: ClassVar[Messages] = {
        "400": (400, "invalid request: the texts cannot be embedded"),
        "401": (401, "invalid api token: {key}"),
        "no-key": (401, "no api key supplied"),
        "404": (
            404,
            "model '{model}' not found, make sure the correct model ID was used and that you have "
            "access to the model.",
        ),
        "429": (
            429,
            "You are using a Trial key, which is limited to 100 API calls / minute. You can "
            "continue to use the Trial key for free or upgrade to a Production key with higher "
            "rate limits at 'https://dashboard.cohere.com/api-keys'.",
        ),
        "quota": (
            429,
            "You are using a Trial key, which is limited to 1000 API calls / month. You can "
            "continue to use the Trial key for free or upgrade to a Production key with higher "
            "rate limits at 'https://dashboard.cohere.com/api-keys'.",
        ),
        "max-tokens-per-request": (
            400,
            "too many tokens: total tokens of the request cannot exceed 128000",
        ),
        "500": (500, "internal server error, please try again"),
        "503": (503, "the service is temporarily unavailable, please try again"),
    }

    def ask(self, path: str, body: Mapping[str, Any]) -> Ask:
        role, texts = body.get("input_type"), _texts(body)
        if role not in _ROLES:
            raise RefusalError("400", "invalid request: valid input_type must be provided")
        if not texts:
            raise RefusalError("400", "invalid request: texts must be provided")
        types = body.get("embedding_types") or ["float"]
        unknown = set(types) - _TYPES
        if unknown:
            raise RefusalError("400", f"invalid request: {min(unknown)} is no embedding type")
        return Ask(
            model=str(body["model"]),
            texts=texts,
            role=role,
            query=role == "search_query",
            dims=body.get("output_dimension"),
            forms=[Form(base64=True) if kind == "base64" else Form(kind) for kind in types],
            truncate=(body.get("truncate") or "END") != "NONE",
        )

    def limit(self, ask: Ask, count: CountTokens) -> None:
        if ask.dims and "-v3" in ask.model:
            raise RefusalError(
                "400", "invalid request: output_dimension is not supported by this model"
            )
        if len(ask.texts) > MOST_TEXTS:
            raise RefusalError(
                "400",
                f"invalid request: total number of texts must be at most {MOST_TEXTS} - received "
                f"{len(ask.texts)}",
            )
        most = 512 if "-v3" in ask.model else 128_000
        longest = max(map(count, ask.texts))
        if longest > most and not ask.truncate:
            raise RefusalError(
                "400",
                f"too many tokens: size limit exceeded by {longest - most} tokens. Try using "
                f"shorter or fewer inputs, or setting prompt_truncation='AUTO'. The limit for "
                f"this model is {most} tokens.",
            )

    def answer(
        self, ask: Ask, columns: Columns, order: Sequence[int], tokens: Sequence[int]
    ) -> Reply:
        names = ["base64" if form.base64 else form.dtype for form in ask.forms]
        embeddings = b",".join(
            b'"%b":[%b]' % (name.encode(), b",".join([column[index] for index in order]))
            for name, column in zip(names, columns, strict=True)
        )
        meta = {
            "api_version": {"version": "2"},
            "billed_units": {"input_tokens": sum(tokens)},
        }
        body = b'{"id":%b,"texts":%b,"embeddings":{%b},"meta":%b,"response_type":%b}' % (
            dump(str(uuid4())),
            dump(ask.texts),
            embeddings,
            dump(meta),
            dump("embeddings_by_type"),
        )
        return Reply(200, body)

    def error(self, kind: str, status: int, message: str, facts: Mapping[str, Any]) -> Any:
        return {"id": str(uuid4()), "message": message}


def _texts(body: Mapping[str, Any]) -> list[str]:
    if body.get("texts"):
        return strings(body["texts"])
    inputs = body.get("inputs") or []
    return ["".join(part.get("text", "") for part in one["content"]) for one in inputs]
