"""Hugging Face's Text Embeddings Inference, and the path that its hosted API has."""

from __future__ import annotations

import re
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
    strings,
)

PATH = re.compile(r"/|/embed|(/hf-inference)?(/models/.+)?/pipeline/feature-extraction")

MOST_TEXTS = 32
MOST_TEXT_TOKENS = 512

_ERROR_TYPES = {
    "400": "Empty",
    "422": "Tokenizer",
    "429": "Overloaded",
    "max-tokens-per-request": "Validation",
    "quota": "Overloaded",
    "500": "Backend",
    "503": "Unhealthy",
}


class HuggingFace(Provider):
    name = "huggingface"
    messages: ClassVar[Messages] = {
        "400": (400, "`inputs` cannot be embedded"),
        "401": (401, "Invalid credentials in Authorization header: {key}"),
        "no-key": (401, "Invalid username or password."),
        "422": (422, "Tokenization error"),
        "429": (429, "Model is overloaded"),
        "quota": (
            402,
            "You have exceeded your monthly included credits for Inference Providers. Subscribe "
            "to PRO to get 20x more monthly included credits.",
        ),
        "max-tokens-per-request": (
            413,
            "Input validation error: `inputs` must have less than 512 tokens. Given: 513",
        ),
        "500": (500, "Inference failed"),
        "503": (503, "unhealthy"),
    }

    def ask(self, path: str, body: Mapping[str, Any]) -> Ask:
        role, inputs = body.get("prompt_name"), body.get("inputs")
        if not inputs:
            raise RefusalError("400", "`inputs` cannot be empty")
        if role not in (None, "query", "document"):
            raise RefusalError(
                "422",
                f"`default-prompt-name` is set to `{role}` but it was not found in the "
                "Sentence Transformers prompts",
            )
        return Ask(
            model="",
            texts=strings(inputs),
            role=role,
            query=role == "query",
            dims=body.get("dimensions"),
            truncate=bool(body.get("truncate")),
            # Any length but 1 will do: what a model gives has the length it has.
            scale=2.0 if body.get("normalize") is False else 1.0,
        )

    def limit(self, ask: Ask, count: CountTokens) -> None:
        if len(ask.texts) > MOST_TEXTS:
            raise RefusalError(
                "max-tokens-per-request",
                f"batch size {len(ask.texts)} > maximum allowed batch size {MOST_TEXTS}",
            )
        if "" in ask.texts:
            raise RefusalError("400", "`inputs` cannot be empty")
        longest = max(map(count, ask.texts))
        if longest > MOST_TEXT_TOKENS and not ask.truncate:
            raise RefusalError(
                "max-tokens-per-request",
                f"Input validation error: `inputs` must have less than {MOST_TEXT_TOKENS} tokens. "
                f"Given: {longest}",
            )

    def answer(
        self, ask: Ask, columns: Columns, order: Sequence[int], tokens: Sequence[int]
    ) -> Reply:
        headers = {
            "x-compute-type": "cpu",
            "x-compute-time": "0.012",
            "x-compute-characters": str(sum(map(len, ask.texts))),
            "x-compute-tokens": str(sum(tokens)),
            "x-total-time": "12",
            "x-tokenization-time": "0",
            "x-queue-time": "0",
            "x-inference-time": "11",
        }
        return Reply(200, b"[%b]" % b",".join([columns[0][index] for index in order]), headers)

    def error(self, kind: str, status: int, message: str, facts: Mapping[str, Any]) -> Any:
        if kind in _ERROR_TYPES:
            return {"error": message, "error_type": _ERROR_TYPES[kind]}
        return {"error": message}
