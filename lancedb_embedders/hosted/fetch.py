"""Vectors of one batch: those in the cache, and those that are asked for and put there."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lancedb_embedders.cache import Found, VectorCache, text_key
from lancedb_embedders.errors import (
    ConfigurationError,
    CostError,
    ProviderError,
    VectorError,
)
from lancedb_embedders.hosted import access
from lancedb_embedders.hosted.connection import connect, is_own_server
from lancedb_embedders.hosted.failures import Failure
from lancedb_embedders.hosted.overflow import Pieces
from lancedb_embedders.hosted.packing import Request, pack
from lancedb_embedders.hosted.provider import Answer, unusable
from lancedb_embedders.hosted.sending import Outcome, Policy, Sender
from lancedb_embedders.hosted.usage import Usage, dollars
from lancedb_embedders.output import Float32
from lancedb_embedders.progress import progress_bar

if TYPE_CHECKING:
    from lancedb_embedders.batch import Role
    from lancedb_embedders.hosted.embedder import HostedEmbedder

logger = logging.getLogger(__name__)

# English has about four bytes a token; for providers that do not say what they counted.
_BYTES_PER_TOKEN = 4
_PROBE = "test"


class Fetch:
    """Gets the vectors of texts as they are sent.

    Parameters
    ----------
    function : HostedEmbedder
        Whose they are.
    role : {"document", "query"}
        Whether they are stored or searched for.
    pieces : Pieces
        What is sent.
    cache : VectorCache
        Where vectors are kept.
    options : dict
        Options of this process.
    """

    def __init__(
        self,
        function: HostedEmbedder,
        role: Role,
        pieces: Pieces,
        cache: VectorCache,
        options: dict[str, Any],
    ) -> None:
        self._function, self._role, self._options = function, role, options
        self._cache, self._space = cache, function.space(role)
        self._texts = pieces.texts
        self._keys = [text_key(text) for text in pieces.texts]
        self._lock = threading.Lock()
        self._vectors: Float32 = np.empty((len(self._texts), 0), dtype=np.float32)
        self._usage = Usage()
        self._refused: dict[int, str] = {}
        self._timeout: float = options["request_timeout"]

    def vectors(self) -> tuple[Float32, dict[int, str]]:
        """Return the vectors, and which texts are refused: position -> the provider's words.

        Rows of refused texts are zeros.
        """
        found: Found = self._cache.find(self._space, self._keys)
        self._vectors = found.vectors
        missing = np.flatnonzero(~found.known)
        if len(missing) == 0:
            self._report(len(self._texts))
            return self._vectors, {}
        requests: Iterable[Request] = self._requests(missing)
        if self._options["max_cost"] is not None:
            requests = list(requests)
            self._check_cost(requests, missing)
        self._client, self._key, limits = connect(self._function, self._timeout)
        self._cache.check()
        with progress_bar(len(missing), "texts", self._options["progress"]) as self._bar:
            sender = Sender(self._ask, self._keep, self._probe, limits, self._policy())
            outcome = sender.send(requests)
        self._report(len(self._texts) - len(missing))
        if outcome.error is not None:
            raise self._explained(outcome, len(missing)) from None
        refused = {**self._refused, **outcome.refused}
        if self._vectors.shape[1] == 0:  # nothing but refusals
            self._vectors = np.zeros((len(self._texts), self._function.dim or 1), dtype=np.float32)
        self._vectors[list(refused)] = 0
        return self._vectors, refused

    # -- before anything is sent ----------------------------------------------------------------

    def _requests(self, missing: np.typing.NDArray[np.int64]) -> Iterator[Request]:
        texts = [self._texts[i] for i in missing]
        packed = pack(texts, self._function.limits(), self._function.counter())
        return (Request(missing[request.positions], request.tokens) for request in packed)

    def _check_cost(
        self, requests: Sequence[Request], missing: np.typing.NDArray[np.int64]
    ) -> None:
        most = self._options["max_cost"]
        function = self._function
        spent = function.usage().usd or 0.0
        bound = sum(request.tokens for request in requests)
        cost = dollars(function.name, function.provider, bound)
        if cost is None:
            if is_own_server(function):
                return
            raise ConfigurationError(
                f"max_cost={most} cannot be held: the catalogue has no price for {function.name}"
            )
        counter = function.counter()
        if spent + cost > most and counter.exact:
            bound = int(counter.count([self._texts[i] for i in missing]).sum())
            cost = dollars(function.name, function.provider, bound) or 0.0
        if spent + cost > most:
            raise CostError(
                f"{len(missing):,} texts to embed have {'' if counter.exact else 'up to '}"
                f"{bound:,} tokens, which cost ${cost:,.6f} with {function.name}; with "
                f"${spent:,.6f} spent before, that is more than max_cost={most}. Nothing was sent. "
                "Raise max_cost, or embed fewer texts"
            )

    def _policy(self) -> Policy:
        return Policy(
            concurrency=self._options["concurrency"],
            deadline=self._options["retry_deadline"],
            requests_per_minute=self._options["requests_per_minute"],
            tokens_per_minute=self._options["tokens_per_minute"],
        )

    # -- by the threads that send ---------------------------------------------------------------

    def _ask(self, positions: Sequence[int]) -> Answer:
        return self._call([self._texts[i] for i in positions])

    def _probe(self) -> Answer:
        return self._call([_PROBE])

    def _call(self, texts: Sequence[str]) -> Answer:
        try:
            answer = self._function.ask(self._client, texts, self._role)
        except ProviderError as error:  # an answer that makes no sense
            raise Failure("fatal", str(error)) from None
        except json.JSONDecodeError:
            raise Failure("fatal", "an answer that is no JSON") from None
        except Exception as error:
            failure = self._function.failure(error)
            if failure is None:
                raise
            # Without its cause: the client's errors hold the request, and so the key.
            raise Failure(
                failure.kind,
                access.scrub(failure.message, self._key),
                failure.status,
                failure.retry_after,
            ) from None
        if len(answer.vectors) != len(texts):
            raise Failure("fatal", f"it gave {len(answer.vectors)} vectors for {len(texts)} texts")
        return answer

    def _keep(self, request: Request, answer: Answer) -> None:
        vectors, positions = answer.vectors, request.positions
        with self._lock:
            check_width(self._function, vectors.shape[1], self._vectors.shape[1])
            if self._vectors.shape[1] == 0:
                self._vectors = np.empty((len(self._texts), vectors.shape[1]), dtype=np.float32)
        tokens = answer.tokens
        if tokens is None:
            tokens = self._counted(positions)
        self._count(Usage(1, len(positions), 0, tokens, self._dollars(tokens)))
        bad = unusable(vectors)
        good = np.array([i for i in range(len(positions)) if i not in bad], dtype=np.int64)
        if bad:
            vectors, positions = vectors[good], positions[good]
        self._cache.put_keys(self._space, [self._keys[i] for i in positions], vectors)
        with self._lock:
            self._refused.update({int(request.positions[i]): words for i, words in bad.items()})
            self._bar.update(len(request.positions))
        self._vectors[positions] = vectors

    def _counted(self, positions: np.typing.NDArray[np.int64]) -> int:
        texts = [self._texts[i] for i in positions]
        counter = self._function.counter()
        if counter.exact:
            return int(counter.count(texts).sum())
        return sum(-(-len(text.encode()) // _BYTES_PER_TOKEN) for text in texts)

    # -- money, and what is said ----------------------------------------------------------------

    def _dollars(self, tokens: int) -> float | None:
        return dollars(self._function.name, self._function.provider, tokens)

    def _count(self, usage: Usage) -> None:
        with self._lock:
            self._usage += usage
        self._function.count(usage)

    def _report(self, cached: int) -> None:
        self._count(Usage(cached=cached))
        level = logging.INFO if self._role == "document" else logging.DEBUG
        name = f"{self._function.registry_name} ({self._function.name})"
        logger.log(
            level, "%s: %s; this write so far: %s", name, self._usage, self._function.usage()
        )

    def _explained(self, outcome: Outcome, missing: int) -> BaseException:
        error = outcome.error
        if not isinstance(error, Failure):
            assert error is not None
            return error
        function = self._function
        hint = _HINTS.get(error.status or 0, "")
        if error.kind == "retry":
            hint = f"It was tried again for up to {self._options['retry_deadline']:g} seconds. "
        return ProviderError(
            f"{function.registry_name}: {function.name} at {function.endpoint()} gave no vectors: "
            f"{error}. {hint}{self._usage.texts:,} of {missing:,} texts were embedded before, and "
            "are in the cache: add the rows again, and only the rest is sent"
        )


def check_width(function: HostedEmbedder, width: int, seen: int = 0) -> None:
    """Raise unless a provider's vectors have as many numbers as expected, or as those seen."""
    expected = function.dim or seen or width
    if width != expected:
        raise VectorError(
            f"{function.registry_name}: {function.name} at {function.endpoint()} gives vectors of "
            f"{width} dimensions, and {expected} were expected; nothing was written. Create the "
            f"function with dim={width}, or choose another model"
        )


_HINTS = {
    401: "The key is not accepted: look at the environment variable that api_key_env names. ",
    403: "The key may not use this model: look at the account's permissions. ",
    404: "Look at the model's name, and at base_url. ",
    429: "The account has no quota left: look at its billing. ",
}
