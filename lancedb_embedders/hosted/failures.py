"""What a provider's refusal means: try again, send less, look at the texts, or give up."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from lancedb_embedders.http_rules import pause_asked

Kind = Literal["retry", "smaller", "input", "fatal"]

#: Codes of an empty account, which come with 429 but do not pass.
_EMPTY = re.compile(
    r"billing|credit|payment|balance|(/|per|a|each) ?month|monthly",
    re.IGNORECASE,
)
#: Words with which providers refuse a request as a whole for its size.
_LARGE = re.compile(
    r"max_tokens_per_request|max tokens per request|tokens? (summed|per request|in the batch)"
    r"|batch ?size|batch of .* (tokens|max)|too many (inputs|texts|tokens|instances)"
    r"|at most \d+ (requests|inputs|texts|instances|items)|total number of (texts|tokens)"
    r"|request too large|payload too large|token count is \d+ but",
    re.IGNORECASE,
)
#: Names of what holds the texts of a request.
_TEXTS = frozenset({"input", "inputs", "texts", "text", "content", "contents"})
_LONGEST = 500  # characters of a provider's words
_PASSING = frozenset({408, 409, 429})


class Failure(Exception):  # noqa: N818 - what it means is in `kind`; most are tried again
    """A request that gave no vectors; it holds no secret, and nothing of the client.

    Parameters
    ----------
    kind : {"retry", "smaller", "input", "fatal"}
        May pass by itself; is too large as a whole; has a text in it that is refused; or none of
        these.
    message : str
        The provider's words.
    status : int, optional
        Of the HTTP answer; None where there was none.
    retry_after : float, optional
        Seconds that the provider asks to wait.
    """

    def __init__(
        self,
        kind: Kind,
        message: str,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(kind, message, status, retry_after)
        self.kind = kind
        self.message = message
        self.status = status
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"HTTP {self.status}: {self.message}" if self.status else self.message


def from_http(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Failure:
    """Return what an HTTP answer other than 200 means.

    Parameters
    ----------
    status : int
        HTTP status.
    body : object
        Decoded JSON, or text.
    headers : mapping, optional
        Of the answer, names in any case.
    """
    code, message, parameter = _said(body)
    wait = retry_after({name.lower(): value for name, value in (headers or {}).items()}, body)
    kind: Kind
    empty = "insufficient_quota" in code or (wait is None and _EMPTY.search(f"{code} {message}"))
    if status == 429 and empty:
        kind = "fatal"
    elif status == 429 and re.search(r"request too large", message, re.IGNORECASE):
        kind = "smaller"  # one request beyond the tokens of a whole minute never passes
    elif status in _PASSING or status >= 500:
        kind = "retry"
    elif status == 413:
        kind = "smaller"
    elif status in (400, 422):
        if _LARGE.search(f"{code} {message}"):
            kind = "smaller"
        elif not parameter or parameter in _TEXTS:
            kind = "input"
        else:
            kind = "fatal"
    else:
        kind = "fatal"
    return Failure(kind, message or f"no reason given ({code or 'no code'})", status, wait)


def retry_after(headers: Mapping[str, str], body: Any = None) -> float | None:
    """Return the seconds that an answer asks to wait, or None.

    Read from ``retry-after-ms``, ``retry-after`` (seconds or a date), or Google's ``RetryInfo``.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    if value:
        return pause_asked(value)
    error = body.get("error") if isinstance(body, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    for detail in details or ():
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str):
            return _number(delay.removesuffix("s"))
    return None


def _number(value: str | None) -> float | None:
    try:
        return None if value is None else max(0.0, float(value))
    except ValueError:
        return None


def _said(body: Any) -> tuple[str, str, str | None]:
    """Return code, message and parameter from the body of an error of any provider."""
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return "", str(body or "").strip()[:_LONGEST], None
    error = body.get("error", body)
    if not isinstance(error, dict):  # TEI: {"error": "...", "error_type": "..."}
        return str(body.get("error_type", "")), str(error)[:_LONGEST], None
    detail = error.get("detail")
    if isinstance(detail, list) and detail:
        return _validation(detail)
    codes = [error.get(name) for name in ("code", "type", "status")]
    message = error.get("message") or detail or error.get("error") or ""
    return (
        " ".join(dict.fromkeys(str(code) for code in codes if code)),
        str(message)[:_LONGEST],
        error.get("param"),
    )


def _validation(problems: list[Any]) -> tuple[str, str, str | None]:
    """Read what FastAPI's servers say of a request; they repeat all its texts, this does not."""
    said, parameter = [], None
    for problem in problems:
        if not isinstance(problem, dict):
            continue
        where = [str(part) for part in problem.get("loc", ()) if part != "body"]
        said.append(f"{'.'.join(where)}: {problem.get('msg', '')}")
        if not _TEXTS.intersection(where):
            parameter = where[0] if where else parameter
    return "", "; ".join(said)[:_LONGEST], parameter
