"""Vector indexes: what they were made with, and making them again after the vectors changed."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from lancedb import index as kinds

# As LanceDB lists them -> what makes them.
_CONFIGS = {
    "IvfFlat": "IvfFlat",
    "IvfPq": "IvfPq",
    "IvfSq": "IvfSq",
    "IvfRq": "IvfRq",
    "IvfHnswFlat": "HnswFlat",
    "IvfHnswPq": "HnswPq",
    "IvfHnswSq": "HnswSq",
}
_CENTROIDS = "LANCE_INCLUDE_VECTOR_CENTROIDS"


def described(table: Any, dataset: Any, vector: str) -> tuple[dict[str, Any], ...]:
    """Return how the vector indexes of a column were made, as JSON can hold it."""
    found = []
    for one in table.list_indices():
        if list(one.columns) != [vector] or one.index_type not in _CONFIGS:
            continue
        details = one.index_details or {}
        hnsw, packed = details.get("hnsw") or {}, details.get("compression") or {}
        hints = details.get("runtime_hints") or {}
        with _without_centroids():
            parts = dataset.stats.index_stats(one.name)["indices"]
        options = {
            "distance_type": str(details.get("metric_type", "L2")).lower(),
            "num_partitions": parts[0].get("num_partitions") if parts else None,
            "num_sub_vectors": packed.get("num_sub_vectors"),
            "num_bits": packed.get("num_bits") if packed.get("type") != "sq" else None,
            "m": hnsw.get("max_connections"),
            "ef_construction": hnsw.get("construction_ef"),
            "max_iterations": _number(hints.get("lance.ivf.max_iters")),
            "sample_rate": _number(hints.get("lance.ivf.sample_rate")),
        }
        given = {name: value for name, value in options.items() if value is not None}
        found.append({"name": one.name, "type": one.index_type, "options": given})
    return tuple(found)


def fitted(index: dict[str, Any], dtype: pa.DataType, old: pa.DataType | None) -> dict[str, Any]:
    """Return an index's options as they fit vectors of another size or kind.

    Product quantization cuts a vector into parts of even size: the size of a part stays, as far
    as it divides the new dimensions. Packed bits have a distance and an index of their own.
    """
    options = dict(index["options"])
    new = _vector(dtype)
    if pa.types.is_uint8(new.value_type):
        kept = {k: v for k, v in options.items() if k == "num_partitions"}
        return {**index, "type": "IvfFlat", "options": {**kept, "distance_type": "hamming"}}
    if options.get("distance_type") == "hamming":
        options["distance_type"] = "cosine"
    parts = options.get("num_sub_vectors")
    if parts and old is not None and new.list_size != _vector(old).list_size:
        size = max(_vector(old).list_size // parts, 1)
        while new.list_size % size:
            size -= 1
        options["num_sub_vectors"] = new.list_size // size
    return {**index, "options": options}


def build(table: Any, vector: str, index: dict[str, Any]) -> None:
    """Make an index as it is described; one of its name is replaced."""
    kind = getattr(kinds, _CONFIGS[index["type"]])
    known = {field.name for field in dataclasses.fields(kind)}
    config = kind(**{name: v for name, v in index["options"].items() if name in known})
    table.create_index(vector, config=config, name=index["name"], replace=True)


def extend(dataset: Any, table: Any, vector: str) -> None:
    """Take vectors that were replaced into the indexes of their column."""
    names = [one.name for one in table.list_indices() if list(one.columns) == [vector]]
    if names:
        dataset.optimize.optimize_indices(index_names=names)


def _vector(dtype: pa.DataType) -> pa.DataType:
    return dtype.value_type if pa.types.is_list(dtype) else dtype


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)


@contextmanager
def _without_centroids() -> Iterator[None]:
    # Lance would return all of them, and say in the log that it will not do so for ever.
    before = os.environ.get(_CENTROIDS)
    os.environ[_CENTROIDS] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_CENTROIDS]
        else:
            os.environ[_CENTROIDS] = before
