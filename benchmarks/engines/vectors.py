"""The vectors of a contestant, for `quality`."""

from __future__ import annotations

from pathlib import Path

from benchmarks.engines.contestants import CONTESTANTS
from benchmarks.engines.embedding import Loaded
from benchmarks.engines.setting import Setting
from benchmarks.job import Job, Result


def measure(job: Job) -> Result:
    """Load the contestant and embed the texts, for its vectors or to have done so once."""
    setting = Setting.of(job)
    loaded = Loaded(CONTESTANTS[job.who], Path(setting.weights))
    if setting.keep:
        keep(loaded, job)
    else:
        loaded.embed(job.texts())
    return {}


def keep(loaded: Loaded, job: Job) -> None:
    """Embed the job's texts and those to be judged, and keep the vectors in a file."""
    import numpy as np

    setting = Setting.of(job)
    vectors = np.asarray(loaded.embed([*job.texts(), *setting.judged]), dtype=np.float32)
    np.save(vectors_file(Path(setting.keep), job.who), vectors)


def vectors_file(folder: Path, name: str) -> Path:
    """Return the file of a contestant's vectors."""
    return folder / f"{name}.npy"
