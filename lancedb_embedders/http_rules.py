"""Rules of HTTP that hosted models and pictures on the web have in common."""

from __future__ import annotations

import time
from collections.abc import Iterable
from email.utils import parsedate_to_datetime


def named(host: str, names: Iterable[str]) -> bool:
    """Tell whether a host is among `names`; one that begins with a dot stands for all below it."""
    host = host.lower()
    return any(
        host.endswith(name) if name.startswith(".") else host == name
        for name in (name.lower() for name in names)
    )


def pause_asked(retry_after: str) -> float | None:
    """Return the seconds that a ``Retry-After`` asks to wait, in either form of it, or None."""
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
