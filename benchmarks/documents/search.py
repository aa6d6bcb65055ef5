"""What is found with embedded documents: real searches in a LanceDB table, and their measures."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lancedb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sklearn.metrics import ndcg_score

from benchmarks.documents.sets import DocumentSet

_AT = 10


@dataclass(frozen=True)
class Quality:
    """Means over queries, in percent."""

    ndcg: float
    recall: float


def measure(dataset: DocumentSet, vectors: Sequence[Any], queries: npt.NDArray[Any]) -> Quality:
    """Search all queries by cosine; a document of many vectors counts by its best one."""
    names = list(dataset.documents)
    relevant = np.array(
        [[name in dataset.relevant[query] for name in names] for query in dataset.queries]
    )
    scores = _scores(names, vectors, queries)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :_AT]
    found = np.take_along_axis(relevant, best, axis=1).sum(axis=1)
    recall = float((found / relevant.sum(axis=1)).mean())
    return Quality(100 * float(ndcg_score(relevant, scores, k=_AT)), 100 * recall)


def _scores(
    names: Sequence[str], vectors: Sequence[Any], queries: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    kind = pa.list_(pa.list_(pa.float32(), queries.shape[1]))
    rows = pa.table({"row": np.arange(len(names)), "vector": pa.array(map(list, vectors), kind)})
    with tempfile.TemporaryDirectory() as folder:
        table = lancedb.connect(folder).create_table("documents", rows)
        scores = np.zeros((len(queries), len(names)))
        for i, query in enumerate(queries):
            search: Any = table.search(query)
            hits = (
                search.distance_type("cosine")
                .select(["row", "_distance"])
                .limit(len(names))
                .to_arrow()
            )
            scores[i, hits["row"].to_numpy()] = 1 - hits["_distance"].to_numpy()
    return scores
