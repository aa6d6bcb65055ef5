from __future__ import annotations

import json
import sys
from collections.abc import Callable

from lancedb_embedders.extras import EXTRAS
from tests.conftest import HIDE, ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def test_extras_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert set(extras) == {*EXTRAS, "all"}
    assert extras["all"] == [f"lancedb-embedders[{','.join(EXTRAS)}]"]


def test_what_is_missing_is_named_with_the_command_that_installs_it(
    python: Callable[..., str],
) -> None:
    code = (
        HIDE
        + """
import json
from lancedb_embedders import MissingExtraError
from lancedb_embedders.extras import EXTRAS, installed, require
said = {}
hide([])
for extra, modules in EXTRAS.items():
    Hidden.names = {module.partition(".")[0] for module in modules}
    try:
        require(extra, "this test")
    except MissingExtraError as error:
        said[extra] = installed(extra), str(error)
print(json.dumps(said))
"""
    )
    said = json.loads(python(code))
    assert list(said) == list(EXTRAS)
    for extra, (installed, message) in said.items():
        assert not installed
        assert message.startswith("this test needs an extra.")
        assert f'pip install "lancedb-embedders[{extra}]"' in message


def test_an_engine_that_is_not_there(python: Callable[..., str]) -> None:
    code = (
        HIDE
        + """
import lancedb_embedders
from lancedb.embeddings import get_registry
hide(["openvino"])
function = get_registry().get("sbert").create(engine="openvino")
try:
    function.compute_source_embeddings(["text"])
except lancedb_embedders.MissingExtraError as error:
    print(error)
"""
    )
    assert 'pip install "lancedb-embedders[openvino]"' in python(code)
