"""What all providers have in common: a request, an answer, an error, and what was seen."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tests.providers.limits import Rate
from tests.providers.vectors import Form

CountTokens = Callable[[str], int]
Columns = Sequence[Sequence[bytes]]
Messages = Mapping[str, tuple[int, str]]

_SECRET = frozenset({"authorization", "api-key", "x-api-key", "x-goog-api-key", "cookie"})


@dataclass
class Seen:
    """An embedding request as it came; `status` is 0 until, and unless, it is answered."""

    provider: str
    path: str
    texts: list[str]
    role: str | None
    dims: int | None
    key_ok: bool
    headers: dict[str, str]
    encoding: str
    at: float
    model: str = ""
    status: int = 0


@dataclass
class Fault:
    """Something that goes wrong with the next `times` requests (-1: all) that `when` picks.

    Attributes
    ----------
    kind : str
        A status (``"429"``, ``"500"``, ``"404"``), ``"429-retry-after"``, ``"quota"``,
        ``"max-tokens-per-request"``, ``"slow"``, ``"cut"``, ``"cut-body"``, ``"garbage"``, or
        what is wrong with an answer of status 200: ``"wrong-count"`` lacks the last vector,
        ``"wrong-order"`` is in reverse (only where items carry an index), ``"nan"``,
        ``"inf"`` and ``"zeros"`` are in the first vector, ``"wrong-width"`` lacks a column.
    seconds : float
        How long ``"slow"`` takes, and what ``"429-retry-after"`` asks for.
    """

    kind: str
    times: int = 1
    when: Callable[[Seen], bool] | None = None
    seconds: float = 1.0


@dataclass
class Ask:
    """What a request wants, whoever it was sent to.

    `sizes` tells how many of the texts make each vector, if that is not one.
    """

    model: str
    texts: list[str]
    role: str | None = None
    query: bool = False
    dims: int | None = None
    forms: Sequence[Form] = (Form(),)
    sizes: list[int] | None = None
    scale: float = 1.0
    truncate: bool = False
    method: str = ""


@dataclass
class Reply:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


class CutError(Exception):
    """The connection ends, after these bytes."""

    def __init__(self, sent: bytes = b"") -> None:
        super().__init__()
        self.sent = sent


class RefusalError(Exception):
    """A request the provider does not take: the kind of error, and its own words for it."""

    def __init__(self, kind: str, message: str | None = None, **facts: Any) -> None:
        super().__init__(kind)
        self.kind = kind
        self.message = message
        self.facts = facts


class Provider(ABC):
    """The wire format of one provider.

    `messages` has the status and the words for each kind of error, where they differ from
    those that any provider may use.
    """

    name: ClassVar[str]
    messages: ClassVar[Messages] = {}
    default_dims: ClassVar[Mapping[str, int]] = {}
    indexed: ClassVar[bool] = False
    needs_key: ClassVar[bool] = True

    @abstractmethod
    def ask(self, path: str, body: Mapping[str, Any]) -> Ask:
        """Read a request, and raise `RefusalError` if it makes no sense."""

    @abstractmethod
    def limit(self, ask: Ask, count: CountTokens) -> None:
        """Raise `RefusalError` if the request is above one of the provider's limits."""

    @abstractmethod
    def answer(
        self, ask: Ask, columns: Columns, order: Sequence[int], tokens: Sequence[int]
    ) -> Reply:
        """Write the vectors that `order` names; `columns` has them in each form asked for."""

    @abstractmethod
    def error(self, kind: str, status: int, message: str, facts: Mapping[str, Any]) -> Any:
        """Return the body of an error."""

    def key(self, headers: Mapping[str, str]) -> str | None:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return key.strip() or None if scheme.lower() == "bearer" else None

    def width(self, ask: Ask, fallback: int) -> int:
        return self.default_dims.get(ask.model, fallback)

    def normalized(self, ask: Ask) -> bool:
        """Tell whether shortened vectors have length 1."""
        return True

    def within(self, rate: Rate, ask: Ask, tokens: int) -> None:
        """Take the request from what is left for this minute, or raise `RefusalError`."""
        short = rate.take(tokens)
        if short:
            raise RefusalError("429", seconds=short[1])

    def wait_headers(self, seconds: float) -> dict[str, str]:
        return {"retry-after": f"{seconds:g}"}

    def refuse(self, refusal: RefusalError) -> Reply:
        if refusal.kind in ("408", "413", "502"):  # what answers then is a gateway
            status = int(refusal.kind)
            return Reply(status, _PAGE % {b"title": _GATEWAY[status]}, {}, "text/html")
        status, message = self.messages.get(refusal.kind) or _MESSAGES[refusal.kind]
        facts = {"model": "", "key": "", **refusal.facts}
        words = refusal.message or message.format(**facts)
        headers = {}
        if "seconds" in facts:
            headers = self.wait_headers(facts["seconds"])
        return Reply(status, dump(self.error(refusal.kind, status, words, facts)), headers)


_MESSAGES: Messages = {
    "400": (400, "The request is not valid."),
    "401": (401, "Incorrect API key provided: {key}."),
    "no-key": (401, "No API key was provided."),
    "403": (403, "You do not have access to this."),
    "404": (404, "The model {model} was not found."),
    "409": (409, "The request conflicts with another one."),
    "422": (422, "The request cannot be processed."),
    "429": (429, "Too many requests."),
    "quota": (429, "You exceeded your current quota."),
    "max-tokens-per-request": (400, "Too many tokens in the request."),
    "500": (500, "The server had an error while processing your request."),
    "503": (503, "The server is overloaded or not ready yet."),
}

_GATEWAY = {408: b"408 Request Time-out", 413: b"413 Request Entity Too Large"}
_GATEWAY[502] = b"502 Bad Gateway"
_PAGE = (
    b"<html>\r\n<head><title>%(title)b</title></head>\r\n<body>\r\n<center><h1>%(title)b</h1>"
    b"</center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)


def dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def listed(items: Iterable[tuple[bytes, ...]]) -> list[bytes]:
    """Put commas between items; what is large is then copied once, by who joins the pieces."""
    pieces: list[bytes] = []
    for item in items:
        pieces += (b",", *item)
    return pieces[1:]


def without_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in _SECRET}


def strings(value: Any) -> list[str]:
    """Return what a field holds that takes one text or several."""
    return [value] if isinstance(value, str) else [str(text) for text in value]
