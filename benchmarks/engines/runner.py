"""Runs jobs of contestants in processes of their own, each in its environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contestants import ENVIRONMENT
from benchmarks.engines.contestants import PACKAGES, Contestant
from benchmarks.engines.environments import cache_folder, environment
from benchmarks.engines.failure import last_line
from benchmarks.engines.setting import Setting
from benchmarks.job import Job, Result

_ROOT = Path(__file__).resolve().parent.parent.parent
_PATIENCE = 3600


class RunError(RuntimeError):
    """A contestant could not run; the message says why, in a line."""


def run(
    module: str,
    folder: Path,
    contestant: Contestant | None = None,
    texts: Sequence[str] = (),
    setting: Setting | None = None,
    database: Path | None = None,
) -> Result:
    """Run ``measure`` of a module in a new process.

    Parameters
    ----------
    module : str
        Full name.
    folder : pathlib.Path
        Where the job's own folder is made, and removed again.
    contestant : Contestant, optional
        Who it is about, in whose environment it runs; None: the benchmark's own.
    texts : sequence of str, optional
        For the job.
    setting : Setting, optional
        For the job.
    database : pathlib.Path, optional
        A database that the job gets a copy of.

    Raises
    ------
    RunError
        No environment, or the process failed or took an hour.
    """
    python = sys.executable
    settings: dict[str, str] = {}
    if contestant is not None:
        where = environment(contestant.environment, PACKAGES[contestant.environment])
        if where.python is None:
            raise RunError(f"it cannot be installed: {where.reason}")
        python, settings = where.python, dict(contestant.settings)
    own = folder / "job"
    own.mkdir()
    try:
        (setting or Setting()).write(own)
        if database is not None:
            shutil.copytree(database, own / "db")
        texts_file, result_file = own / "texts.json", own / "result.json"
        texts_file.write_text(json.dumps(list(texts)), encoding="utf-8")
        who = contestant.name if contestant else ""
        job = Job(module, who, str(own), str(texts_file), str(result_file), time.time())
        done = subprocess.run(
            [python, "-m", "benchmarks.worker", job.dumps()],
            cwd=_ROOT,
            env=_variables(settings),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE,
        )
        if done.returncode:
            raise RunError(last_line(done.stderr))
        result: Result = json.loads(result_file.read_text(encoding="utf-8"))
        return result
    except subprocess.TimeoutExpired as error:
        raise RunError(f"it took more than {error.timeout:.0f} seconds") from None
    finally:
        shutil.rmtree(own)


def _variables(settings: dict[str, str]) -> dict[str, str]:
    prefix = "LANCEDB_EMBEDDERS_"
    # What the user has set would make other contestants of them.
    kept = {"DATA", "CACHE_DIR"}
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(prefix) or name.removeprefix(prefix) in kept
    }
    return {
        f"{prefix}CACHE_DIR": str(cache_folder() / "engines" / "ours"),
        **inherited,
        **{name: value for name, value in ENVIRONMENT.items() if not name.startswith(prefix)},
        f"{prefix}DEVICE": "cpu",
        **{prefix + name: value for name, value in settings.items()},
    }
