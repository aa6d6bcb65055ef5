"""What a process is asked to do, and how it is started; nothing heavy is imported here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.contestants import ENVIRONMENT
from benchmarks.hosted.job import WorkerError, result_of

OURS = "clip"
OPEN_CLIP = "open-clip"
SINGLY = "one-at-a-time"
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Job:
    """One task in a process of its own.

    Attributes
    ----------
    what : str
        ``"peers"``: tell who takes part; ``"model"``: save one with random weights; ``"photos"``:
        make a set of pictures; ``"add"``: add it to a new table; ``"compare"``: compare vectors
        with those of transformers.
    folder : str
        A folder of the job's own.
    model : str
        Where the model of transformers is, or is to be.
    photos : str
        Where the set of pictures is, or is to be.
    who : str
        `OURS`, `OPEN_CLIP` or `SINGLY`.
    kind : str
        Which set of pictures.
    count : int
        How many.
    """

    what: str
    folder: str
    model: str = ""
    photos: str = ""
    who: str = ""
    kind: str = ""
    count: int = 0

    def dumps(self) -> str:
        """Return the job as JSON."""
        return json.dumps(asdict(self))


def run(job: Job) -> dict[str, Any]:
    """Run a job and return what it found."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.images.worker", job.dumps()],
        cwd=_ROOT,
        env={**os.environ, **ENVIRONMENT},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise WorkerError(f"{job.what} failed for {job.who or job.kind}:\n{done.stderr[-2000:]}")
    return result_of(done.stdout)


def main(measure: Callable[[Job], dict[str, Any]]) -> None:
    """Be the process: do the job that the command line holds, and write what was found."""
    found = measure(Job(**json.loads(sys.argv[1])))
    sys.stdout.write(f"\n{json.dumps(found)}\n")
