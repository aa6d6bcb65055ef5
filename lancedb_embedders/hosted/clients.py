"""Clients of providers: one a process for each endpoint and key, shared by all threads."""

from __future__ import annotations

import atexit
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

_MOST = 16
_clients: OrderedDict[Hashable, Any] = OrderedDict()
_lock = threading.Lock()


def shared(key: Hashable, make: Callable[[], Any]) -> Any:
    """Return the client of `key`, made by `make` the first time."""
    with _lock:
        if key not in _clients:
            _clients[key] = make()
        _clients.move_to_end(key)
        while len(_clients) > _MOST:
            _clients.popitem(last=False)
        return _clients[key]


@atexit.register
def _close() -> None:
    while _clients:
        _, client = _clients.popitem()
        if hasattr(client, "close"):
            client.close()
