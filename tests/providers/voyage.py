"""Voyage AI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

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
    listed,
    strings,
)

MOST_TEXTS = 1000

# Tokens of all texts of a request; what is not here has the least.
_MOST_TOKENS = {
    **dict.fromkeys(("voyage-4-lite", "voyage-3.5-lite"), 1_000_000),
    **dict.fromkeys(("voyage-4", "voyage-3.5", "voyage-2"), 320_000),
}
_MOST_TEXT_TOKENS = 32_000
_DTYPES = frozenset({"float", "int8", "uint8", "binary", "ubinary"})


class Voyage(Provider):
    name = "voyage"
    indexed = True
    messages: ClassVar[Messages] = {
        "400": (400, "The input cannot be embedded."),
        "401": (401, "Provided API key is invalid: {key}."),
        "no-key": (401, "No API key provided."),
        "404": (404, "Not Found"),
        "429": (
            429,
            "You have exceeded the rate limit. Please see "
            "https://docs.voyageai.com/docs/rate-limits for details.",
        ),
        "quota": (
            429,
            "You have not yet added your payment method in the billing page and will have "
            "reduced rate limits of 3 RPM and 10K TPM. To unlock our standard rate limits, "
            "please add a payment method in the billing page for the appropriate organization in "
            "the user dashboard (https://dashboard.voyageai.com/).",
        ),
        "max-tokens-per-request": (
            400,
            "Request to model '{model}' failed. The max allowed tokens per submitted batch is "
            "120000. Your batch has 120001 tokens after truncation. Please lower the number of "
            "tokens in the batch.",
        ),
    }

    def ask(self, path: str, body: Mapping[str, Any]) -> Ask:
        texts, role = strings(body.get("input") or []), body.get("input_type")
        if not texts or "" in texts:
            raise RefusalError("400", "Input cannot contain empty strings or empty lists.")
        if role not in (None, "query", "document"):
            raise RefusalError(
                "400", f"Value '{role}' provided for argument 'input_type' is not supported."
            )
        dtype = body.get("output_dtype") or "float"
        if dtype not in _DTYPES:
            raise RefusalError("400", f"Value '{dtype}' for 'output_dtype' is not supported.")
        return Ask(
            model=str(body.get("model")),
            texts=texts,
            role=role,
            query=role == "query",
            dims=body.get("output_dimension"),
            forms=[Form(dtype, body.get("encoding_format") == "base64")],
            truncate=body.get("truncation") is not False,
        )

    def limit(self, ask: Ask, count: CountTokens) -> None:
        failed = f"Request to model '{ask.model}' failed."
        if len(ask.texts) > MOST_TEXTS:
            raise RefusalError(
                "400",
                f"{failed} The batch size limit is {MOST_TEXTS}. Your batch size is "
                f"{len(ask.texts)}.",
            )
        if ask.dims and ask.dims not in (256, 512, 1024, 2048):
            raise RefusalError("400", f"{failed} The output dimension {ask.dims} is not supported.")
        tokens = list(map(count, ask.texts))
        if max(tokens) > _MOST_TEXT_TOKENS and not ask.truncate:
            raise RefusalError(
                "400",
                f"{failed} The example at index {tokens.index(max(tokens))} in your batch has too "
                f"many tokens and does not fit into the model's context window of "
                f"{_MOST_TEXT_TOKENS} tokens. Please lower the number of tokens in the listed "
                f"example(s) or use truncation.",
            )
        total = sum(min(one, _MOST_TEXT_TOKENS) for one in tokens)
        most = _MOST_TOKENS.get(ask.model, 120_000)
        if total > most:
            raise RefusalError(
                "max-tokens-per-request",
                f"{failed} The max allowed tokens per submitted batch is {most}. Your batch has "
                f"{total} tokens after truncation. Please lower the number of tokens in the batch.",
            )

    def width(self, ask: Ask, fallback: int) -> int:
        return 1024 if ask.model.startswith("voyage-") else fallback

    def answer(
        self, ask: Ask, columns: Columns, order: Sequence[int], tokens: Sequence[int]
    ) -> Reply:
        items = listed(
            (b'{"object":"embedding","embedding":', columns[0][index], b',"index":%d}' % index)
            for index in order
        )
        usage = dump({"total_tokens": sum(tokens)})
        end = b'],"model":%b,"usage":%b}' % (dump(ask.model), usage)
        body = b"".join([b'{"object":"list","data":[', *items, end])
        return Reply(200, body)

    def error(self, kind: str, status: int, message: str, facts: Mapping[str, Any]) -> Any:
        return {"detail": message}
