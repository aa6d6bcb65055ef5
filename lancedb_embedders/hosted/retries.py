"""Tries again what can pass, with pauses that grow, until it is done or its time is over."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from lancedb_embedders.hosted.failures import Failure

T = TypeVar("T")

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_JITTER = 0.5


def retried(work: Callable[[], T], deadline: Callable[[], float], stop: threading.Event) -> T:
    """Return what `work` does, which is done again after each `Failure` that can pass.

    Parameters
    ----------
    work : callable
        One attempt.
    deadline : callable
        Returns the time, as `time.monotonic` has it, from which on it is not tried again.
    stop : threading.Event
        Ends a pause, and with it the work, when it is set.

    Raises
    ------
    Failure
        That of the last attempt.
    """
    import stamina

    backoff = 0.0

    def passes(error: Exception) -> bool | float:
        if not isinstance(error, Failure) or error.kind != "retry":
            return False
        pause = max(backoff + _JITTER * random.random(), error.retry_after or 0.0)
        if time.monotonic() + pause > deadline():
            return False
        # Slept through here and not by stamina, so that the end of all work ends it.
        return False if stop.wait(pause) else 0.0

    for attempt in stamina.retry_context(
        on=passes,
        attempts=None,
        timeout=None,
        wait_initial=_FIRST_PAUSE,
        wait_max=_LONGEST_PAUSE,
        wait_jitter=0,
    ):
        with attempt:
            backoff = attempt.next_wait
            return work()
    raise AssertionError("not reached")
