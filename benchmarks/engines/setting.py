"""What a worker of the engines needs to know beside its job; it lies in the job's folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.job import Job

_FILE = "setting.json"


@dataclass(frozen=True)
class Setting:
    """What does not fit into a `benchmarks.job.Job`.

    Attributes
    ----------
    weights : str
        Folder of the weights in the contestant's form.
    queries : list of str
        Texts for single calls.
    judged : tuple of str
        Texts whose vectors are kept, beside the job's own.
    keep : str
        Folder for what another job reads: vectors, or a database.
    rows : int
        How many rows to make of the texts.
    busy : bool
        Whether to measure single calls also while all cores have other work.
    """

    weights: str = ""
    queries: tuple[str, ...] = ()
    judged: tuple[str, ...] = ()
    keep: str = ""
    rows: int = 0
    busy: bool = False

    def write(self, folder: Path) -> None:
        """Write it into a job's folder."""
        (folder / _FILE).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def of(cls, job: Job) -> Setting:
        """Read it from a job's folder."""
        return cls(**json.loads((Path(job.folder) / _FILE).read_text(encoding="utf-8")))
