"""Units worked on by a Ray cluster: one actor a worker, that holds the model.

Each worker writes what it finished into the table's folder itself, so nothing but its report comes
back. Units are handed out from here, one at a time, because then a worker that dies costs its own
unit and no other, and one that nobody survives is found out.
"""

from __future__ import annotations

import dataclasses
import logging
import pickle
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lancedb_embedders.errors import ConfigurationError, EmbeddingError, EmbeddingWarning
from lancedb_embedders.extras import require
from lancedb_embedders.settings import settings
from lancedb_embedders.tables.engines import Run, Unit
from lancedb_embedders.tables.job import Job, secrets_of, set_secrets, settings_given
from lancedb_embedders.tables.work import Done, Worker

# How many workers may die with the same unit, or in a row before they have begun.
_TRIES = 3
# Seconds without a single worker after which it is said that there is none.
_PATIENCE = 60.0
# What one provider allows, or one work may cost, is no more for being asked by several workers.
_SHARED = ("requests_per_minute", "tokens_per_minute", "max_cost")


class RayWorker:
    """A worker in a process of the cluster."""

    def prepare(self, order: bytes) -> None:
        """Get ready for a job.

        Parameters
        ----------
        order : bytes
            Job, settings and secrets, pickled: so they are in no message of Ray.
        """
        job, given, secrets = pickle.loads(order)
        set_secrets(secrets)
        for name, value in given.items():
            setattr(settings, name, value)
        self._worker = Worker(job)

    def work(self, unit: Unit) -> Done:
        """Work on one unit."""
        return self._worker.run(unit)


def ray_run(workers: int | None, gpus: float | None) -> Run:
    """Return what works on units with a cluster; see `engines.engine_of`."""
    require("ray", 'engine="ray"')
    if workers is not None and workers < 1:
        raise ConfigurationError(f"workers={workers}: at least one is needed")
    if gpus is not None and (gpus < 0 or (gpus > 1 and gpus % 1)):
        raise ConfigurationError(
            f"gpus={gpus:g}: a worker has a share of one GPU, like 0.5, or a whole number of them"
        )
    return _Cluster(workers, gpus)


@dataclass
class _Asked:
    """A unit, and how many workers died while they worked on it."""

    unit: Unit
    died: int = 0


class _Cluster:
    """Works on units; its workers stay for what comes next, and end when nobody holds it."""

    def __init__(self, workers: int | None, gpus: float | None) -> None:
        self._wanted = workers, gpus
        self._idle: list[Any] = []

    def __call__(self, job: Job, units: Sequence[Unit]) -> Iterator[Done]:
        if job.function.module == "__main__":
            raise ConfigurationError(
                f"{job.function.name} is defined in the script that runs, which workers of a "
                "cluster cannot import; put its class into a module of its own"
            )
        ray = _connected()
        count, cpus, gpus = _shares(ray.nodes(), *self._wanted)
        order = _order(job, count, cpus, gpus)
        actor = ray.remote(num_cpus=cpus, num_gpus=gpus)(RayWorker)
        shift = _Shift(ray, actor, count, order, units, self._idle)
        try:
            yield from shift.run()
        finally:
            self._idle = shift.end()


class _Shift:
    """The workers at work on the units of one call."""

    def __init__(
        self,
        ray: Any,
        actor: Any,
        count: int,
        order: bytes,
        units: Sequence[Unit],
        idle: Sequence[Any],
    ) -> None:
        self._ray = ray
        self._actor = actor
        self._count = count
        self._order = order
        self._waiting = deque(_Asked(unit) for unit in units)
        # What is under way, with its worker, and its unit unless the worker is getting ready.
        self._running: dict[Any, tuple[Any, _Asked | None]] = {}
        self._idle: list[Any] = []
        self._failure: BaseException | None = None
        self._never_began = 0
        for one in idle:
            self._prepare(one)

    def run(self) -> Iterator[Done]:
        """Yield what became of each unit; after an error, those under way are finished first."""
        told = False
        while (busy := self._busy()) or self._waiting:
            while len(self._running) < min(self._count, busy + len(self._waiting)):
                self._prepare(self._actor.remote())
            finished, _ = self._ray.wait(list(self._running), timeout=_PATIENCE)
            for reference in finished:
                yield from self._finished(reference)
            if not (finished or busy or told):
                told = True
                warnings.warn(
                    f"no worker has begun for {_PATIENCE:g} s: what they need of the cluster is in "
                    "use by others, or is still coming, or a model takes long to load",
                    EmbeddingWarning,
                    stacklevel=2,
                )
        if self._failure is not None:
            raise self._failure

    def end(self) -> list[Any]:
        """Stop what is under way and return the workers that are left."""
        for one, _ in self._running.values():
            self._ray.kill(one)
        return self._idle

    def _busy(self) -> int:
        return sum(asked is not None for _, asked in self._running.values())

    def _prepare(self, one: Any) -> None:
        self._running[one.prepare.remote(self._order)] = one, None

    def _finished(self, reference: Any) -> Iterator[Done]:
        one, asked = self._running.pop(reference)
        errors = self._ray.exceptions
        try:
            done = self._ray.get(reference)
        except errors.RayTaskError as error:
            self._give_up(_cause(error))
        except errors.RayError as error:
            self._died(asked, error)
            return
        else:
            self._never_began = 0
            if asked is not None:
                yield done
        if self._waiting:
            asked = self._waiting.popleft()
            self._running[one.work.remote(asked.unit)] = one, asked
        else:
            self._idle.append(one)

    def _died(self, asked: _Asked | None, error: BaseException) -> None:
        if asked is None:
            self._never_began += 1
            if self._never_began >= _TRIES:
                self._give_up(_gave_up("before they had loaded the model", error))
            return
        asked.died += 1
        if asked.died >= _TRIES:
            first = asked.unit[0]
            rows = f"of fragment {first.fragment}, rows {first.start:,} to {first.stop - 1:,}"
            more = f", and {len(asked.unit) - 1:,} more such ranges" if asked.unit[1:] else ""
            self._give_up(_gave_up(f"at work on the same rows ({rows}{more})", error))
        elif self._failure is None:
            # Last in line, so that all others are finished before it is tried again.
            self._waiting.append(asked)

    def _give_up(self, failure: BaseException) -> None:
        self._failure = self._failure or failure
        self._waiting.clear()


