"""Where time goes: calls of many threads, watched from outside."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

DECODE, MODEL, EMBED = "decode", "model", "embed"


@dataclass(frozen=True)
class _Call:
    start: float
    end: float
    thread_cpu: float
    process_cpu: float


class Stages:
    """Collects the calls of each stage."""

    def __init__(self) -> None:
        self._calls: dict[str, list[_Call]] = defaultdict(list)

    def watch(self, owner: Any, name: str, stage: str) -> None:
        """Take every call of a function of a module or class for one of `stage`."""
        setattr(owner, name, self.timed(getattr(owner, name), stage))

    def timed(self, function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        """Return `function`, watched."""

        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            start, thread, process = time.perf_counter(), time.thread_time(), time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                end = time.perf_counter()
                spent = (time.thread_time() - thread, time.process_time() - process)
                self._calls[stage].append(_Call(start, end, *spent))

        return timed

    def wall(self, stage: str) -> float:
        """Return the seconds during which at least one thread was in the stage."""
        total, until = 0.0, float("-inf")
        for call in sorted(self._calls[stage], key=lambda call: call.start):
            total += max(0.0, call.end - max(call.start, until))
            until = max(until, call.end)
        return total

    def thread_cpu(self, stage: str) -> float:
        """Return the CPU seconds of the threads that made the calls."""
        return sum(call.thread_cpu for call in self._calls[stage])

    def process_cpu(self, stage: str) -> float:
        """Return the CPU seconds of all threads during the calls, which must not overlap."""
        return sum(call.process_cpu for call in self._calls[stage])
