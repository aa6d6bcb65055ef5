"""Environments of the peers, made once in the benchmarks' cache folder.

Each lies on top of the environment that runs the benchmark: what that one has in a version that
fits is not installed again. Peers that want other releases of what they share with the benchmark
get one that stands alone.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from benchmarks.engines.failure import last_line

_PATIENCE = 1800
_STAMP = "packages.json"
_BELOW = "below.pth"
_CONSTRAINTS = Path(__file__).resolve().parent.parent.parent / "constraints.txt"


@dataclass(frozen=True)
class Environment:
    """Where a peer runs.

    Attributes
    ----------
    python : str or None
        Its Python; None if it could not be made.
    reason : str
        Why it could not be made.
    """

    python: str | None
    reason: str = ""


def cache_folder() -> Path:
    """Return the folder that keeps environments and exported weights."""
    return Path(platformdirs.user_cache_path("lancedb-embedders-benchmarks", appauthor=False))


def environment(name: str, packages: Sequence[str], parent: Path | None = None) -> Environment:
    """Return the environment that has `packages`, and make it if need be.

    Parameters
    ----------
    name : str
        Name of its folder.
    packages : sequence of str
        Requirements as pip takes them, one with a minus in front is removed again; none: the
        environment that runs this. If the first is torch, the environment stands alone, and
        torch is that of ``constraints.txt``.
    parent : pathlib.Path, optional
        Where its folder is; None: the benchmarks' cache folder.
    """
    if not packages:
        return Environment(sys.executable)
    folder = (parent or cache_folder() / "engines") / name
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    # What lies below belongs to it: with another release of it, another choice may fit.
    wanted = [*packages, sys.version, sysconfig.get_paths()["purelib"]]
    stamp = folder / _STAMP
    if stamp.is_file() and json.loads(stamp.read_text(encoding="utf-8")) == wanted:
        return Environment(str(python))
    reason = _make(folder, python, packages)
    if reason:
        shutil.rmtree(folder, ignore_errors=True)
        return Environment(None, reason)
    stamp.write_text(json.dumps(wanted), encoding="utf-8")
    return Environment(str(python))


def versions(python: str, packages: Sequence[str]) -> str:
    """Return the versions of packages in an environment, and of transformers, in a line."""
    code = "from importlib.metadata import version as v; import sys; "
    code += "print(', '.join(f'{name} {v(name)}' for name in sys.argv[1:]))"
    kept = [name for name in (*packages, "transformers") if not name.startswith("-")]
    names = [re.split(r"[^\w-]", package)[0] for package in kept]
    done = subprocess.run([python, "-c", code, *names], capture_output=True, text=True, check=False)
    return done.stdout.strip() or last_line(done.stderr)


def _make(folder: Path, python: Path, packages: Sequence[str]) -> str:
    """Make the environment; returns why not, or nothing."""
    alone = packages[0] == "torch"
    wanted = [package for package in packages if not package.startswith("-")]
    unwanted = [package[1:] for package in packages if package.startswith("-")]
    try:
        # The pip that lies below does as well, and takes no time to be installed.
        with_pip = alone or importlib.util.find_spec("pip") is None
        venv.create(folder, with_pip=with_pip, clear=True)
        if not alone:
            _put_below(python)
        # The build for CPUs first, and no other after it: theirs come with gigabytes for GPUs.
        install = ["install", "--quiet"]
        if alone:
            install += ["--constraint", str(_CONSTRAINTS)]
        steps = [[*install, "torch"], [*install, *wanted]] if alone else [[*install, *wanted]]
        if unwanted:
            steps.append(["uninstall", "--quiet", "--yes", *unwanted])
        for step in steps:
            done = subprocess.run(
                [str(python), "-m", "pip", *step],
                capture_output=True,
                text=True,
                check=False,
                timeout=_PATIENCE,
            )
            if done.returncode:
                return last_line(done.stderr)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return ""


def _put_below(python: Path) -> None:
    """Let an environment find what it lacks in the one that runs this."""
    inside = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
        capture_output=True,
        text=True,
        check=True,
    )
    below = sysconfig.get_paths()["purelib"]
    Path(inside.stdout.strip(), _BELOW).write_text(f"{below}\n", encoding="utf-8")