def _gave_up(when: str, error: BaseException) -> EmbeddingError:
    failure = EmbeddingError(
        f"{_TRIES} workers died one after the other {when}. The usual reason is memory: try fewer "
        "workers, or fewer rows at once by checkpoint_rows. What was finished is kept; call again "
        "to go on"
    )
    failure.__cause__ = error
    return failure


def _cause(error: Any) -> BaseException:
    """Return the error that a worker raised, out of what Ray wraps around it."""
    inner = error.cause
    if isinstance(inner, EmbeddingError):
        inner.__cause__ = None  # its message says all; the rest is how it came here
        return inner
    if isinstance(inner, Exception) and type(inner).__module__.partition(".")[0] != "ray":
        inner.__cause__ = error  # where in the worker it was raised
        return inner
    failure = EmbeddingError(f"a worker failed: {error}. What was finished is kept")
    failure.__cause__ = error
    return failure


def _connected() -> Any:
    import ray

    if not ray.is_initialized():
        with warnings.catch_warnings():
            # Both warn of each process that Ray forks, though it goes on to another program.
            warnings.filterwarnings("ignore", message="lancedb fork support|lance is not fork-safe")
            # RAY_ADDRESS names a cluster; without it one is started on this machine.
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    return ray


def _order(job: Job, count: int, cpus: int, gpus: float) -> bytes:
    """Return what a worker must know, pickled."""
    given = {"threads": cpus, **_shared(settings_given(), count), "progress": False}
    process = _shared(job.function.process, count)
    if gpus > 1:
        given.setdefault("device", "cuda:*")
    for options in (given, process) if gpus else ():
        if str(options.get("device", "")).startswith("cuda"):
            options["device"] = "cuda:*"  # Ray numbers those that a worker has from 0
    function = dataclasses.replace(job.function, process=process)
    secrets = secrets_of(job.function)
    return pickle.dumps((dataclasses.replace(job, function=function), given, secrets))


def _shared(options: dict[str, Any], count: int) -> dict[str, Any]:
    """Return options with a worker's share of what all workers may do together."""
    shares = {
        name: options[name] / count if name == "max_cost" else max(options[name] // count, 1)
        for name in _SHARED
        if options.get(name) is not None
    }
    return {**options, **shares}


def _shares(
    nodes: Sequence[dict[str, Any]], workers: int | None, gpus: float | None
) -> tuple[int, int, float]:
    """Return how many workers there are, and what CPUs and GPUs each has to itself."""
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    most = max((one.get("GPU", 0) for one in resources), default=0)
    if gpus is None:
        gpus = float(min(most, 1))
    if gpus > most:
        raise ConfigurationError(
            f"gpus={gpus:g} for a worker, and no machine of the cluster has more than {most:g}"
        )
    # Some machines only keep the others together.
    able = [one for one in resources if one.get("CPU", 0) >= 1 and one.get("GPU", 0) >= gpus]
    if not able:
        raise ConfigurationError("no machine of the cluster has a CPU for a worker")
    if workers is None:
        workers = sum(int(one["GPU"] / gpus if gpus else one["CPU"]) for one in able)
    # As they come to lie if they are spread evenly.
    cpus = min(int(one["CPU"]) for one in able) // -(-workers // len(able))
    return workers, max(cpus, 1), gpus
