from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from lancedb_embedders.local.batches import plan, share
from lancedb_embedders.local.pipeline import run


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_every_job_is_done_once(workers: int, count: int) -> None:
    done: list[int] = []
    results = list(run(range(count), lambda job: done.append(job) or job, workers))  # type: ignore[func-returns-value]
    assert sorted(done) == sorted(results) == list(range(count))


def test_jobs_run_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=10)
    assert len(list(run(range(6), lambda _: together.wait(), workers=3))) == 6


def test_a_single_job_stays_in_the_callers_thread() -> None:
    [thread] = run([1], lambda _: threading.current_thread(), workers=4)
    assert thread is threading.current_thread()


def test_jobs_are_made_as_they_are_needed() -> None:
    made: list[int] = []
    go_on = threading.Semaphore(0)

    def jobs() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    results = run(jobs(), lambda _: go_on.acquire(timeout=10), workers=2)
    first = threading.Thread(target=lambda: next(results))
    first.start()
    time.sleep(0.2)
    assert len(made) <= 5
    for _ in range(100):
        go_on.release()
    first.join()
    assert len(list(results)) == 99


def test_the_first_error_ends_the_work() -> None:
    done: list[int] = []

    def work(job: int) -> None:
        if job == 3:
            raise ValueError("the third")
        done.append(job)

    for workers in (1, 2):
        done.clear()
        with pytest.raises(ValueError, match="the third"):
            list(run(range(1000), work, workers))
        assert len(done) < 20


def test_an_error_in_making_a_job_comes_through() -> None:
    def jobs() -> Iterator[int]:
        yield from range(5)
        raise OSError("no more")

    for workers in (1, 2):
        with pytest.raises(OSError, match="no more"):
            list(run(jobs(), lambda job: job, workers))


def test_who_stops_early_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    results = run(range(1000), lambda job: job, workers=3)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def mixed(count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Lengths as texts have them: many short ones, few long ones."""
    chance = np.random.default_rng(5)
    return np.clip(chance.lognormal(3.7, 0.9, count), 3, 256).astype(np.int64)


@pytest.mark.parametrize("count", [1000, 2000, 8192])
@pytest.mark.parametrize("budget", [1024, 2048])
def test_little_of_what_is_computed_is_padding(count: int, budget: int) -> None:
    lengths = mixed(count)
    batches = list(plan(lengths, budget))
    padded = [len(batch) * int(lengths[batch].max()) for batch in batches]
    assert max(padded) <= budget
    assert sum(padded) / lengths.sum() < 1.05
    # Even lengths must not come at the price of small matrix products.
    assert np.median(padded) >= 0.45 * budget
    assert sorted(np.concatenate(batches).tolist()) == list(range(count))


def test_a_little_work_is_shared_by_all_workers() -> None:
    lengths = np.full(32, 30, dtype=np.int64)
    budget = share(int(lengths.sum()), 1024, workers=2)
    assert len(list(plan(lengths, budget))) >= 2
    assert share(10_000_000, 1024, workers=8) == 1024
    assert share(10, 1024, workers=1) == 1024
