"""Batches through a model: the next are made while several run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import chain, islice
from typing import TypeVar

Job = TypeVar("Job")
Done = TypeVar("Done")


def run(jobs: Iterable[Job], work: Callable[[Job], Done], workers: int) -> Iterator[Done]:
    """Do `work` on each job, several at once, and yield what it returns as it finishes.

    Jobs are taken from `jobs` as they are needed, so that what makes them runs beside the work
    and memory stays bounded.

    Parameters
    ----------
    jobs : iterable
        Used in the thread of the caller.
    work : callable
        Safe to run in several threads at once where there are several workers.
    workers : int
        How many run at once. One, or a single job, is done in the thread of the caller.

    Examples
    --------
    >>> sorted(run(range(5), lambda job: job * job, workers=2))
    [0, 1, 4, 9, 16]
    """
    jobs = iter(jobs)
    first = list(islice(jobs, 2))
    if workers == 1 or len(first) < 2:
        yield from map(work, chain(first, jobs))
        return
    pending: set[Future[Done]] = set()
    with ThreadPoolExecutor(workers, thread_name_prefix="embed") as pool:
        try:
            for job in chain(first, jobs):
                # One more than run is ready, so that none waits for the next to be made.
                if len(pending) > workers:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
                pending.add(pool.submit(work, job))
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            for future in pending:
                future.cancel()
