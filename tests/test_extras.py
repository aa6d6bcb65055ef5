from __future__ import annotations

import sys

import pytest
from lancedb.embeddings import get_registry

from lancedb_embedders import ConfigurationError, MissingExtraError
from lancedb_embedders.extras import EXTRAS, installed, require
from tests.conftest import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def test_extras_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert set(extras) == {*EXTRAS, "all"}
    assert extras["all"] == [f"lancedb-embedders[{','.join(EXTRAS)}]"]


def test_what_is_missing_is_named_with_the_command_that_installs_it() -> None:
    missing = [extra for extra in EXTRAS if not installed(extra)]
    assert "bundled" not in missing
    if not missing:
        pytest.skip("every extra is installed")
    for extra in missing:
        with pytest.raises(MissingExtraError) as error:
            require(extra, "this test")
        assert f'pip install "lancedb-embedders[{extra}]"' in str(error.value)


def test_an_engine_that_is_not_there() -> None:
    function = get_registry().get("sbert").create(engine="openvino")
    expected = ConfigurationError if installed("openvino") else MissingExtraError
    with pytest.raises(expected, match="openvino"):
        function.compute_source_embeddings(["text"])
