"""How much a server takes in a given time."""

from __future__ import annotations

import time
from threading import Lock


class Bucket:
    """Holds `most`, and is filled with as much again in a minute."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._level = float(most)
        self._at = time.monotonic()

    def level(self) -> float:
        now = time.monotonic()
        self._level = min(self.most, self._level + (now - self._at) * self.most / 60)
        self._at = now
        return self._level

    def take(self, amount: float) -> None:
        self._level -= amount

    def wait(self, amount: float) -> float:
        """Return the seconds until the bucket holds `amount`."""
        return max(0.0, (amount - self.level()) * 60 / self.most)


class Rate:
    """Requests and tokens a minute."""

    def __init__(self, requests: int, tokens: int) -> None:
        self.requests, self.tokens = Bucket(requests), Bucket(tokens)
        self._lock = Lock()

    def take(self, tokens: int) -> tuple[str, float] | None:
        """Take one request from what is left, or tell what is short and for how long."""
        with self._lock:
            short = {"requests": self.requests.wait(1), "tokens": self.tokens.wait(tokens)}
            what = max(short, key=lambda name: short[name])
            if short[what] > 0:
                return what, short[what]
            self.requests.take(1)
            self.tokens.take(tokens)
            return None

    def headers(self) -> dict[str, str]:
        """Return how things stand, as OpenAI tells it."""
        with self._lock:
            found = {}
            for name, bucket in {"requests": self.requests, "tokens": self.tokens}.items():
                found[f"x-ratelimit-limit-{name}"] = str(bucket.most)
                found[f"x-ratelimit-remaining-{name}"] = str(max(0, int(bucket.level())))
                found[f"x-ratelimit-reset-{name}"] = duration(bucket.wait(bucket.most))
            return found


class Pace:
    """A server that takes so many texts a second, from all requests together."""

    def __init__(self) -> None:
        self._free = 0.0
        self._lock = Lock()

    def wait(self, texts: int, per_second: float) -> None:
        with self._lock:
            self._free = max(self._free, time.monotonic()) + texts / per_second
            done = self._free
        time.sleep(max(0.0, done - time.monotonic()))


def duration(seconds: float) -> str:
    """Write seconds as Go does: ``6m0s``, ``1.5s``, ``20ms``."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    return (f"{int(minutes)}m" if minutes else "") + f"{rest:.3f}".rstrip("0").rstrip(".") + "s"
