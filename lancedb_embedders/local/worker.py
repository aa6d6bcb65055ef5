"""The process of one device: ``python -m lancedb_embedders.local.worker``.

It loads a model on torch and embeds what comes in by its standard input, until that is closed.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from lancedb_embedders.errors import EmbeddingError
from lancedb_embedders.local.worker_messages import Loaded, own_pipes, receive, send, unpack

if TYPE_CHECKING:
    from lancedb_embedders.local.torch_engine import TorchEngine


def main() -> None:
    """Load and embed until the other side is gone."""
    requests, replies = own_pipes()
    # Ctrl+C goes to all processes of a terminal; the parent ends this one when it is time.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    writing = threading.Lock()

    def answer(number: int, work: Callable[..., Any], *args: Any) -> Any:
        value: Any = None
        error: Exception | None = None
        try:
            value = work(*args)
        except Exception as raised:
            error = _portable(raised)
        told = _described(value) if work is _load else value
        with writing:
            send(replies, (number, told, error))
        return value

    number, _, args = receive(requests)
    engine = answer(number, _load, *args)
    if engine is None:
        return
    served = {
        "tokenize": engine.tokenize,
        "overhead": engine.overhead,
        "forward": lambda packed, *args: (
            engine.forward(unpack(packed), *args),
            engine.batch_tokens,
        ),
        "forward_spans": lambda packed, *args: (
            engine.forward_spans(unpack(packed), *args),
            engine.batch_tokens,
        ),
    }
    # Requests are read while others run, so that the device need not wait for the next one.
    with ThreadPoolExecutor(engine.workers) as pool:
        try:
            while True:
                number, method, args = receive(requests)
                pool.submit(answer, number, served[method], *args)
        except EOFError:
            os._exit(0)  # what still runs is for no one


def _load(*args: Any) -> TorchEngine:
    from lancedb_embedders.local.torch_engine import TorchEngine

    return TorchEngine(*args)


def _described(engine: TorchEngine | None) -> Loaded | None:
    if engine is None:
        return None
    return Loaded(engine.facts, engine.batch_tokens, engine.tokenizer)


def _portable(error: Exception) -> Exception:
    """Return an error that the other side can read."""
    if not isinstance(error, EmbeddingError):  # its message may say too little
        traceback.print_exception(type(error), error, error.__traceback__)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


if __name__ == "__main__":
    main()
