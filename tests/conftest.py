from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lancedb
import pytest

from lancedb_embedders import process
from tests.providers import ProviderServer

# No test may reach a hub by accident; those that talk to one start it themselves.
os.environ["HF_HUB_OFFLINE"] = "1"

ROOT = Path(__file__).parent.parent


#: Code that makes packages as good as not installed in a process.
HIDE = """
import sys
class Hidden:
    names = set()
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
def hide(names):
    Hidden.names.update(names)
    sys.meta_path.insert(0, Hidden())
"""


@pytest.fixture
def db(tmp_path: Path) -> Any:
    return lancedb.connect(tmp_path / "db")


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder of evaluation data, or skip."""
    folder = Path(os.environ.get("LANCEDB_EMBEDDERS_DATA", ROOT / ".." / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no evaluation data in {folder}; set LANCEDB_EMBEDDERS_DATA to its folder")
    return folder


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., str]:
    """Run code in a fresh process and return what it printed."""

    def run(code: str, *args: str, env: dict[str, str] | None = None, timeout: float = 300) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code, *args],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


#: Environment variables of keys -> what the provider server of the tests takes for one.
KEYS = dict.fromkeys(
    ["OPENAI_API_KEY", "COHERE_API_KEY", "VOYAGE_API_KEY", "GEMINI_API_KEY", "HF_TOKEN"], "test-key"
)


@pytest.fixture(scope="session")
def graphs(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return a folder of OpenVINO's graphs that all tests of a run share: each is made once."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "graphs"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(autouse=True)
def _clean_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, graphs: Path
) -> None:
    for name in list(os.environ):
        if name.startswith("LANCEDB_EMBEDDERS_") and not name.endswith("_DATA"):
            monkeypatch.delenv(name)
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    # No test finds the vectors of another, or what another asked of a function.
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LANCEDB_EMBEDDERS_CACHE_DIR", str(cache))
    (cache / "openvino").symlink_to(graphs, target_is_directory=True)
    monkeypatch.setattr(process, "_remembered", {})


@pytest.fixture
def provider() -> Iterator[ProviderServer]:
    """A server that speaks as the providers do, with vectors that cost nothing to make."""
    with ProviderServer("hash") as server:
        yield server
