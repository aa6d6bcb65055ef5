"""Looking after a cache: what is in it, whether it is sound, what has to go."""

from __future__ import annotations

import math
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
    if not (isinstance(key, bytes) and isinstance(blob, bytes) and isinstance(width, int)):
        raise DamagedError("a vector is no longer one")
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
    deleted = 0
    if older_than is not None:
        limit = time.time() - older_than
        deleted += _delete(connection, "DELETE FROM vectors WHERE stored <= ?", limit)
        give_back(connection)
    if max_size is not None:
        deleted += shrink(connection, max_size)
    return deleted


def clear(connection: sqlite3.Connection) -> int:
    """Delete all vectors, those too that a wrong clock dated to the future."""
    return prune(connection, None, -math.inf)


def shrink(connection: sqlite3.Connection, size: int) -> int:
    """Delete the vectors stored first until the file fits into `size` bytes; returns how many."""
    deleted = 0
    while (used := used_bytes(connection)) > size and (count := _count(connection)):
        gone = _delete(
            connection,
            "DELETE FROM vectors WHERE id IN (SELECT id FROM vectors ORDER BY id LIMIT ?)",
            max(1, int(count * (used - size) / used)),
        )
        if gone == 0:  # it would go on for ever
            raise DamagedError("vectors are counted that are not there")
        deleted += gone
    give_back(connection)
    return deleted


def verify(connection: sqlite3.Connection) -> int:
    """Check all vectors; see `VectorCache.verify`."""
    problems = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if problems != "ok":
        raise DamagedError(problems)
    count = 0
    for key, checksum, blob, width in connection.execute(
        "SELECT key, checksum, vector, width "
        "FROM vectors LEFT JOIN spaces ON spaces.id = vectors.space"
    ):
        check_vector(key, checksum, blob, width)
        count += 1
    return count


def export(connection: sqlite3.Connection, target: Path) -> int:
    """Write all vectors; see `VectorCache.export`."""
    part = target.with_name(f"{target.name}.part")
    try:
        with pq.ParquetWriter(part, EXPORT_SCHEMA) as writer:
            count = _export(connection, writer)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return count


def _export(connection: sqlite3.Connection, writer: pq.ParquetWriter) -> int:
    rows = connection.execute(
        "SELECT key, checksum, vector, width, description, stored "
        "FROM vectors LEFT JOIN spaces ON spaces.id = vectors.space ORDER BY vectors.id"
    )
    count = 0
    while some := rows.fetchmany(_EXPORTED):
        for row in some:
            check_vector(*row[:4])
        writer.write_table(_export_batch(some))
        count += len(some)
    return count


def _delete(connection: sqlite3.Connection, statement: str, limit: float) -> int:
    with transaction(connection):
        return connection.execute(statement, (limit,)).rowcount


def _count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM vectors").fetchone()[0])


def _export_batch(rows: Sequence[tuple[bytes, int, bytes, int, str, float]]) -> pa.Table:
    keys, _, blobs, _, spaces, stored = zip(*rows, strict=True)
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
