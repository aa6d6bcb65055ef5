"""Checks over time, in a LanceDB table: a row a check."""

from __future__ import annotations

import json
import os
import threading
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timezone
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.tools.watch.report import FIGURES, Finding, Quality
from lancedb_embedders.tools.watch.rows import Float32

#: Name of the table in its database.
TABLE = "lancedb_embedders_quality"
#: Vectors of each check that are kept, at most, chosen at random.
KEPT = 256

_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("at", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("function", pa.string()),
        pa.field("model", pa.string()),
        *(pa.field(figure, pa.float64()) for figure in FIGURES),
        pa.field("findings", pa.string(), nullable=False),
        # What a later process needs to compare periods: float32, one vector after another.
        pa.field("kept_vectors", pa.large_binary()),
        pa.field("kept_norms", pa.list_(pa.float64())),
        pa.field("kept_distances", pa.list_(pa.float64())),
        pa.field("null_rows", pa.int64()),
        pa.field("truncated_texts", pa.int64()),
        pa.field("counted_texts", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Entry:
    """A check, and what is kept of it for later.

    Attributes
    ----------
    quality : Quality
        What it gave.
    vectors : numpy.ndarray
        float32, shape ``(n, dim)``: a random sample of 256 at most.
    norms : numpy.ndarray
        Lengths of single vectors, float64, as many at most.
    distances : numpy.ndarray
        Cosine distances to the nearest other vector, float64, as many at most.
    nulls : int
        Rows without a vector.
    truncated : tuple of (int, int)
        Texts longer than the model takes, and how many were looked at.
    """

    quality: Quality
    vectors: Float32
    norms: npt.NDArray[np.float64]
    distances: npt.NDArray[np.float64]
    nulls: int
    truncated: tuple[int, int]


class Memory:
    """Checks of this process alone.

    Parameters
    ----------
    most : int
        How many are kept; the oldest go first.
    """

    def __init__(self, most: int = 1000) -> None:
        self._entries: list[Entry] = []
        self._most = most
        self._lock = threading.Lock()

    def add(self, entry: Entry) -> None:
        """Keep a check."""
        with self._lock:
            self._entries = [*self._entries, entry][-self._most :]

    def entries(self, name: str) -> list[Entry]:
        """Return the checks of a name, the oldest first."""
        found = [entry for entry in self._entries if entry.quality.name == name]
        return sorted(found, key=lambda entry: entry.quality.at)


class History:
    """Checks in a table, which is made when the first is kept.

    Parameters
    ----------
    place : lancedb.DBConnection, str or os.PathLike
        A database, or where it is.

    Raises
    ------
    ConfigurationError
        It is no database, or has a table of that name with other columns.
    """

    def __init__(self, place: Any) -> None:
        import lancedb

        if isinstance(place, (str, os.PathLike)):
            place = lancedb.connect(os.fspath(place))
        if not hasattr(place, "open_table") or not isinstance(place, lancedb.DBConnection):
            raise ConfigurationError(
                "history is a database as lancedb.connect gives it, or its path; got "
                f"{type(place).__name__}"
            )
        self._db = place
        self._lock = threading.Lock()
        self._table: Any = self._opened()

    def add(self, entry: Entry) -> None:
        """Keep a check."""
        row = pa.Table.from_pylist([_row(entry)], schema=_SCHEMA)
        with self._lock:
            if self._table is None:
                self._table = self._db.create_table(TABLE, schema=_SCHEMA, exist_ok=True)
                _check(self._table.schema)
            self._table.add(row)

    def entries(self, name: str) -> list[Entry]:
        """Return the checks of a name, those of other processes too, the oldest first."""
        with self._lock:
            if self._table is None:
                self._table = self._opened()
            if self._table is None:
                return []
            self._table.checkout_latest()
            quoted = name.replace("'", "''")
            found = self._table.search().where(f"name = '{quoted}'").limit(None).to_arrow()
        return [_entry(row) for row in found.sort_by("at").to_pylist()]

    def _opened(self) -> Any:
        try:
            table = self._db.open_table(TABLE)
        except (ValueError, FileNotFoundError) as error:
            if "not found" not in str(error):
                raise
            return None
        _check(table.schema)
        return table


def picked(values: Any, chance: np.random.Generator) -> Any:
    """Return 256 of some rows at random, or all if they are no more."""
    return values if len(values) <= KEPT else chance.choice(values, KEPT, replace=False)


def _check(schema: pa.Schema) -> None:
    there = {field.name: field.type for field in schema}
    wrong = [
        f"{field.name} ({there.get(field.name, 'missing')}, not {field.type})"
        for field in _SCHEMA
        if there.get(field.name) != field.type
    ]
    if wrong:
        raise ConfigurationError(
            f"table {TABLE!r} does not hold the history of a monitor of this version: "
            f"{', '.join(wrong[:5])}. Rename or drop it, or keep the history in another database"
        )


def _row(entry: Entry) -> dict[str, Any]:
    quality = entry.quality
    return {
        "id": uuid.uuid4().hex,
        "name": quality.name,
        "at": quality.at,
        "function": quality.function,
        "model": quality.model,
        **quality.figures,
        "findings": json.dumps([asdict(found) for found in quality.findings]),
        "kept_vectors": np.ascontiguousarray(entry.vectors, dtype="<f4").tobytes(),
        "kept_norms": entry.norms.tolist(),
        "kept_distances": entry.distances.tolist(),
        "null_rows": entry.nulls,
        "truncated_texts": entry.truncated[0],
        "counted_texts": entry.truncated[1],
    }


def _entry(row: dict[str, Any]) -> Entry:
    figures = {name: row[name] for name in FIGURES}
    width = int(figures["dims"] or 0)
    vectors = np.frombuffer(row["kept_vectors"] or b"", dtype="<f4").astype(np.float32)
    findings: Sequence[dict[str, Any]] = json.loads(row["findings"])
    return Entry(
        quality=Quality(
            name=row["name"],
            at=row["at"].astimezone(timezone.utc),
            function=row["function"],
            model=row["model"],
            figures=figures,
            findings=tuple(Finding(**found) for found in findings),
        ),
        vectors=vectors.reshape(-1, width) if width else vectors.reshape(0, 0),
        norms=np.array(row["kept_norms"] or [], dtype=np.float64),
        distances=np.array(row["kept_distances"] or [], dtype=np.float64),
        nulls=row["null_rows"] or 0,
        truncated=(row["truncated_texts"] or 0, row["counted_texts"] or 0),
    )
