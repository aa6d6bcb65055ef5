"""An environment for LangChain, made once in the user's cache folder."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import platformdirs

_PACKAGES = ("langchain-classic", "langchain-openai")


def langchain_python() -> str | None:
    """Return the Python that has LangChain; None if it cannot be installed."""
    folder = platformdirs.user_cache_path("lancedb-embedders-benchmarks", appauthor=False)
    folder = folder / "langchain"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not _has_it(python):
        venv.create(folder, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", *_PACKAGES]
        if subprocess.run(install, capture_output=True, check=False).returncode:
            return None
    return str(python) if _has_it(python) else None


def langchain_versions(python: str) -> str:
    """Return the versions of its packages, in a line."""
    code = "from importlib.metadata import version as v; import sys; "
    code += "print(', '.join(f'{name} {v(name)}' for name in sys.argv[1:]))"
    done = subprocess.run(
        [python, "-c", code, *_PACKAGES], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _has_it(python: Path) -> bool:
    if not python.exists():
        return False
    code = "import langchain_classic.storage, langchain_openai"
    return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0
