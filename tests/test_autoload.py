"""The start-up line, in environments of their own and real processes."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest
from lancedb.pydantic import LanceModel
from typer.testing import CliRunner

from lancedb_embedders import ConfigurationError, SbertEmbeddings, autoload
from lancedb_embedders.cli.autoload import autoload_app
from tests.conftest import ROOT

CLI = "from lancedb_embedders.cli.autoload import autoload_app; autoload_app()"

#: Code that stands in for LanceDB and for this package, and says when it runs.
FAKE = "print('running', __name__)"
BOTH = "running lancedb\nrunning lancedb_embedders\n"


class Environment:
    """A virtual environment that holds nothing but what tests put into it."""

    def __init__(self, folder: Path) -> None:
        venv.EnvBuilder(symlinks=sys.platform != "win32").create(folder)
        self.python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        self.site = Path(self.run("import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        self.file = self.site / "lancedb_embedders_autoload.pth"

    def add(self, name: str, code: str = FAKE) -> None:
        (self.site / name).mkdir(exist_ok=True)
        (self.site / name / "__init__.py").write_text(code)

    def process(self, *args: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.python), "-I", *args]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    def run(self, code: str, *args: str) -> str:
        done = self.process("-c", code, *args)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """An environment with the line, and with neither LanceDB nor this package."""
    environment = Environment(tmp_path / "venv")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(environment.site))
    assert autoload.enable() == environment.file
    return environment


@pytest.fixture
def fakes(bare: Environment) -> Environment:
    bare.add("lancedb")
    bare.add("lancedb_embedders", f"import lancedb; {FAKE}")
    return bare


def test_a_table_opens_without_the_import(tmp_path: Path, db: Any) -> None:
    function = SbertEmbeddings.create()

    class Note(LanceModel):
        text: str = function.SourceField()
        vector: function.Vector() = function.VectorField()  # type: ignore[valid-type]

    db.create_table("notes", schema=Note)
    environment = Environment(tmp_path / "venv")
    parents = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), str(ROOT.resolve())]
    (environment.site / "parents.pth").write_text("\n".join(parents))
    program = tmp_path / "program.py"
    program.write_text("""
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

def functions():
    import lancedb
    table = lancedb.connect(sys.argv[1]).open_table("notes")
    return [type(c.function).__name__ for c in table.embedding_functions.values()]

if __name__ == "__main__":
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        spawned = pool.submit(functions)
        import lancedb_embedders
        print(functions(), spawned.result())
""")
    code = (
        "import lancedb as l, sys; l.connect(sys.argv[1]).open_table('notes').embedding_functions"
    )
    assert "KeyError: 'sbert'" in environment.process("-c", code, str(db.uri)).stderr
    assert str(environment.file) in environment.run(CLI, "enable")
    assert (
        environment.process(str(program), str(db.uri)).stdout
        == "['SbertEmbeddings'] ['SbertEmbeddings']\n"
    )


def test_start_up_imports_nothing_and_takes_no_time(fakes: Environment) -> None:
    loaded = "import sys; print(*sys.modules)"
    with_line = fakes.run(loaded)
    line = fakes.file.read_text().splitlines()[-1]
    # Python itself may import what it reads a file of any content with.
    fakes.file.write_text("# nothing")
    assert fakes.run(loaded) == with_line
    assert autoload.disable() == fakes.file
    assert fakes.run("import lancedb") == "running lancedb\n"
    code = """
import sys, timeit
once = "exec(sys.argv[1]); assert 'LanceDBFinder' in repr(sys.meta_path.pop(0))"
print(min(timeit.repeat(once, "import sys", number=1, repeat=20)))
"""
    assert float(fakes.run(code, line)) < 1e-3


@pytest.mark.parametrize("first", ["lancedb", "lancedb.sub", "lancedb_embedders"])
def test_whatever_is_imported_first(fakes: Environment, first: str) -> None:
    (fakes.site / "lancedb" / "sub.py").touch()
    assert fakes.run(f"import {first}, lancedb_embedders, lancedb") == BOTH


def test_lancedb_is_as_without_the_line(fakes: Environment) -> None:
    fakes.add("lancedb", "import importlib.resources as r; files = r.files(__name__); a = __spec__")
    code = """
