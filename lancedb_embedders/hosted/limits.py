"""How fast a provider may be asked: limits a minute, and what its answers teach."""

from __future__ import annotations

import math
import re
import threading
import time
from collections import deque
from collections.abc import Mapping

_MINUTE = 60.0
_DECREASE = 0.5
_INCREASE = 0.05
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Bucket:
    """Room that fills up at a steady rate; what is taken beyond it must be filled up first.

    Libraries at hand hold their rate fixed, or keep an entry for every token of every minute.

    Parameters
    ----------
    rate : float
        Units a second.
    capacity : float, optional
        Units that may be taken at once; None: those of a second, one at the least.
    """

    def __init__(self, rate: float, capacity: float | None = None) -> None:
        self.rate = rate
        self.capacity = max(1.0, rate) if capacity is None else capacity
        self.level = self.capacity
        self._at = time.monotonic()

    def wait(self) -> float:
        """Return the seconds until something may be taken."""
        now = time.monotonic()
        self.level = min(self.capacity, self.level + (now - self._at) * self.rate)
        self._at = now
        # A request may be larger than the bucket, so a full one must do.
        needed = min(1.0, self.capacity) - self.level
        return max(0.0, needed / self.rate)

    def take(self, units: float) -> None:
        """Take `units`, into debt if need be."""
        self.level -= units


class Limiter:
    """The limits that all requests share which go to one endpoint under one key.

    Limits that are set hold. Others are learned: from the headers ``x-ratelimit-*``, and from
    refusals, by additive increase and multiplicative decrease (AIMD) of the requests a second:
    D. Chiu and R. Jain, "Analysis of the increase and decrease algorithms for congestion avoidance
    in computer networks", 1989.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._set: dict[str, tuple[float, Bucket]] = {}
        self._told: dict[str, Bucket] = {}
        self._pace: Bucket | None = None
        self._paused_until = 0.0
        self._slowed_at = 0.0
        self._successes: deque[float] = deque(maxlen=1000)

    def acquire(
        self,
        tokens: float,
        stop: threading.Event,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
    ) -> float | None:
        """Wait until a request of so many tokens may be sent.

        Returns
        -------
        float or None
            When it may, by `time.monotonic`; None if `stop` was set meanwhile.
        """
        limits = {"requests": requests_per_minute, "tokens": tokens_per_minute}
        with self._changed:
            while not stop.is_set():
                buckets = self._buckets(limits)
                pause = self._paused_until - time.monotonic()
                wait = max([pause, *(bucket.wait() for _, bucket in buckets)])
                if wait <= 0:
                    for kind, bucket in buckets:
                        bucket.take(1 if kind == "requests" else tokens)
                    return time.monotonic()
                # Woken when rates change; `stop` is looked at a few times a second.
                self._changed.wait(min(wait, 0.2))
        return None

    def answered(self, headers: Mapping[str, str], spare: float = 0.0) -> None:
        """Learn from an answer, which took `spare` tokens less than were acquired for it."""
        with self._changed:
            self._successes.append(time.monotonic())
            for bucket in (self._set.get("tokens", (0, None))[1], self._told.get("tokens")):
                if bucket is not None:
                    bucket.level = min(bucket.capacity, bucket.level + spare)
            for kind in ("requests", "tokens"):
                self._learn(kind, headers)
            if self._pace is not None:
                self._pace.rate += _INCREASE * min(1.0, self._pace.rate)
                self._pace.capacity = max(1.0, self._pace.rate)
            self._changed.notify_all()

    def refused(self, sent_at: float, retry_after: float | None) -> None:
        """Learn from an answer 429 to a request sent at `sent_at`; slows down once for many."""
        with self._changed:
            now = time.monotonic()
            if retry_after is not None:
                self._paused_until = max(self._paused_until, now + retry_after)
            if sent_at <= self._slowed_at:
                return  # sent before it was known to be too fast
            recent = [at for at in self._successes if at > now - 10]
            measured = len(recent) / max(1.0, now - recent[0]) if recent else 1.0
            before = measured if self._pace is None else min(self._pace.rate, 2 * measured)
            self._pace = Bucket(max(1 / _MINUTE, before * _DECREASE))
            self._pace.level = 1.0  # the next one waits as long as it was told to
            self._slowed_at = now

    def pause(self, seconds: float) -> None:
        """Send nothing for so many seconds."""
        with self._changed:
            self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    def _buckets(self, limits: Mapping[str, float | None]) -> list[tuple[str, Bucket]]:
        found: list[tuple[str, Bucket]] = []
        for kind, limit in limits.items():
            if limit is not None:
                if kind not in self._set or self._set[kind][0] != limit:
                    self._set[kind] = (limit, Bucket(limit / _MINUTE))
                found.append((kind, self._set[kind][1]))
            elif kind in self._told:
                found.append((kind, self._told[kind]))
        if self._pace is not None:
            found.append(("requests", self._pace))
        return found

    def _learn(self, kind: str, headers: Mapping[str, str]) -> None:
        limit, left = (
            _number(headers.get(f"x-ratelimit-{name}-{kind}")) for name in ("limit", "remaining")
        )
        reset = seconds(headers.get(f"x-ratelimit-reset-{kind}", ""))
        if limit is None or left is None or not limit > 0:
            return
        bucket = self._told.get(kind)
        if bucket is None:
            bucket = self._told[kind] = Bucket(limit / _MINUTE, limit)
        bucket.capacity = limit
        if reset and left < limit:  # tells the limits a day from those a minute
            bucket.rate = (limit - left) / reset
        bucket.level = min(bucket.level, left)


def seconds(duration: str) -> float | None:
    """Return the seconds of a duration like ``"6m0s"`` or ``"1.5"``; None if it is none.

    Examples
    --------
    >>> seconds("1m30s"), seconds("20ms"), seconds("2"), seconds("soon")
    (90.0, 0.02, 2.0, None)
    """
    plain = _number(duration)
    if plain is not None:
        return plain
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        return None
    return math.fsum(float(number) * _UNITS[unit] for number, unit in parts)


def _number(value: str | None) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return None


_limiters: dict[object, Limiter] = {}
_lock = threading.Lock()


def limiter(key: object) -> Limiter:
    """Return the one `Limiter` of this process for an endpoint and key."""
    with _lock:
        return _limiters.setdefault(key, Limiter())
