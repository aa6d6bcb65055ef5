"""One run of a contestant: ready time, rate through a table, memory, single calls."""

from __future__ import annotations

import os
import time
from pathlib import Path

from benchmarks.engines.busy import busy
from benchmarks.engines.contestants import CONTESTANTS
from benchmarks.engines.embedding import Loaded
from benchmarks.engines.setting import Setting
from benchmarks.engines.vectors import keep
from benchmarks.job import Job, Result
from benchmarks.timing import seconds
from benchmarks.topics.memory import peak

_WARM_UP = 16


def measure(job: Job) -> Result:
    """Load, add all texts to a table, then embed the queries one at a time.

    Vectors are kept if the setting says where, after everything else.
    """
    setting = Setting.of(job)
    loaded = Loaded(CONTESTANTS[job.who], Path(setting.weights))
    loaded.query(setting.queries[0])
    ready = time.time() - job.started

    texts = job.texts()
    loaded.embed(texts[:_WARM_UP])
    table = loaded.table(job.database)
    used = _cpu_seconds()
    taken = seconds(lambda: loaded.add(table, texts))
    used = _cpu_seconds() - used
    result = {"ready": ready, "seconds": taken, "cpu_seconds": used, "peak": peak()}
    assert table.count_rows() == len(texts)

    result |= _singly(loaded, setting.queries, "")
    if setting.busy:
        with busy():
            result |= _singly(loaded, setting.queries, "busy_")
    if setting.keep:
        keep(loaded, job)
    padding = loaded.padding(texts)
    return result if padding is None else {**result, "padding": padding}


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _singly(loaded: Loaded, queries: tuple[str, ...], prefix: str) -> Result:
    import numpy as np

    for query in queries[:_WARM_UP]:
        loaded.query(query)
    times = [seconds(lambda q=query: loaded.query(q)) for query in queries]  # type: ignore[misc]
    p50, p99 = np.percentile(times, [50, 99]) * 1000
    return {f"{prefix}p50": float(p50), f"{prefix}p99": float(p99)}
