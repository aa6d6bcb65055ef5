"""A fresh process that opens a table and searches once."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.corpus import Corpus
from benchmarks.engines.contestants import BUILT_IN, CONTESTANTS
from benchmarks.engines.runner import run
from benchmarks.engines.setting import Setting
from benchmarks.job import Job, Result

_ROWS = 500
_OURS = "openvino"
_STEPS = {
    "imports": "imports, from the start of the process",
    "open": "open the table",
    "search": "search once",
    "total": "all of it",
}


def report(
    out: Console, corpus: Corpus, rounds: int, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Measure both in turns, print medians and ratio, and return every run."""
    names = (_OURS, BUILT_IN)
    runs: dict[str, list[Result]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in names:
            progress(f"table of {name}")
            setting = Setting(keep=str(_database(folder, name)))
            run(__name__, folder, CONTESTANTS[name], corpus.texts[:_ROWS], setting)
            # Once unmeasured: files are read for the first time, and a graph may be converted.
            _search(folder, name, corpus.queries)
        for number in range(1, rounds + 1):
            for name in names:
                progress(f"start: {name}, round {number} of {rounds}")
                runs[name].append(_search(folder, name, corpus.queries))
    times = {step: _times(runs, step) for step in _STEPS}
    shown = Table(
        title=f"A fresh process opens a table of {min(_ROWS, len(corpus.texts))} rows and searches",
        title_justify="left",
        title_style="bold",
    )
    shown.add_column("seconds")
    for name in names:
        shown.add_column(CONTESTANTS[name].label, justify="right")
    shown.add_column("times", justify="right")
    for step, what in _STEPS.items():
        medians = (statistics.median(one[step] for one in runs[name]) for name in names)
        shown.add_row(what, *(f"{value:.2f}" for value in medians), f"{times[step]:.2f}")
    out.print(shown)
    return {"runs": runs, "times_built_in": times}


def measure(job: Job) -> Result:
    """Search the job's table once; where it has none, make one to be kept."""
    function = CONTESTANTS[job.who].function
    keep = Setting.of(job).keep
    if keep:
        from benchmarks.contestants import create_table

        create_table(function, Path(keep)).add(job.rows())
        return {}

    import lancedb  # noqa: F401

    from benchmarks.contestants import open_table

    if function == "sbert":
        import lancedb_embedders  # noqa: F401
    imported = time.time()
    table = open_table(function, job.database)
    opened = time.time()
    found = table.search(job.texts()[0]).limit(5).to_list()
    done = time.time()
    assert found
    return {
        "imports": imported - job.started,
        "open": opened - imported,
        "search": done - opened,
        "total": done - job.started,
    }


def _database(folder: Path, name: str) -> Path:
    return folder / f"{name}-db"


def _search(folder: Path, name: str, queries: list[str]) -> Result:
    return run(__name__, folder, CONTESTANTS[name], queries[:1], database=_database(folder, name))


def _times(runs: dict[str, list[Result]], step: str) -> float:
    """Return the median of how many times faster ours is, round by round."""
    pairs = zip(runs[_OURS], runs[BUILT_IN], strict=True)
    return statistics.median(theirs[step] / ours[step] for ours, theirs in pairs)
