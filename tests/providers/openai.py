"""OpenAI, Azure OpenAI, and servers that are compatible with them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tests.providers.limits import Rate, duration
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

_DEPLOYMENT = re.compile(r"/openai/deployments/([^/]+)/embeddings")

MOST_INPUTS = 2048
MOST_TOKENS = 300_000
MOST_INPUT_TOKENS = 8192


class OpenAI(Provider):
    name = "openai"
    indexed = True
    default_dims: ClassVar[Mapping[str, int]] = {
        "text-embedding-3-small": 1536,
        "text-embedding-3-large": 3072,
        "text-embedding-ada-002": 1536,
    }
    messages: ClassVar[Messages] = {
        "400": (400, "The input is not valid."),
        # The real one leaves most of the key out; a compatible server may not.
        "401": (
            401,
            "Incorrect API key provided: {key}. You can find your API key at "
            "https://platform.openai.com/account/api-keys.",
        ),
        "no-key": (
            401,
            "You didn't provide an API key. You need to provide your API key in an Authorization "
            "header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
        ),
        "403": (403, "Country, region, or territory not supported"),
        "404": (404, "The model `{model}` does not exist or you do not have access to it."),
        "429": (
            429,
            "Rate limit reached for {model} in organization org-test on requests per min (RPM): "
            "Limit 3000, Used 3000, Requested 1. Please try again in 20ms. Visit "
            "https://platform.openai.com/account/rate-limits to learn more.",
        ),
        "quota": (
            429,
            "You exceeded your current quota, please check your plan and billing details. For "
            "more information on this error, read the docs: "
            "https://platform.openai.com/docs/guides/error-codes/api-errors.",
        ),
        "max-tokens-per-request": (
            400,
            "Requested 300001 tokens, max 300000 tokens per request",
        ),
        "500": (
            500,
            "The server had an error while processing your request. Sorry about that!",
        ),
        "503": (503, "The server is overloaded or not ready yet."),
    }
    # What stands beside the message: type, param and code.
    _about: ClassVar[Mapping[str, tuple[str, str | None, str | None]]] = {
        "400": ("invalid_request_error", "input", None),
        "401": ("invalid_request_error", None, "invalid_api_key"),
        "403": ("request_forbidden", None, "unsupported_country_region_territory"),
        "404": ("invalid_request_error", None, "model_not_found"),
        "429": ("requests", None, "rate_limit_exceeded"),
        "quota": ("insufficient_quota", None, "insufficient_quota"),
        "max-tokens-per-request": ("max_tokens_per_request", None, "max_tokens_per_request"),
        "500": ("server_error", None, None),
        "503": ("server_error", None, None),
    }

    def key(self, headers: Mapping[str, str]) -> str | None:
        return headers.get("api-key") or super().key(headers)

    def ask(self, path: str, body: Mapping[str, Any]) -> Ask:
        deployment = _DEPLOYMENT.fullmatch(path)
        model = deployment[1] if deployment else str(body.get("model") or "")
        if not model:
            raise RefusalError("400", "you must provide a model parameter", param=None)
        given = body.get("input")
        if not given or not isinstance(given, (str, list)):
            raise RefusalError("400", _INVALID, param=None)
        encoding = body.get("encoding_format") or "float"
        if encoding not in ("float", "base64"):
            raise RefusalError("400", f"'{encoding}' is not one of ['float', 'base64'].")
        return Ask(
            model=model,
            texts=_inputs(given),
            role=body.get("input_type"),
            dims=body.get("dimensions"),
            forms=[Form(base64=encoding == "base64")],
        )

    def limit(self, ask: Ask, count: CountTokens) -> None:
        full = self.default_dims.get(ask.model)
        if ask.dims is not None and ask.model == "text-embedding-ada-002":
            raise RefusalError(
                "400", "This model does not support specifying dimensions.", param="dimensions"
            )
        if ask.dims is not None and not 1 <= ask.dims <= (full or ask.dims):
            message = f"Invalid value for 'dimensions' = {ask.dims}. Must be between 1 and {full}."
            raise RefusalError("400", message, param="dimensions")
        if len(ask.texts) > MOST_INPUTS:
            message = (
                f"Invalid 'input': array too long. Expected an array with maximum length "
                f"{MOST_INPUTS}, but got an array with length {len(ask.texts)} instead."
            )
            raise RefusalError("400", message, code="array_above_max_length")
        if "" in ask.texts:
            raise RefusalError("400", _INVALID, param=None)
        tokens = list(map(count, ask.texts))
        if max(tokens) > MOST_INPUT_TOKENS:
            message = (
                f"This model's maximum context length is {MOST_INPUT_TOKENS} tokens, however you "
                f"requested {max(tokens)} tokens ({max(tokens)} in your prompt; 0 for the "
                "completion). Please reduce your prompt; or completion length."
            )
            raise RefusalError("400", message, param=None)
        if sum(tokens) > MOST_TOKENS:
            message = f"Requested {sum(tokens)} tokens, max {MOST_TOKENS} tokens per request"
            raise RefusalError("max-tokens-per-request", message)

    def answer(
        self, ask: Ask, columns: Columns, order: Sequence[int], tokens: Sequence[int]
    ) -> Reply:
        items = listed(
            (b'{"object":"embedding","index":%d,"embedding":' % index, columns[0][index], b"}")
            for index in order
        )
        usage = {"prompt_tokens": sum(tokens), "total_tokens": sum(tokens)}
        end = b'],"model":%b,"usage":%b}' % (dump(ask.model), dump(usage))
        body = b"".join([b'{"object":"list","data":[', *items, end])
        return Reply(200, body, {"openai-model": ask.model, "openai-version": "2020-10-01"})

    def error(self, kind: str, status: int, message: str, facts: Mapping[str, Any]) -> Any:
        if facts.get("azure") and status == 401:
            return {"error": {"code": "401", "message": _AZURE_401}}
        type_, param, code = self._about.get(kind, ("invalid_request_error", None, None))
        return {
            "error": {
                "message": message,
                "type": facts.get("type", type_),
                "param": facts.get("param", param),
                "code": facts.get("code", code),
            }
        }

    def within(self, rate: Rate, ask: Ask, tokens: int) -> None:
        short = rate.take(tokens)
        if short is None:
            return
        what, seconds = short
        bucket = rate.requests if what == "requests" else rate.tokens
        need = 1 if what == "requests" else tokens
        name = f"{what} per min ({what[0].upper()}PM)"
        start = f"for {ask.model} in organization org-test on {name}: Limit {bucket.most}"
        if need > bucket.most:
            message = (
                f"Request too large {start}, Requested {need}. The input or output tokens must be "
                "reduced in order to run successfully."
            )
            raise RefusalError("429", message, type=what)
        message = (
            f"Rate limit reached {start}, Used {int(bucket.most - bucket.level())}, Requested "
            f"{need}. Please try again in {duration(seconds)}. Visit "
            "https://platform.openai.com/account/rate-limits to learn more."
        )
        raise RefusalError("429", message, type=what, seconds=seconds)

    def wait_headers(self, seconds: float) -> dict[str, str]:
        return {"retry-after": f"{seconds:g}", "retry-after-ms": str(round(seconds * 1000))}


_INVALID = (
    "'$.input' is invalid. Please check the API reference: "
    "https://platform.openai.com/docs/api-reference."
)
_AZURE_401 = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a "
    "valid key for an active subscription and use a correct regional API endpoint for your "
    "resource."
)


def _inputs(given: Any) -> list[str]:
    if isinstance(given, list) and not isinstance(given[0], str):
        # Tokens of one text, or of several.
        rows = given if isinstance(given[0], list) else [given]
        return [" ".join(map(str, row)) for row in rows]
    return strings(given)
