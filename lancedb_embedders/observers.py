"""Who is told of vectors as they are made, by the configuration of the function that makes them.

LanceDB rebuilds a function from what its table stores, so that it is not the instance that counts
here but what it is created from. An observer can neither change nor break what it looks at.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from lancedb_embedders.errors import EmbeddingWarning

#: Called with a function, the batch that it was given, and a vector, or None, for each row of it.
Observer = Callable[[Any, Any, Any], None]
#: Class of a function and its `identity()`.
Key = tuple[type[Any], str]

_lock = threading.Lock()
# Replaced as a whole when it changes, so that readers need no lock.
_observers: dict[Key, tuple[Observer, ...]] = {}
_local = threading.local()


def listening() -> bool:
    """Tell whether anyone is told of anything in this thread: the whole cost where nobody is."""
    return bool(_observers) and not getattr(_local, "quiet", False)


def add(key: Key, observer: Observer) -> None:
    """Have `observer` told of what functions of a configuration make, in any thread."""
    global _observers
    with _lock:
        known = _observers.get(key, ())
        if observer not in known:
            _observers = {**_observers, key: (*known, observer)}


def remove(key: Key, observer: Observer) -> None:
    """Tell `observer` no more; one that is not told is no error."""
    global _observers
    with _lock:
        left = tuple(one for one in _observers.get(key, ()) if one != observer)
        others = {other: told for other, told in _observers.items() if other != key}
        _observers = {**others, key: left} if left else others


@contextmanager
def quiet() -> Iterator[None]:
    """Tell nobody of what is embedded in this thread."""
    before = getattr(_local, "quiet", False)
    _local.quiet = True
    try:
        yield
    finally:
        _local.quiet = before


def tell(function: Any, batch: Any, vectors: Any) -> None:
    """Tell those who listen to a function of its vectors; their errors become a warning."""
    with quiet():
        for observer in _observers.get((type(function), function.identity()), ()):
            try:
                observer(function, batch, vectors)
            except Exception as error:
                logging.getLogger(__name__).debug("an observer failed", exc_info=True)
                report(
                    f"watching {function.registry_name} failed, its vectors are not affected: "
                    f"{type(error).__name__}: {error}"
                )


def report(message: str) -> None:
    """Warn; where warnings are turned into errors, it is not the write that they end."""
    with suppress(EmbeddingWarning):
        warnings.warn(message, EmbeddingWarning, stacklevel=3)
