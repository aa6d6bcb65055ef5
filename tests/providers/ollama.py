"""Ollama's own API; it has OpenAI's as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

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

MOST_TEXT_TOKENS = 2048


class Ollama(Provider):
    name = "ollama"
    needs_key = False
    messages: ClassVar[Messages] = {
        "400": (400, "invalid input type"),
        "404": (404, 'model "{model}" not found, try pulling it first'),
        "max-tokens-per-request": (400, "the input length exceeds the context length"),
        "503": (503, "server busy, please try again.  maximum pending requests exceeded"),
    }

    def ask(self, path: str, body: Mapping[str, Any]) -> Ask:
        if not body.get("model"):
            raise RefusalError("400", "model is required")
        return Ask(
            model=str(body["model"]),
            texts=strings(body.get("input") or []),
            dims=body.get("dimensions"),
            truncate=body.get("truncate") is not False,
        )

    def limit(self, ask: Ask, count: CountTokens) -> None:
        if not ask.truncate and any(count(text) > MOST_TEXT_TOKENS for text in ask.texts):
            raise RefusalError("max-tokens-per-request")

    def answer(
        self, ask: Ask, columns: Columns, order: Sequence[int], tokens: Sequence[int]
    ) -> Reply:
        body = (
            b'{"model":%b,"embeddings":[%b],"total_duration":14143917,"load_duration":1019500,'
            b'"prompt_eval_count":%d}'
        )
        vectors = b",".join([columns[0][index] for index in order])
        return Reply(200, body % (dump(ask.model), vectors, sum(tokens)))

    def error(self, kind: str, status: int, message: str, facts: Mapping[str, Any]) -> Any:
        return {"error": message}
