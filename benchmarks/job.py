"""What a worker is asked to measure, as it travels to its process."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

#: Numbers by name.
Result = dict[str, float]


@dataclass(frozen=True)
class Job:
    """One measurement in a process of its own.

    Attributes
    ----------
    module : str
        Module whose ``measure(job)`` runs.
    who : str
        Registry name of the function; empty where none takes part.
    folder : str
        A folder of this job's own, with a database where one was asked for.
    texts_file, result_file : str
        JSON files.
    started : float
        `time.time` right before the process was started.
    """

    module: str
    who: str
    folder: str
    texts_file: str
    result_file: str
    started: float

    @property
    def database(self) -> Path:
        """The folder of the database."""
        return Path(self.folder) / "db"

    def texts(self) -> list[str]:
        """Return the texts to work on."""
        return list(json.loads(Path(self.texts_file).read_text(encoding="utf-8")))

    def rows(self) -> list[dict[str, str]]:
        """Return the texts as a user adds them."""
        return [{"text": text} for text in self.texts()]

    def dumps(self) -> str:
        """Return the job as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> Job:
        """Make a job of its JSON."""
        return cls(**json.loads(text))
