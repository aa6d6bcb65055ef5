from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from lancedb_embedders import ConfigurationError, settings
from lancedb_embedders.process import recall, remember


def test_defaults() -> None:
    current = settings.current()
    assert (current.device, current.engine, current.precision) == ("auto", "auto", "auto")
    assert current.trust_remote_code is False


def test_the_environment_counts_whenever_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANCEDB_EMBEDDERS_DEVICE", "cuda:1")
    monkeypatch.setenv("LANCEDB_EMBEDDERS_MODELS", os.pathsep.join(["/a", "", "~/b"]))
    assert settings.device == "cuda:1"
    assert settings.models == (Path("/a"), Path("~/b").expanduser())


def test_override_beats_the_environment_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANCEDB_EMBEDDERS_BATCH_TOKENS", "100")
    with settings.override(batch_tokens=7, models="here"):
        assert (settings.batch_tokens, settings.models) == (7, (Path("here"),))
        with settings.override(batch_tokens=None):
            assert settings.batch_tokens is None
        assert settings.batch_tokens == 7
    assert settings.batch_tokens == 100


def test_override_reaches_other_threads_and_survives_errors() -> None:
    seen: list[str] = []

    def fail_in_a_block() -> None:
        with settings.override(device="meta"):
            thread = threading.Thread(target=lambda: seen.append(settings.device))
            thread.start()
            thread.join()
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail_in_a_block()
    assert seen == ["meta"]
    assert settings.device == "auto"


def test_assignment() -> None:
    settings.max_models = 2
    try:
        assert settings.max_models == 2
        assert "max_models=2" in repr(settings)
    finally:
        del settings.max_models
    assert settings.max_models == 4


def test_bad_values_name_where_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="engine='jax' does not fit"):
        settings.engine = "jax"
    with pytest.raises(ConfigurationError, match="no setting is called 'divice'"):
        settings.divice = "cpu"
    with pytest.raises(AttributeError, match="no setting is called 'divice'"):
        _ = settings.divice
    monkeypatch.setenv("LANCEDB_EMBEDDERS_MAX_MODELS", "many")
    with pytest.raises(ConfigurationError, match="LANCEDB_EMBEDDERS_MAX_MODELS='many'"):
        _ = settings.max_models


def test_what_is_remembered_adds_up() -> None:
    remember("key of this test", {"a": 1, "b": 1})
    remember("key of this test", {"b": 2})
    assert recall("key of this test") == {"a": 1, "b": 2}
    assert recall("another key of this test") == {}
