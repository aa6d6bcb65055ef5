"""Whether time grows with the rows and memory does not: one size a process."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.corpus import load
from benchmarks.engines.contestants import CONTESTANTS
from benchmarks.engines.embedding import Loaded
from benchmarks.engines.runner import run
from benchmarks.engines.setting import Setting
from benchmarks.job import Job, Result
from benchmarks.timing import seconds
from benchmarks.topics.memory import peak

_WHO = "openvino"
_SIZES = (1_000, 10_000, 100_000)
# Rows that LanceDB gets at a time; one batch of everything would hold all vectors at once.
_BATCH = 8192


def report(out: Console, upto: int, progress: Callable[[str], None]) -> dict[str, Result]:
    """Measure each size up to `upto`, print the figures and return them by size."""
    texts = load(min(upto, _SIZES[1]), 1).texts
    shown = Table(title="table.add by rows", title_justify="left", title_style="bold")
    for heading in ("rows", "seconds", "rows/s", "peak MiB"):
        shown.add_column(heading, justify="right")
    found: dict[str, Result] = {}
    with tempfile.TemporaryDirectory() as folder:
        for rows in sorted({size for size in _SIZES if size <= upto} | {min(upto, _SIZES[-1])}):
            progress(f"{rows:,} rows")
            setting = Setting(rows=rows)
            result = run(__name__, Path(folder), CONTESTANTS[_WHO], texts, setting)
            found[str(rows)] = result
            rate = rows / result["seconds"]
            shown.add_row(
                f"{rows:,}", f"{result['seconds']:.1f}", f"{rate:,.1f}", f"{result['peak']:,.0f}"
            )
    out.print(shown)
    return found


def measure(job: Job) -> Result:
    """Add so many rows as a stream of batches."""
    setting, texts = Setting.of(job), job.texts()
    rows = setting.rows
    loaded = Loaded(CONTESTANTS[job.who], Path())
    loaded.embed(texts[:16])
    table = loaded.table(job.database)
    taken = seconds(lambda: table.add(_stream(texts, rows)))
    assert table.count_rows() == rows
    return {"rows": rows, "seconds": taken, "peak": peak()}


def _stream(texts: list[str], rows: int) -> Any:
    import pyarrow

    pa: Any = pyarrow
    schema = pa.schema([("text", pa.string())])

    def batches() -> Iterator[Any]:
        for start in range(0, rows, _BATCH):
            numbers = range(start, min(start + _BATCH, rows))
            column = pa.array([_distinct(texts, number) for number in numbers])
            yield pa.record_batch([column], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _distinct(texts: list[str], number: int) -> str:
    """Return a row; those that the corpus lacks are its own with a number behind each."""
    again, position = divmod(number, len(texts))
    return f"{texts[position]} {again}" if again else texts[position]
