"""Units worked on by a Ray cluster: one actor a worker, that holds the model.

Ray Data hands out the units and starts workers again that died; each writes what it finished into
the table's folder itself, so nothing but its report comes back.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator, Sequence
from typing import Any, cast

from lancedb_embedders.errors import ConfigurationError, EmbeddingError
from lancedb_embedders.extras import require
from lancedb_embedders.settings import settings
from lancedb_embedders.tables.engines import Run, Unit
from lancedb_embedders.tables.job import Job, secrets_of, set_secrets, settings_given
from lancedb_embedders.tables.work import Done, Worker


class RayWorker:
    """A worker in a process of the cluster.

    Parameters
    ----------
    order : bytes
        The job, settings and secrets, pickled: Ray shows arguments in its dashboard.
    cpus : float
        CPUs that it has to itself.
    """

    def __init__(self, order: bytes, cpus: float) -> None:
        job, given, secrets = pickle.loads(order)
        set_secrets(secrets)
        for name, value in {"threads": max(int(cpus), 1), **given, "progress": False}.items():
            setattr(settings, name, value)
        self._worker = Worker(job)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Work on one unit."""
        return {"done": pickle.dumps(self._worker.run(pickle.loads(row["unit"])))}


def ray_run(workers: int | None, gpus: float | None) -> Run:
    """Return what works on units with a cluster; see `engines.engine_of`."""
    require("ray", 'engine="ray"')

    def run(job: Job, units: Sequence[Unit]) -> Iterator[Done]:
        import ray
        from ray.data import ActorPoolStrategy, DataContext

        if not ray.is_initialized():
            # RAY_ADDRESS names a cluster; without it one is started on this machine.
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        count, cpus, gpu = _shares(ray, workers, gpus)
        # The bar here shows rows of the table; Ray's show blocks, and its log each execution.
        DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        order = pickle.dumps((job, settings_given(), secrets_of(job.function)))
        items = [{"unit": pickle.dumps(unit)} for unit in units]
        done = ray.data.from_items(items, override_num_blocks=len(items)).map(
            cast("Any", RayWorker),
            fn_constructor_args=(order, cpus),
            compute=ActorPoolStrategy(size=min(count, len(items))),
            num_cpus=cpus,
            num_gpus=gpu or None,
        )
        try:
            for row in done.iter_rows():
                yield pickle.loads(row["done"])
        except ray.exceptions.RayError as error:
            raise _own(error) from error

    return run


def _shares(ray: Any, workers: int | None, gpus: float | None) -> tuple[int, float, float]:
    """Return how many workers there are, and what CPUs and GPUs each has to itself."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    all_gpus = sum(node.get("GPU", 0) for node in nodes)
    all_cpus = sum(int(node.get("CPU", 0)) for node in nodes)
    gpu = gpus if gpus is not None else float(min(all_gpus, 1))
    if gpu > all_gpus:
        raise ConfigurationError(
            f"gpus={gpu:g} for a worker, and the cluster has {all_gpus:g} in all"
        )
    if workers is None:
        workers = int(all_gpus / gpu) if gpu else all_cpus
    if workers < 1:
        raise ConfigurationError(f"workers={workers}: at least one is needed")
    a_node = -(-workers // max(len(nodes), 1))
    smallest = min((int(node.get("CPU", 0)) for node in nodes if node.get("CPU")), default=1)
    return workers, float(max(smallest // a_node, 1)), gpu


def _own(error: Any) -> Exception:
    """Return the error of this package that a worker raised, out of what Ray wraps around it."""
    inner: Any = error
    while inner is not None:
        if isinstance(inner, EmbeddingError):
            return inner
        inner = getattr(inner, "cause", None) or inner.__cause__
    return EmbeddingError(
        f"the cluster gave up: {error}. What was finished is kept; call again to go on"
    )