import lancedb, importlib, pkgutil, re, sys
about = [lancedb.__spec__, lancedb.a, vars(lancedb.__loader__), lancedb.files,
         pkgutil.get_data("lancedb", "__init__.py"), importlib.reload(lancedb).__spec__,
         sys.meta_path, vars(lancedb).keys()]
print(re.sub("0x[0-9a-f]+", "", str(about)))
"""
    with_line = fakes.run(code).splitlines()
    assert with_line.pop(0) == "running lancedb_embedders"
    autoload.disable()
    assert fakes.run(code).splitlines() == with_line


def test_a_spec_that_is_only_asked_for(fakes: Environment) -> None:
    code = """
import sys, importlib.util
before = set(sys.modules)
spec = [importlib.util.find_spec("lancedb") for _ in "12"][0]
assert set(sys.modules) == before
"""
    assert fakes.run(code) == ""
    assert fakes.run(code + "import lancedb") == BOTH
    manual = "module = sys.modules['lancedb'] = importlib.util.module_from_spec(spec)\n"
    assert fakes.run(code + manual + "spec.loader.exec_module(module)") == BOTH


def test_lancedb_comes_later_or_fails_at_first(fakes: Environment) -> None:
    (fakes.site / "lancedb").rename(fakes.site / "later")
    code = """
import importlib, os, sys
try:
    import lancedb
except ImportError as error:
    print(type(error).__name__, error)
os.chdir(sys.argv[1])
os.rename("later", "lancedb")
importlib.invalidate_caches()
import lancedb
"""
    missing = "ModuleNotFoundError No module named 'lancedb'\n"
    assert fakes.run(code, str(fakes.site)) == missing + BOTH
    once = "import os\nif not os.environ.get('X'):\n    os.environ['X'] = '1'\n    1 / 0\n" + FAKE
    fakes.add("lancedb", once)
    code = "try: import lancedb\nexcept ZeroDivisionError: import lancedb"
    assert fakes.run(code) == BOTH


def test_threads_that_import_at_once(fakes: Environment) -> None:
    fakes.add("lancedb", f"import time; time.sleep(0.1); {FAKE}")
    fakes.add("lancedb_embedders", f"import time; time.sleep(0.1); import lancedb; {FAKE}")
    code = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool:
    list(pool.map(__import__, ["lancedb", "lancedb_embedders"] * 4))
"""
    assert sorted(fakes.run(code).splitlines()) == sorted(BOTH.splitlines())


@pytest.mark.parametrize("broken", [None, "import nothing_of_that_name", "1 / 0"])
def test_a_package_that_is_gone_or_broken(bare: Environment, broken: str | None) -> None:
    bare.add("lancedb")
    if broken is not None:
        bare.add("lancedb_embedders", broken)
    done = bare.process("-c", "import lancedb\nimport lancedb.__init__")
    assert done.returncode == 0
    assert done.stderr.count("UserWarning") == 1
    assert done.stderr.startswith("<string>:1: UserWarning")
    assert "`lancedb-embedders autoload disable`" in done.stderr
    assert str(bare.file) in done.stderr


def test_the_commands(bare: Environment) -> None:
    def said(verb: str) -> str:
        result = CliRunner().invoke(autoload_app, [verb])
        assert result.exit_code == 0
        return result.output

    assert said("status").startswith("on: ")
    bare.file.write_text("import sys")
    assert "another version" in said("status")
    assert said("enable").startswith("on: ")
    assert autoload.is_current(bare.file)
    assert [file.name for file in bare.site.glob("*autoload*")] == [bare.file.name]
    assert said("disable") == f"off: deleted {bare.file}\n"
    assert said("disable") == "off: there was no start-up line\n"
    assert said("status").startswith("off: ")


def test_an_environment_that_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match="virtual environment"):
        autoload.enable()
    assert CliRunner().invoke(autoload_app, ["enable"]).exit_code == 1
    assert autoload.disable() is None
