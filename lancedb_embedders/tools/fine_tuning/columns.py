"""Rows to train on as data sets of columns, and which column is put to the model in which role."""

from __future__ import annotations

from typing import Any

from lancedb_embedders.tools.fine_tuning.data import TrainingSet


def columns_of(rows: TrainingSet, loss: str) -> Any:
    """Return rows as data sets by name: one for each count of negatives, since no cell is empty.

    Parameters
    ----------
    rows : TrainingSet
        At least one row.
    loss : str
        Its name; for ``"cosine-similarity"``, scores beyond -1 to 1 are brought to 0 to 1.

    Returns
    -------
    datasets.DatasetDict
        Columns ``first``, ``second`` and ``score``; or ``query``, ``positive``, ``negative_1`` ...
    """
    from datasets import Dataset, DatasetDict

    if rows.kind == "scored":
        scores = [row.score for row in rows.rows]
        columns = {
            "first": [row.first for row in rows.rows],
            "second": [row.second for row in rows.rows],
            "score": _scaled(scores) if loss == "cosine-similarity" else scores,
        }
        return DatasetDict({"scored": Dataset.from_dict(columns)})
    parts = {}
    for width in sorted({len(row.negatives) for row in rows.rows}):
        group = [row for row in rows.rows if len(row.negatives) == width]
        columns = {
            "query": [row.query for row in group],
            "positive": [row.positive for row in group],
            **{f"negative_{i + 1}": [row.negatives[i] for row in group] for i in range(width)},
        }
        parts[f"negatives_{width}"] = Dataset.from_dict(columns)
    return DatasetDict(parts)


def roles_of(datasets: Any, kind: str) -> dict[str, str]:
    """Return the role of every column of texts: ``"query"`` or ``"document"``."""
    names = {name for part in datasets.values() for name in part.column_names} - {"score"}
    return {
        name: "query" if kind == "ranking" and name == "query" else "document"
        for name in sorted(names)
    }


def _scaled(scores: list[float]) -> list[float]:
    low, high = min(scores), max(scores)
    if (low >= -1 and high <= 1) or low == high:
        return scores
    return [(score - low) / (high - low) for score in scores]
