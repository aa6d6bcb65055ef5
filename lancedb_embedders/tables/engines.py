"""Where units are worked on: in this process, or by workers of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, TypedDict

from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.tables.job import Job
from lancedb_embedders.tables.slices import Slice
from lancedb_embedders.tables.work import Done, Worker

Engine = Literal["local", "ray"]
Unit = tuple[Slice, ...]
#: Works on units, and yields what became of each as it is finished, in any order.
Run = Callable[[Job, Sequence[Unit]], Iterator[Done]]


class How(TypedDict, total=False):
    """How a work is to be done; see `attach`."""

    engine: Engine
    workers: int | None
    gpus: float | None
    checkpoint_rows: int | None
    progress: bool | None


def run_here(job: Job, units: Sequence[Unit]) -> Iterator[Done]:
    """Work on units one by one in this process."""
    worker = Worker(job)
    for unit in units:
        yield worker.run(unit)


def engine_of(name: str, workers: int | None, gpus: float | None) -> Run:
    """Return what works on units.

    Parameters
    ----------
    name : {"local", "ray"}
        This process, or a Ray cluster.
    workers : int, optional
        Workers of the cluster; None: as many as it has GPUs, or else CPUs.
    gpus : float, optional
        GPUs of a worker; None: one, if the cluster has any.

    Raises
    ------
    ConfigurationError
        No such engine, or an option that it does not have.
    MissingExtraError
        The extra ``[ray]`` is not installed.
    """
    if name == "ray":
        from lancedb_embedders.tables.ray_engine import ray_run

        return ray_run(workers, gpus)
    if name != "local":
        raise ConfigurationError(f'engine={name!r} is not known; there are "local" and "ray"')
    if workers is not None or gpus is not None:
        raise ConfigurationError(
            'workers and gpus are for engine="ray"; in one process the model itself uses all cores '
            'and, with settings.device="cuda:*", all GPUs'
        )
    return run_here
