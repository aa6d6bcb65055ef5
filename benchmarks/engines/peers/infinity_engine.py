"""infinity's engine in this process, without its server."""

from __future__ import annotations

import asyncio
import importlib
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any


def load(model: Path) -> Callable[[list[str]], Any]:
    """Start the engine on a loop of its own, so that calls wait for nothing else."""
    numpy: Any = importlib.import_module("numpy")
    infinity: Any = importlib.import_module("infinity_emb")
    engine = infinity.AsyncEmbeddingEngine.from_args(
        infinity.EngineArgs(
            model_name_or_path=str(model), device="cpu", engine="torch", model_warmup=False
        )
    )
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    def wait(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    wait(engine.astart())

    def embed(texts: list[str]) -> Any:
        vectors, _ = wait(engine.embed(sentences=texts))
        return numpy.array(vectors, dtype=numpy.float32)

    # Its threads keep a process from ending, and functions registered for the end come after them.
    stop = weakref.finalize(embed, lambda: wait(engine.astop()))
    show = sys.excepthook

    def fail(*error: Any) -> None:
        show(*error)
        stop()

    sys.excepthook = fail
    return embed
