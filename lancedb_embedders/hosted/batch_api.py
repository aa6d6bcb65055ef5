"""Batches of requests at OpenAI and at Voyage, whose APIs for them are alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from typing_extensions import Self

from lancedb_embedders.errors import ProviderError
from lancedb_embedders.hosted import access
from lancedb_embedders.hosted.failures import Failure, from_http

#: Key of a batch's metadata under which it is found again.
TAG = "lancedb_embedders"
#: States in which nothing more will come.
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})

_TRIES = 6
_PAGE = 100


@dataclass(frozen=True)
class BatchTerms:
    """What a provider's batches are like.

    Attributes
    ----------
    window : str
        In which time it promises to be done.
    inputs : int
        Texts that a batch may hold.
    file_bytes : int
        Bytes that its file may have.
    line : callable
        Takes a name and texts, and returns a request as it stands in the file.
    parameters : dict or None
        What all requests of a batch hold beside their texts, where they are given once; None:
        each line is a whole request.
    """

    window: str
    inputs: int
    file_bytes: int
    line: Callable[[str, Sequence[str]], dict[str, Any]]
    parameters: dict[str, Any] | None = None


class BatchApi:
    """Uploads, submits, asks after and downloads batches.

    Parameters
    ----------
    base_url : str
        Up to what comes before ``/batches``.
    key : str or None
        Of the account.
    timeout : float
        Seconds that a request may take.
    """

    def __init__(self, base_url: str, key: str | None, timeout: float) -> None:
        import httpx2

        self._key = key
        self._client = httpx2.Client(
            base_url=base_url,
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=timeout,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def upload(self, name: str, lines: bytes) -> str:
        """Upload a file of requests, one a line; returns its id."""
        answer = self._send(
            "POST",
            "/files",
            data={"purpose": "batch"},
            files={"file": (name, lines, "application/jsonl")},
        )
        return str(answer.json()["id"])

    def submit(self, file: str, terms: BatchTerms, tag: str) -> str:
        """Make a batch of an uploaded file; returns its id."""
        body: dict[str, Any] = {
            "input_file_id": file,
            "endpoint": "/v1/embeddings",
            "completion_window": terms.window,
            "metadata": {TAG: tag},
        }
        if terms.parameters is not None:
            body["request_params"] = terms.parameters
        return str(self._send("POST", "/batches", json=body, tries=1).json()["id"])

    def find(self, tag: str) -> str | None:
        """Return the id of the batch that was submitted under `tag`, if there is one."""
        for batch in self._all():
            if (batch.get("metadata") or {}).get(TAG) == tag:
                return str(batch["id"])
        return None

    def state(self, batch: str) -> dict[str, Any]:
        """Return what the provider says of a batch."""
        found: dict[str, Any] = self._send("GET", f"/batches/{batch}").json()
        return found

    def lines(self, file: str) -> Iterator[str]:
        """Return the lines of a file of answers."""
        text = self._send("GET", f"/files/{file}/content").text
        return (line for line in text.split("\n") if line.strip())

    def _all(self) -> Iterator[dict[str, Any]]:
        after: str | None = None
        while True:
            query = {"limit": _PAGE, **({"after": after} if after else {})}
            page = self._send("GET", "/batches", params=query).json()
            yield from page["data"]
            if not page.get("has_more") or not page["data"]:
                return
            after = page["data"][-1]["id"]

    def _send(self, method: str, path: str, tries: int = _TRIES, **what: Any) -> Any:
        import stamina

        def passes(error: Exception) -> bool | float:
            if not isinstance(error, Failure) or error.kind != "retry":
                return False
            return True if error.retry_after is None else error.retry_after

        try:
            for attempt in stamina.retry_context(
                on=passes, attempts=tries, timeout=None, wait_initial=1.0, wait_max=30.0
            ):
                with attempt:
                    return self._once(method, path, what)
        except Failure as failure:
            raise ProviderError(f"{method} {path}: {failure}") from None
        raise AssertionError("unreachable")

    def _once(self, method: str, path: str, what: dict[str, Any]) -> Any:
        import httpx2

        try:
            response = self._client.request(method, path, **what)
        except httpx2.TransportError as error:
            raise Failure("retry", f"{type(error).__name__}: {error}") from None
        if response.status_code < 300:
            return response
        try:
            body: Any = response.json()
        except ValueError:
            body = response.text
        failure = from_http(response.status_code, body, response.headers)
        message = access.scrub(failure.message, self._key)
        raise Failure(failure.kind, message, failure.status, failure.retry_after)
