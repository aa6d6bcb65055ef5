"""What refusals mean, in the words of each provider."""

from __future__ import annotations

from email.utils import formatdate
from time import time
from typing import Any

import pytest

from lancedb_embedders.hosted.failures import from_http, retry_after

#: A limit a minute, as Gemini words it: like an empty account, but it says when it passes.
GEMINI_MINUTE = {
    "error": {
        "code": 429,
        "message": "You exceeded your current quota, please check your plan and billing details.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37.5s"},
        ],
    }
}
COHERE = "You are using a Trial key, which is limited to {} API calls / {}."
OPENAI_EMPTY = {"error": {"message": "You exceeded", "code": "insufficient_quota"}}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, {"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}}, "retry"),
        (429, GEMINI_MINUTE, "retry"),
        (429, {"message": COHERE.format(100, "minute")}, "retry"),
        (429, {"message": COHERE.format(1000, "month")}, "fatal"),
        (429, OPENAI_EMPTY, "fatal"),
        (429, {"error": {"message": "Request too large for gpt on tokens per min"}}, "smaller"),
        (402, {"error": "You have exceeded your monthly included credits"}, "fatal"),
        (413, "<html>Request Entity Too Large</html>", "smaller"),
        (400, {"error": {"message": "no such option", "param": "dimensions"}}, "fatal"),
        (400, {"error": {"message": "bad text", "param": "input"}}, "input"),
        (422, {"error": "batch size 33 > maximum allowed batch size 32"}, "smaller"),
        (422, {"detail": [{"loc": ["body", "input", 3], "msg": "too short"}]}, "input"),
        (422, {"detail": [{"loc": ["body", "model"], "msg": "missing"}]}, "fatal"),
        (404, None, "fatal"),
        (504, [], "retry"),
    ],
)
def test_what_a_refusal_means(status: int, body: Any, kind: str) -> None:
    assert from_http(status, body).kind == kind


def test_an_empty_account_is_one_whatever_the_headers_say() -> None:
    assert from_http(429, OPENAI_EMPTY, {"Retry-After": "1"}).kind == "fatal"


LATER = "a date in 6,000 seconds"


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry-after": "2"}, None, 2),
        ({"retry-after": "2", "retry-after-ms": "1500"}, None, 1.5),
        ({"retry-after": LATER}, None, 6000),
        ({"retry-after": formatdate(time() - 60, usegmt=True)}, None, 0),
        ({"retry-after": "-3"}, None, 0),
        ({"retry-after": "soon"}, None, None),
        ({}, GEMINI_MINUTE, 37.5),
        ({}, {"error": "words"}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], body: Any, seconds: float | None) -> None:
    expected = None if seconds is None else pytest.approx(seconds, abs=1000 if seconds > 50 else 0)
    later = formatdate(time() + 6000, usegmt=True)  # when it runs, not when it is collected
    headers = {name: later if value == LATER else value for name, value in headers.items()}
    assert retry_after(headers, body) == expected


def test_words_are_cut_and_texts_not_repeated() -> None:
    assert len(str(from_http(400, {"message": "x" * 10_000}))) < 600
    detail = [{"loc": ["body", "input"], "msg": "bad", "input": ["my secret diary"]}]
    assert "diary" not in str(from_http(422, {"detail": detail}))
