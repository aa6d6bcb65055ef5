"""The server: what comes is recorded, goes wrong where a fault says so, and is answered."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from threading import Lock, Thread
from typing import Any

import numpy as np
from typing_extensions import Self

from tests.providers.batches import Batches
from tests.providers.handler import Handler, Server
from tests.providers.limits import Pace, Rate
from tests.providers.routes import route
from tests.providers.vectors import Form, Hashed, Matrix, MiniLM, Size, Vectors, render, unit
from tests.providers.wire import (
    Ask,
    CutError,
    Fault,
    Provider,
    RefusalError,
    Reply,
    Seen,
    dump,
    without_secrets,
)

_STATUSES = frozenset(
    {"400", "401", "403", "404", "408", "409", "413", "429", "500", "502", "503"}
    | {"quota", "max-tokens-per-request"}
)


class ProviderServer:
    """Answers as OpenAI, Cohere, Voyage, Google, Hugging Face's TEI and Ollama do.

    Parameters
    ----------
    vectors : str, optional
        ``"minilm"``: those of all-MiniLM-L6-v2. ``"hash"``: unit vectors that follow from a hash.
    dims : int, optional
        Width of the vectors of models whose width is not known.
    latency : float, optional
        Seconds before each answer.
    keys : set of str, optional
        Keys that are taken; if there are none, every request is.

    Attributes
    ----------
    seen : list of Seen
        Every embedding request, and every line of a batch, in order.
    poison : set of str
        Texts for which the whole request is refused.
    count_tokens : callable
        Tokens of a text.
    processing_rate : float, optional
        Texts a second that are taken, from all requests together.
    batch_polls : int
        How often a batch is asked after before it is done.
    batch_outcome : str
        How batches end: ``"completed"``, ``"failed"``, ``"expired"`` or ``"cancelled"``.
    """

    def __init__(
        self,
        vectors: str = "minilm",
        dims: int = 384,
        latency: float = 0.0,
        keys: frozenset[str] = frozenset({"test-key"}),
        port: int = 0,
        enforce_limits: bool = True,
    ) -> None:
        self.dims = dims
        self.latency = latency
        self.keys = keys
        self.enforce_limits = enforce_limits
        self.poison: set[str] = set()
        self.count_tokens: Callable[[str], int] = count_tokens
        self.processing_rate: float | None = None
        self.batch_polls = 2
        self.batch_outcome = "completed"
        self.seen: list[Seen] = []
        self._rate: Rate | None = None
        self._pace = Pace()
        self._faults: list[Fault] = []
        self._lock = Lock()
        self._vectors: Vectors = {"minilm": MiniLM, "hash": Hashed}[vectors]()
        self.batches = Batches(self)
        self._http = Server(("127.0.0.1", port), type("H", (Handler,), {"provider_server": self}))
        self._thread = Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop, and end the connections that clients keep open."""
        self._http.shutdown()
        self._http.server_close()
        self._http.hang_up()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def rate(self) -> tuple[int, int] | None:
        """Requests and tokens a minute; whoever sets it begins with full buckets."""
        return (self._rate.requests.most, self._rate.tokens.most) if self._rate else None

    @rate.setter
    def rate(self, rate: tuple[int, int] | None) -> None:
        self._rate = Rate(*rate) if rate else None

    def texts(self) -> list[str]:
        """Return the inputs of all requests that were answered with vectors."""
        return [text for seen in list(self.seen) if seen.status == 200 for text in seen.texts]

    def fault(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def reset(self) -> None:
        """Forget what was seen, and all faults and batches."""
        with self._lock:
            self.seen.clear()
            self._faults.clear()
        self.batches.clear()

    def counters(self) -> dict[str, int]:
        seen = list(self.seen)
        answered = [one for one in seen if one.status == 200]
        return {
            "requests": len(seen),
            "answered": len(answered),
            "texts": sum(len(one.texts) for one in answered),
        }

    def handle(self, method: str, path: str, headers: Mapping[str, str], content: bytes) -> Reply:
        """Answer a request, or raise `CutError`."""
        plain = path.partition("?")[0]
        if plain == "/seen":
            return Reply(200, dump(self.counters()))
        batch = self.batches.handle(method, path, headers, content)
        if batch is not None:
            return batch
        try:
            body = json.loads(content) if method == "POST" else None
        except ValueError:
            return Reply(400, dump({"error": "the body is not JSON"}))
        provider = route(plain, body) if isinstance(body, dict) else None
        if provider is None or not isinstance(body, dict):
            return Reply(404, dump({"error": f"there is no {method} {plain}"}))
        return self._embedding(provider, plain, headers, body)

    def authorize(self, provider: Provider, headers: Mapping[str, str]) -> RefusalError | None:
        """Return why the key that came, or did not, is not taken."""
        key = provider.key(headers)
        if not self.keys or not provider.needs_key or key in self.keys:
            return None
        azure = "api-key" in headers
        return RefusalError("401" if key else "no-key", key=key, azure=azure)

    def embed(self, provider: Provider, ask: Ask, fault: str = "") -> Reply:
        """Answer what is asked within the limits, or raise `RefusalError`."""
        if not self.poison.isdisjoint(ask.texts):
            raise RefusalError("400", model=ask.model)
        if self.enforce_limits:
            provider.limit(ask, self.count_tokens)
        tokens = list(map(self.count_tokens, ask.texts))
        if self.processing_rate:
            self._pace.wait(len(ask.texts), self.processing_rate)
        count = len(ask.sizes or ask.texts)
        order: Sequence[int] = range(count - 1 if fault == "wrong-count" else count)
        if fault == "wrong-order" and provider.indexed:
            order = order[::-1]
        columns = [self._column(provider, ask, form, fault) for form in ask.forms]
        return provider.answer(ask, columns, order, tokens)

    def record(
        self, provider: Provider, path: str, headers: Mapping[str, str], ask: Ask, key_ok: bool
    ) -> Seen:
        seen = Seen(
            provider=provider.name,
            path=path,
            texts=ask.texts,
            role=ask.role,
            dims=ask.dims,
            key_ok=key_ok,
            headers=without_secrets(headers),
            encoding="base64" if any(form.base64 for form in ask.forms) else ask.forms[0].dtype,
            at=time.monotonic(),
            model=ask.model,
        )
        self.seen.append(seen)
        return seen

    def _embedding(
        self, provider: Provider, path: str, headers: Mapping[str, str], body: dict[str, Any]
    ) -> Reply:
        problem = self.authorize(provider, headers)
        key_ok = problem is None
        try:
            ask = provider.ask(path, body)
        except RefusalError as refusal:
            ask, problem = Ask("", []), problem or refusal
        seen = self.record(provider, path, headers, ask, key_ok)
        fault = self._next_fault(seen) if problem is None else None
        if fault and fault.kind == "cut":
            raise CutError
        time.sleep(self.latency + (fault.seconds if fault and fault.kind == "slow" else 0))
        try:
            if problem is not None:
                raise problem
            reply = self._faulty(provider, ask, fault)
        except RefusalError as refusal:
            refusal.facts.setdefault("model", ask.model)
            reply = provider.refuse(refusal)
        if self._rate and provider.name == "openai":
            reply.headers.update(self._rate.headers())
        if fault and fault.kind == "cut-body":
            raise CutError(reply.body)
        seen.status = reply.status
        return reply

    def _faulty(self, provider: Provider, ask: Ask, fault: Fault | None) -> Reply:
        kind = fault.kind if fault else ""
        if fault and kind == "429-retry-after":
            raise RefusalError("429", seconds=fault.seconds)
        if kind in _STATUSES:
            raise RefusalError(kind, key=next(iter(self.keys), ""))
        if kind == "garbage":
            return Reply(200, b"<html>It works!</html>", {}, "text/html")
        if self._rate:
            provider.within(self._rate, ask, sum(map(self.count_tokens, ask.texts)))
        return self.embed(provider, ask, kind)

    def _next_fault(self, seen: Seen) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.times and (fault.when is None or fault.when(seen)):
                    fault.times -= fault.times > 0
                    return fault
        return None

    def _column(self, provider: Provider, ask: Ask, form: Form, fault: str) -> list[bytes]:
        full = provider.width(ask, self.dims)
        size = Size(ask.dims or full, full, provider.normalized(ask))
        texts = [f"query: {text}" for text in ask.texts] if ask.query else ask.texts
        if not (fault or ask.sizes or ask.scale != 1):
            return self._vectors.fragments(texts, size, form)
        rows = self._vectors.matrix(texts, size) * np.float32(ask.scale)
        if ask.sizes:
            starts = np.cumsum([0, *ask.sizes[:-1]])
            means = np.add.reduceat(rows, starts) / np.reshape(ask.sizes, (-1, 1))
            rows = unit(means) if size.normalized else means.astype(np.float32)
        return render(_spoilt(rows, fault), form)


def count_tokens(text: str) -> int:
    return max(1, len(text.encode("utf-8", "surrogatepass")) // 4)


def _spoilt(rows: Matrix, fault: str) -> Matrix:
    if fault == "wrong-width":
        return rows[:, :-1].copy()
    if fault in ("nan", "inf"):
        rows[0, 0] = float(fault)
    elif fault == "zeros":
        rows[0] = 0
    return rows
