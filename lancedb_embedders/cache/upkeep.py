"""Looking after a cache: what is in it, whether it is sound, what has to go."""

from __future__ import annotations

import sqlite3
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lancedb_embedders.cache.file import DamagedError, give_back, transaction, used_bytes

DTYPE = np.dtype("<f4")

EXPORT_SCHEMA = pa.schema(
    [
        ("space", pa.string()),
        ("key", pa.binary(16)),
        ("stored", pa.timestamp("us", tz="UTC")),
        ("vector", pa.list_(pa.float32())),
    ]
)
_EXPORTED = 10_000  # rows that are written at once


@dataclass(frozen=True)
class SpaceStats:
    """How many vectors of one space are kept, and their bytes."""

    description: str
    width: int
    vectors: int
    bytes: int


@dataclass(frozen=True)
class CacheStats:
    """What a cache holds.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    vectors : int
        Vectors kept.
    file_bytes : int
        Size of the file on disk, what is not yet checkpointed included.
    oldest, newest : float or None
        When the first and last of them were stored, in seconds since the epoch.
    spaces : tuple of SpaceStats
        The same by space.
    """

    path: Path
    vectors: int
    file_bytes: int
    oldest: float | None
    newest: float | None
    spaces: tuple[SpaceStats, ...]


def checksum_of(key: bytes, blob: bytes) -> int:
    """Return the CRC-32 of a vector and its key."""
    # SQLite has none over a page: a flipped bit would come back as a slightly wrong vector.
    return zlib.crc32(blob, zlib.crc32(key))


def check_vector(key: bytes, checksum: int, blob: bytes, width: int) -> None:
    """Raise `DamagedError` unless a vector is what was stored."""
    if checksum != checksum_of(key, blob) or len(blob) % (width * DTYPE.itemsize):
        raise DamagedError("a vector is not what was stored")


def stats(
    connection: sqlite3.Connection,
) -> tuple[tuple[SpaceStats, ...], float | None, float | None]:
    """Return what each space holds, and when the first and last vector were stored."""
    rows = connection.execute(
        "SELECT description, width, count(*), sum(length(vector)) "
        "FROM spaces JOIN vectors ON spaces.id = vectors.space "
        "GROUP BY spaces.id ORDER BY spaces.id"
    ).fetchall()
    oldest, newest = connection.execute("SELECT min(stored), max(stored) FROM vectors").fetchone()
    return tuple(SpaceStats(*row) for row in rows), oldest, newest


def prune(connection: sqlite3.Connection, max_size: int | None, older_than: float | None) -> int:
    """Delete vectors; see `VectorCache.prune`."""
    before = _count(connection)
    if older_than is not None:
        with transaction(connection):
            connection.execute("DELETE FROM vectors WHERE stored <= ?", (time.time() - older_than,))
        give_back(connection)
    if max_size is not None:
        shrink(connection, max_size)
    return before - _count(connection)


def shrink(connection: sqlite3.Connection, size: int) -> None:
    """Delete the vectors stored first until the file fits into `size` bytes."""
    while (used := used_bytes(connection)) > size and (count := _count(connection)):
        excess = max(1, int(count * (used - size) / used))
        with transaction(connection):
            connection.execute(
                "DELETE FROM vectors WHERE id IN (SELECT id FROM vectors ORDER BY id LIMIT ?)",
                (excess,),
            )
    give_back(connection)


def verify(connection: sqlite3.Connection) -> int:
    """Check all vectors; see `VectorCache.verify`."""
    problems = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if problems != "ok":
        raise DamagedError(problems)
    count = 0
    for key, checksum, blob, width in connection.execute(
        "SELECT key, checksum, vector, width FROM vectors JOIN spaces ON spaces.id = vectors.space"
    ):
        check_vector(key, checksum, blob, width)
        count += 1
    if count != _count(connection):
        raise DamagedError("vectors without a space")
    return count


def export(connection: sqlite3.Connection, writer: pq.ParquetWriter) -> int:
    """Write all vectors; see `VectorCache.export`."""
    rows = connection.execute(
        "SELECT description, key, stored, vector FROM vectors "
        "JOIN spaces ON spaces.id = vectors.space ORDER BY vectors.id"
    )
    count = 0
    while some := rows.fetchmany(_EXPORTED):
        writer.write_table(_export_batch(some))
        count += len(some)
    return count


def _count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM vectors").fetchone()[0])


def _export_batch(rows: Sequence[tuple[str, bytes, float, bytes]]) -> pa.Table:
    spaces, keys, stored, blobs = zip(*rows, strict=True)
    columns = [
        spaces,
        keys,
        [int(seconds * 1e6) for seconds in stored],
        [np.frombuffer(blob, dtype=DTYPE) for blob in blobs],
    ]
    return pa.table(
        [
            pa.array(column, type=field.type)
            for column, field in zip(columns, EXPORT_SCHEMA, strict=True)
        ],
        schema=EXPORT_SCHEMA,
    )
