"""Requests to a provider, many at once: each limited, tried again, taken apart or given up."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from lancedb_embedders.hosted.failures import Failure
from lancedb_embedders.hosted.limits import Limiter
from lancedb_embedders.hosted.packing import Request
from lancedb_embedders.hosted.provider import Answer
from lancedb_embedders.hosted.retries import retried

_LOOK = 0.2  # seconds between two looks at whether the process ends


@dataclass(frozen=True)
class Policy:
    """How requests are sent.

    Attributes
    ----------
    concurrency : int
        Requests in flight at once.
    deadline : float
        Seconds after which a request is not tried once more.
    requests_per_minute, tokens_per_minute : int or None
        Limits that are set; others are learned.
    """

    concurrency: int
    deadline: float
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


@dataclass
class Outcome:
    """What became of the texts of some requests.

    Attributes
    ----------
    refused : dict of int to str
        Position of a text that the provider refuses -> its words.
    error : Exception or None
        Why the rest was given up, if it was.
    requests : int
        Requests that were answered with vectors.
    """

    refused: dict[int, str] = field(default_factory=dict)
    error: BaseException | None = None
    requests: int = 0


class Sender:
    """Sends requests by a pool of threads, and takes refused ones apart.

    Parameters
    ----------
    ask : callable
        Takes the positions of a request's texts, and returns the provider's `Answer` or raises
        `Failure`.
    keep : callable
        Takes a request and its answer before the next one is asked; what it raises ends all.
    probe : callable
        Asks for a text that nobody refuses; tells a refused text from a refused request.
    limiter : Limiter
        Shared by all that goes to the endpoint.
    policy : Policy
        How to send.
    """

    def __init__(
        self,
        ask: Callable[[Sequence[int]], Answer],
        keep: Callable[[Request, Answer], None],
        probe: Callable[[], Answer],
        limiter: Limiter,
        policy: Policy,
    ) -> None:
        self._ask, self._keep, self._probe = ask, keep, probe
        self._limiter, self._policy = limiter, policy
        self._stop = threading.Event()
        self._idle = threading.Condition()
        self._asking = 0
        self._outcome = Outcome()
        self._sound: bool | None = None  # whether the provider takes any text at all
        self._sound_lock = threading.Lock()

    def send(self, requests: Iterable[Request]) -> Outcome:
        """Send all requests; returns when each is answered, refused or given up."""
        rest = iter(requests)
        first = list(itertools.islice(rest, 2))
        if len(first) < 2:  # a query needs no threads
            return self._send_here(first)
        pool = ThreadPoolExecutor(self._policy.concurrency, thread_name_prefix="embedding-request")
        try:
            self._send_in(pool, itertools.chain(first, rest))
        except BaseException:
            self._stop.set()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            # What is being asked is being paid for: its answer is kept. What only waits to be tried
            # again is not waited for.
            with self._idle:
                self._idle.wait_for(lambda: self._asking == 0)
        return self._outcome

    def _send_here(self, todo: list[Request]) -> Outcome:
        while todo and self._outcome.error is None:
            try:
                todo += self._one(todo.pop())
            except Exception as error:
                self._outcome.error = error
        return self._outcome

    def _send_in(self, pool: ThreadPoolExecutor, requests: Iterator[Request]) -> None:
        todo: deque[Request] = deque()  # what is to be sent in place of a request
        running: set[Future[list[Request]]] = set()
        while True:
            # No more than fit: what a pool has taken on, a process that ends still works off.
            while len(running) < self._policy.concurrency:
                request = todo.popleft() if todo else next(requests, None)
                if request is None:
                    break
                running.add(pool.submit(self._one, request))
            if not running:
                return
            done, running = wait(running, _LOOK, FIRST_COMPLETED)
            for future in done:
                error = future.exception()
                if error is None:
                    todo.extendleft(reversed(future.result()))
                elif self._outcome.error is None:
                    self._outcome.error = error
            if self._outcome.error is not None:
                self._stop.set()
                return
            if not done:
                # LanceDB embeds on a thread of its own, and nobody tells it that the process ends;
                # a pool takes nothing on then.
                pool.submit(time.monotonic)

    def _one(self, request: Request) -> list[Request]:
        """Send one request; returns what is to be sent in its place, if anything."""
        try:
            self._with_retries(request)
        except Failure as failure:
            if failure.kind not in ("smaller", "input") or not self._is_sound(failure):
                raise
            if len(request.positions) > 1:
                return request.halves()
            self._outcome.refused[int(request.positions[0])] = str(failure)
        return []

    def _with_retries(self, request: Request) -> None:
        deadline = math.inf  # counted from when it is first sent

        def attempt() -> None:
            nonlocal deadline
            sent_at = self._limiter.acquire(
                request.tokens,
                self._stop,
                self._policy.requests_per_minute,
                self._policy.tokens_per_minute,
            )
            if sent_at is not None:
                deadline = min(deadline, sent_at + self._policy.deadline)
                self._attempt(request, sent_at)

        retried(attempt, lambda: deadline, self._stop)

    def _attempt(self, request: Request, sent_at: float) -> None:
        with self._idle:
            if self._stop.is_set():
                return
            self._asking += 1
        try:
            answer = self._ask([int(position) for position in request.positions])
            self._keep(request, answer)
            self._sound = True
            spare = 0 if answer.tokens is None else request.tokens - answer.tokens
            self._limiter.answered(answer.headers, spare)
            with self._idle:
                self._outcome.requests += 1
        except Failure as failure:
            if failure.status == 429 and failure.kind == "retry":
                self._limiter.refused(sent_at, failure.retry_after)
            elif failure.retry_after is not None:
                self._limiter.pause(failure.retry_after)
            raise
        finally:
            with self._idle:
                self._asking -= 1
                self._idle.notify_all()

    def _is_sound(self, failure: Failure) -> bool:
        """Tell whether the provider takes other texts, so that it is worth finding the bad ones."""
        if failure.kind == "smaller":
            return True
        with self._sound_lock:
            if self._sound is None:
                try:
                    self._probe()
                except Failure as other:
                    self._sound = other.kind == "retry"
                else:
                    self._sound = True
            return self._sound
