from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from lancedb_embedders import settings
from lancedb_embedders.local.engine import EngineOptions
from lancedb_embedders.local.store import ModelKey, ModelStore


def key(name: str) -> ModelKey:
    options = EngineOptions("torch", "cpu", "float32", trust_remote_code=False)
    return ModelKey(name, None, Path(name), (), None, options)


class Loader:
    """Counts loads; one of a name in `slow` waits until the test lets it go on."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.failures = 0
        self.started = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, wanted: ModelKey) -> Any:
        self.loads.append(wanted.name)
        if wanted.name == "slow":
            self.started.set()
            assert self.go_on.wait(10)
        if self.failures:
            self.failures -= 1
            raise OSError("no such file")
        return object()


def test_many_threads_cause_one_load_and_do_not_hold_up_other_models() -> None:
    loader = Loader()
    store = ModelStore(loader)
    results: list[Any] = []
    threads = [
        threading.Thread(target=lambda: results.append(store.get(key("slow")))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    assert loader.started.wait(10)
    store.get(key("other"))
    loader.go_on.set()
    for thread in threads:
        thread.join()
    assert loader.loads == ["slow", "other"]
    assert len(set(map(id, results))) == 1


def test_the_longest_unused_model_goes() -> None:
    loader = Loader()
    store = ModelStore(loader)
    with settings.override(max_models=2):
        for name in ("a", "b", "a", "c", "a", "b"):
            store.get(key(name))
    assert loader.loads == ["a", "b", "c", "b"]
    assert len(store) == 2


def test_a_failed_load_is_tried_again() -> None:
    loader = Loader()
    loader.failures = 1
    store = ModelStore(loader)
    with pytest.raises(OSError, match="no such file"):
        store.get(key("a"))
    assert store.get(key("a")) is store.get(key("a"))
    assert loader.loads == ["a", "a"]
