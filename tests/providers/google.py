"""Google: the Gemini API, and the paths that Vertex AI has for the same models."""

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
    dump,
)

PATH = re.compile(r"/.*models/([^/:]+):(batchEmbedContents|embedContent|predict)")

MOST_CONTENTS = 100

_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
_TYPES = "type.googleapis.com/google.rpc"


class Google(Provider):
    name = "google"
    default_dims: ClassVar[Mapping[str, int]] = {
        "gemini-embedding-001": 3072,
        "gemini-embedding-2": 3072,
        "gemini-embedding-2-preview": 3072,
    }
    messages: ClassVar[Messages] = {
        "400": (400, "Request contains an invalid argument."),
        # That a wrong key is no matter of authentication is the provider's own idea.
        "401": (400, "API key not valid. Please pass a valid API key. Given: {key}"),
        "no-key": (
            403,
            "Method doesn't allow unregistered callers (callers without established identity). "
            "Please use API Key or other form of API consumer identity to call this API.",
        ),
        "403": (403, "The caller does not have permission"),
        "404": (
            404,
            "models/{model} is not found for API version v1beta, or is not supported for "
            "embedContent. Call ListModels to see the list of available models and their "
            "supported methods.",
        ),
        "429": (429, "Resource has been exhausted (e.g. check quota)."),
        "quota": (
            429,
            "You exceeded your current quota, please check your plan and billing details. For "
            "more information on this error, head to: "
            "https://ai.google.dev/gemini-api/docs/rate-limits.",
        ),
        "max-tokens-per-request": (
            400,
            "Unable to submit request because the input token count is 20001 but the model "
            "supports up to 20000.",
        ),
        "500": (500, "An internal error has occurred. Please retry or report."),
        "503": (503, "The model is overloaded. Please try again later."),
    }

    def key(self, headers: Mapping[str, str]) -> str | None:
        return headers.get("x-goog-api-key") or super().key(headers)

    def ask(self, path: str, body: Mapping[str, Any]) -> Ask:
        found = PATH.fullmatch(path)
        assert found is not None
        model, method = found.groups()
        if method == "predict":
            requests = body.get("instances") or []
            inputs = [[str(one.get("content", ""))] for one in requests]
            options: Mapping[str, Any] = body.get("parameters") or {}
        else:
            requests = [body] if method == "embedContent" else body.get("requests") or []
            inputs = [_parts(one) for one in requests]
            options = requests[0] if requests else {}
            options = {**options, **(options.get("embedContentConfig") or {})}
        if not requests or not all(all(parts) and parts for parts in inputs):
            field = "EmbedContentRequest.content" if requests else "BatchEmbedContentsRequest"
            raise RefusalError("400", f"* {field}: contents is not specified\n")
        role = options.get("taskType") or requests[0].get("task_type")
        # The answers of the three methods differ.
        return Ask(
            model=model,
            texts=[text for parts in inputs for text in parts],
            role=role,
            query=role in ("RETRIEVAL_QUERY", "QUESTION_ANSWERING", "CODE_RETRIEVAL_QUERY"),
            dims=options.get("outputDimensionality"),
            sizes=list(map(len, inputs)) if any(len(parts) > 1 for parts in inputs) else None,
            method=method,
        )

    def limit(self, ask: Ask, count: CountTokens) -> None:
        contents = len(ask.sizes or ask.texts)
        if ask.method == "predict":
            total = sum(map(count, ask.texts))
            if contents > 250:
                raise RefusalError(
                    "400", f"250 instance(s) is allowed per prediction. Actual: {contents}"
                )
            if total > 20_000:
                raise RefusalError(
                    "max-tokens-per-request",
                    f"Unable to submit request because the input token count is {total} but the "
                    "model supports up to 20000. Reduce the input token count and try again.",
                )
        elif contents > MOST_CONTENTS:
            raise RefusalError(
                "400",
                "* BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch\n",
            )
        if ask.dims is not None and not 1 <= ask.dims <= self.width(ask, ask.dims):
            raise RefusalError("400", f"outputDimensionality {ask.dims} is out of range.")

    def normalized(self, ask: Ask) -> bool:
        return ask.model != "gemini-embedding-001"

    def answer(
        self, ask: Ask, columns: Columns, order: Sequence[int], tokens: Sequence[int]
    ) -> Reply:
        values = [columns[0][index] for index in order]
        if ask.method == "predict":
            items = [
                b'{"embeddings":{"values":%b,"statistics":{"truncated":false,"token_count":%d}}}'
                % (value, count)
                for value, count in zip(values, tokens, strict=False)
            ]
            return Reply(200, b'{"predictions":[%b]}' % b",".join(items))
        usage = dump({"promptTokenCount": sum(tokens)})
        items = [b'{"values":%b}' % value for value in values]
        if ask.method == "embedContent":
            first = items[0] if items else b"null"
            return Reply(200, b'{"embedding":%b,"usageMetadata":%b}' % (first, usage))
        body = b'{"embeddings":[%b],"usageMetadata":%b}' % (b",".join(items), usage)
        return Reply(200, body)

    def error(self, kind: str, status: int, message: str, facts: Mapping[str, Any]) -> Any:
        details: list[dict[str, Any]] = []
        if kind == "401":
            details = [
                {
                    "@type": f"{_TYPES}.ErrorInfo",
                    "reason": "API_KEY_INVALID",
                    "domain": "googleapis.com",
                }
            ]
        elif kind == "quota":
            violation = {"quotaId": "EmbedContentRequestsPerDayPerUserPerProjectPerModel-FreeTier"}
            details = [{"@type": f"{_TYPES}.QuotaFailure", "violations": [violation]}]
        if "seconds" in facts:
            delay = f"{facts['seconds']:g}s"
            details.append({"@type": f"{_TYPES}.RetryInfo", "retryDelay": delay})
        error = {"code": status, "message": message, "status": _STATUS.get(status, "UNKNOWN")}
        return {"error": {**error, "details": details} if details else error}

    def wait_headers(self, seconds: float) -> dict[str, str]:
        return {}  # the wait is in the body


def _parts(request: Mapping[str, Any]) -> list[str]:
    parts = (request.get("content") or {}).get("parts") or []
    return [str(part.get("text", "")) for part in parts]
