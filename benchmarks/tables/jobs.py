"""What is measured, each job in a process of its own: seconds, and peak memory in MiB.

The heavy imports are inside the functions: on Linux a new process begins with the peak memory of
the one that started it.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import statistics
import tempfile
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.contestants import ENVIRONMENT
from benchmarks.timing import seconds
from benchmarks.topics.memory import peak

Figures = dict[str, float]

ROOT = Path(__file__).resolve().parent.parent.parent
FRAGMENTS = 16
#: What can fill a column, by the name in the table: workers of a cluster, or None for no cluster.
ENGINES: dict[str, int | None] = {
    "attach": None,
    "attach, content_hash=False": None,
    "attach, Ray, 1 worker": 1,
    "attach, Ray, 2 workers": 2,
    "pylance add_columns, batch_udf": None,
    "pylance add_columns, batch_udf, checkpoint_file": None,
    "lance-ray add_columns, 2 workers": 2,
}


def alone(job: Callable[..., Figures], *arguments: Any) -> Figures:
    """Run a job in a new process."""
    # Workers of a cluster import functions from here; long texts are cut by all in the same way.
    os.environ.update({**ENVIRONMENT, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"})
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(job, *arguments).result()


def reason_to_skip(engine: str) -> str | None:
    """Return why an engine cannot be measured here."""
    needed = {"Ray": "ray", "pylance": "lance", "lance-ray": "lance_ray"}
    for word, module in needed.items():
        if word in engine.replace(",", "").split() and find_spec(module) is None:
            return f"{module} is not installed"
    return None


# -- no-op --------------------------------------------------------------------------------------


def fill(engine: str, rows: int, rounds: int) -> Figures:
    """Fill a column by nothing; what does not grow with the rows is told apart."""
    with tempfile.TemporaryDirectory() as folder:
        texts = [f"text number {number}" for number in range(rows)]
        few = _table(folder, "few", texts[:FRAGMENTS])
        many = _table(folder, "many", texts)
        start = 0.0 if ENGINES[engine] is None else seconds(_start_ray)
        _column(engine, few, "warm", folder)
        fixed, whole = [], []
        for number in range(rounds):
            fixed.append(seconds(partial(_column, engine, few, f"v{number}", folder)))
            whole.append(seconds(partial(_column, engine, many, f"v{number}", folder)))
        many.checkout_latest()
        assert many.to_lance().count_rows("v0 is not null") == rows
    return {
        "start": start,
        "fixed": statistics.median(fixed),
        "seconds": statistics.median(whole),
    }


def grow(rows: int) -> Figures:
    """Attach a column of nothing to so many rows, made in another process."""
    import lancedb

    from benchmarks.tables.functions import NothingEmbeddings
    from lancedb_embedders import tables

    with tempfile.TemporaryDirectory() as folder:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            pool.submit(_many, folder, rows).result()
        function = NothingEmbeddings.create()
        tables.attach(_table(folder, "few", ["a"] * FRAGMENTS), "text", "vector", function)
        table, before = lancedb.connect(folder).open_table("many"), peak()
        took = seconds(lambda: tables.attach(table, "text", "vector", function))
        return {"seconds": took, "before": before, "peak": peak()}


def _many(folder: str, rows: int) -> None:
    _table(folder, "many", [f"text number {number}" for number in range(rows)])


def _column(engine: str, table: Any, vector: str, folder: str) -> None:
    from benchmarks.tables.functions import NothingEmbeddings
    from lancedb_embedders import tables

    function = NothingEmbeddings.create()
    if engine.startswith("attach"):
        options: dict[str, Any] = {"content_hash": "content_hash=False" not in engine}
        if ENGINES[engine] is not None:
            options |= {"engine": "ray", "workers": ENGINES[engine]}
        tables.attach(table, "text", vector, function, **options)
        return
    transform = partial(_transform, vector=vector)
    if engine.startswith("lance-ray"):
        import lance_ray

        uri = table.to_lance().uri
        workers = ENGINES[engine]
        lance_ray.add_columns(
            uri, transform=transform, read_columns=["text"], batch_size=2048, concurrency=workers
        )
        return
    import lance

    file = f"{folder}/{vector}.checkpoint" if "checkpoint_file" in engine else None
    schema = transform.func(None, vector).schema
    udf = lance.batch_udf(output_schema=schema, checkpoint_file=file)(transform)
    lance.dataset(table.to_lance().uri).add_columns(udf, read_columns=["text"], batch_size=2048)


def _transform(batch: Any, vector: str) -> Any:
    import numpy as np
    import pyarrow as pa

    from benchmarks.tables.functions import DIMS, NothingEmbeddings

    texts = [] if batch is None else batch["text"]
    found = NothingEmbeddings.create().compute_source_embeddings(texts) if texts else []
    values = pa.array(np.concatenate(found) if len(found) else [], pa.float32())
    return pa.record_batch([pa.FixedSizeListArray.from_arrays(values, DIMS)], [vector])


# -- the bundled model --------------------------------------------------------------------------


def model(texts: Sequence[str], workers: int | None, threads: int) -> Figures:
    """Attach a column by the bundled model: by one process, or by workers of a cluster."""
    from lancedb_embedders import settings, tables

    options: dict[str, Any] = {"checkpoint_rows": max(len(texts) // 16, 1)}
    if workers is not None:
        _start_ray()
        options |= {"engine": "ray", "workers": workers}
    with tempfile.TemporaryDirectory() as folder, settings.override(threads=threads):
        few = _table(folder, "few", list(texts[:2]))
        many = _table(folder, "many", list(texts))
        few_options = {**options, "checkpoint_rows": 1}
        tables.attach(few, "text", "warm", "sbert", **few_options)
        fixed = seconds(lambda: tables.attach(few, "text", "vector", "sbert", **few_options))
        took = seconds(lambda: tables.attach(many, "text", "vector", "sbert", **options))
    return {"fixed": fixed, "seconds": took}


def changes(texts: Sequence[str]) -> Figures:
    """Change 1 % of texts and refresh, or embed all; hand over all rows with 10 % changed."""
    from lancedb_embedders import tables

    rows, every_hundredth = len(texts), "id % 100 = 0"
    with tempfile.TemporaryDirectory() as folder:
        table = _table(folder, "t", list(texts))
        tables.attach(table, "text", "vector", "sbert")
        table.update(where=every_hundredth, values_sql={"text": "concat('New: ', text)"})
        found = {"refresh": seconds(lambda: tables.refresh(table))}
        found["reembed"] = seconds(lambda: tables.reembed(table, where="true"))
        for what, prefix in (("upsert", "Ours: "), ("merge_insert", "Theirs: ")):
            given = [
                {"id": number, "text": text if number % 10 else prefix + text}
                for number, text in enumerate(table.to_arrow().sort_by("id")["text"].to_pylist())
            ]
            call = partial(_upsert if what == "upsert" else _merge_insert, table, given)
            found[what] = seconds(call)
        assert table.count_rows() == rows
    return found


def _upsert(table: Any, rows: list[dict[str, Any]]) -> None:
    from lancedb_embedders import tables

    tables.upsert(table, rows, on="id")


def _merge_insert(table: Any, rows: list[dict[str, Any]]) -> None:
    merge = table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
    merge.execute(rows)


# -- what they have in common -------------------------------------------------------------------


def _table(folder: str, name: str, texts: list[str]) -> Any:
    """Return a table of ids and texts in `FRAGMENTS` fragments."""
    import lancedb
    import pyarrow as pa

    rows = pa.table({"id": range(len(texts)), "text": texts})
    size = -(-len(texts) // FRAGMENTS)
    table = lancedb.connect(folder).create_table(name, rows.slice(0, size))
    for start in range(size, len(texts), size):
        table.add(rows.slice(start, size))
    return table


def _start_ray() -> None:
    import ray

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
