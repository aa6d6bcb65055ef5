"""The process of ours and of LanceDB's: ``python -m benchmarks.hosted.worker JOB``."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.hosted.job import MODEL, OURS, Job, main, measured

_TABLE = "docs"
_AT_ONCE = 8  # requests, as many as ours


def measure(job: Job) -> dict[str, Any]:
    """Do the job; an error becomes part of what is found, for faults."""
    jobs = {"add": _add, "embed": _embed, "inspect": _inspect, "discard": _discard}
    return jobs[job.what](job)


def _function(job: Job) -> Any:
    import openai  # noqa: F401, libraries are no part of what is measured
    from lancedb.embeddings import get_registry

    import lancedb_embedders  # noqa: F401, registers it

    options: dict[str, Any] = {"name": MODEL, "base_url": f"{job.url}/v1"}
    if job.who != OURS:
        options["dim"] = 1536
    return get_registry().get(job.who).create(**options)


def _add(job: Job) -> dict[str, Any]:
    import lancedb
    import pyarrow as pa
    from lancedb.pydantic import LanceModel, Vector
    from pydantic import create_model

    function = _function(job)
    document = create_model(
        "Document",
        __base__=LanceModel,
        text=(str, function.SourceField()),
        vector=(Vector(function.ndims()), function.VectorField()),
    )
    database = lancedb.connect(Path(job.folder) / "db")
    table = database.create_table(_TABLE, schema=document, exist_ok=True)
    rows = pa.table({"text": job.texts()})
    data = rows.to_reader(job.batch) if job.batch else rows
    error = ""

    def add() -> None:
        nonlocal error
        try:
            table.add(data)
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}"

    return {**measured(add), "error": error}


def _embed(job: Job) -> dict[str, Any]:
    import numpy as np
    import pyarrow as pa

    function = _function(job)
    array = pa.array(job.texts())
    found: list[Any] = []
    figures = measured(lambda: found.append(function.compute_source_embeddings(array)))
    if np.shape(found[0]) != (job.rows, function.ndims()):
        raise RuntimeError(f"an array of shape {np.shape(found[0])}")
    return figures


def _discard(job: Job) -> dict[str, Any]:
    texts = job.texts()
    parts = [texts[start : start + job.batch] for start in range(0, len(texts), job.batch)]
    bodies = [
        json.dumps({"model": MODEL, "input": part, "encoding_format": "base64"}).encode()
        for part in parts
    ]
    headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    place = urlsplit(job.url).netloc

    def ask(body: bytes) -> None:
        connection = HTTPConnection(place)
        connection.request("POST", "/v1/embeddings", body, headers)
        answer = connection.getresponse()
        while answer.read(1 << 20):
            pass
        connection.close()

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return measured(lambda: list(pool.map(ask, bodies)))


def _inspect(job: Job) -> dict[str, Any]:
    import lancedb
    import numpy as np

    _function(job)
    try:
        table = lancedb.connect(Path(job.folder) / "db").open_table(_TABLE)
    except (ValueError, FileNotFoundError):
        return {"rows": 0, "nulls": 0, "bad": 0}
    vectors = table.to_arrow()["vector"].combine_chunks()
    numbers = vectors.drop_null().flatten().to_numpy().reshape(-1, 1536)
    bad = int((~np.isfinite(numbers).all(axis=1)).sum())
    return {"rows": len(vectors), "nulls": vectors.null_count, "bad": bad}


if __name__ == "__main__":
    main(measure)
