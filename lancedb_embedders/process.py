"""Arguments of this process, kept beside the functions that they were given to.

LanceDB rebuilds a function from what its table stores before every write and search, and
what belongs to the process is not stored. So that ``create(device="cuda")`` holds for the
rebuilt function too, it is remembered here under the stored options.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

_lock = threading.Lock()
_remembered: dict[str, dict[str, Any]] = {}


def remember(key: str, options: Mapping[str, Any]) -> None:
    """Keep `options` for functions whose stored options are `key`; the last word counts."""
    if options:
        with _lock:
            _remembered[key] = {**_remembered.get(key, {}), **options}


def recall(key: str) -> dict[str, Any]:
    """Return what was remembered for `key`, or an empty dict."""
    with _lock:
        return dict(_remembered.get(key, {}))
