"""No secret reaches a table, a repr, a log, a pickle or an exception."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel
from pydantic import SecretStr

from lancedb_embedders import Batch, ConfigurationError, Embedder
from lancedb_embedders.stored import secret_option

SECRET = "sk-very-secret-4711"


class KeyedEmbeddings(Embedder, registry_name="keyed-test"):
    name: str = "keyed"
    api_key: SecretStr | None = secret_option()

    def ndims(self) -> int:
        return 4

    def embed(self, batch: Batch) -> Any:
        if "fail" in batch.inputs:
            raise RuntimeError(f"refused for {self!r}")
        assert self.api_key is not None
        assert self.api_key.get_secret_value() == SECRET
        return np.ones((len(batch.inputs), 4), dtype=np.float32)


@pytest.fixture
def function() -> Any:
    get_registry().set_var("the_key", SECRET)
    return KeyedEmbeddings.create(api_key="$var:the_key")


def test_a_secret_is_nowhere(
    db: Any, tmp_path: Path, function: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Row(LanceModel):
        text: str = function.SourceField()
        vector: function.Vector() = function.VectorField()  # type: ignore[valid-type]

    with caplog.at_level(logging.DEBUG):
        table = db.create_table("t", schema=Row)
        table.add([{"text": "a"}])
        assert len(table.search("b").limit(1).to_list()) == 1
        with pytest.raises(RuntimeError) as failure:
            table.add([{"text": "fail"}])
    places = [repr(function), str(function), str(failure.value), caplog.text]
    places += [repr(function.safe_model_dump()), str(function.model_dump()), function.identity()]
    files = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    files.append(pickle.dumps(function))
    assert not [place for place in places if SECRET in place]
    assert not [content for content in files if SECRET.encode() in content]
    assert function.safe_model_dump()["api_key"] == "$var:the_key"


def test_pickle_finds_the_secret_again(function: Any) -> None:
    copied = pickle.loads(pickle.dumps(function))
    assert copied == function
    assert copied.api_key.get_secret_value() == SECRET


@pytest.mark.parametrize("written", [SECRET, f"$var:the_key:{SECRET}", SecretStr(SECRET)])
def test_a_secret_that_is_written_out_is_refused(written: Any) -> None:
    with pytest.raises(ConfigurationError, match="api_key is a secret") as refusal:
        KeyedEmbeddings.create(api_key=written)
    assert SECRET not in str(refusal.value)


def test_a_variable_that_is_not_set_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r"'no_such_key' not found.*set_var"):
        KeyedEmbeddings.create(api_key="$var:no_such_key")


def test_a_secret_field_must_be_declared_as_one() -> None:
    with pytest.raises(TypeError, match=r"declare it as secret_option\(\)"):

        class Leaky(KeyedEmbeddings, registry_name="leaky-test"):
            token: SecretStr = SecretStr("")
