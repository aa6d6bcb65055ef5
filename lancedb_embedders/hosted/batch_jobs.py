"""Batches that are under way, remembered on disk so that a later process can go on."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

_FOLDER = "batches"


@dataclass
class Job:
    """A batch that was, or is about to be, submitted.

    Attributes
    ----------
    tag : str
        Name under which the provider knows it.
    space : str
        Of its vectors in the cache.
    requests : dict of str to list of str
        Name of each request in it -> keys of its texts in the cache, in hexadecimal digits.
    batch : str or None
        The provider's id; None: not known whether it was submitted.
    created : float
        Seconds since the epoch.
    """

    space: str
    requests: dict[str, list[str]]
    tag: str = field(default_factory=lambda: uuid.uuid4().hex)
    batch: str | None = None
    created: float = field(default_factory=time.time)

    def text_keys(self) -> Iterator[bytes]:
        """Yield the keys of all texts."""
        for keys in self.requests.values():
            yield from map(bytes.fromhex, keys)


class Jobs:
    """The jobs of a cache's folder, a JSON file each.

    Parameters
    ----------
    folder : pathlib.Path
        Of the cache.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / _FOLDER

    def of(self, space: str) -> list[Job]:
        """Return the jobs of a space, the oldest first."""
        found = [
            Job(**json.loads(file.read_text(encoding="utf-8")))
            for file in self._folder.glob("*.json")
        ]
        return sorted((job for job in found if job.space == space), key=lambda job: job.created)

    def save(self, job: Job) -> None:
        """Write a job, whole or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True)
        new = self._path(job).with_suffix(f".{os.getpid()}.new")
        new.write_text(json.dumps(asdict(job)), encoding="utf-8")
        new.replace(self._path(job))

    def forget(self, job: Job) -> None:
        """Delete a job that is done."""
        self._path(job).unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from submitting the same texts meanwhile."""
        from filelock import FileLock

        self._folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self._folder / "lock"):
            yield

    def _path(self, job: Job) -> Path:
        return self._folder / f"{job.tag}.json"
