"""`VectorCache`: vectors by space and text.

One SQLite file holds the vectors of all models, as raw little-endian float32. A vector's key is its
*space*, which says what made it (provider, model, dimensions, role ...), and a hash of the exact
text. Many threads and processes may use a file at once; what has been put survives the process
being killed.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from lancedb_embedders.cache import upkeep
from lancedb_embedders.cache.file import (
    Connection,
    SharedFile,
    check_writable,
    transaction,
    used_bytes,
)
from lancedb_embedders.cache.spaces import find_space, make_space
from lancedb_embedders.cache.upkeep import DTYPE, CacheStats, check_vector, checksum_of

Float32 = npt.NDArray[np.float32]

FILE_NAME = "vectors.sqlite3"

_AT_ONCE = 500  # keys a look-up, well below SQLite's limit of variables

_SCHEMA = """
CREATE TABLE spaces (
    id INTEGER PRIMARY KEY, description TEXT NOT NULL UNIQUE, width INTEGER NOT NULL
);
CREATE TABLE vectors (
    id INTEGER PRIMARY KEY, space INTEGER NOT NULL, key BLOB NOT NULL, stored REAL NOT NULL,
    checksum INTEGER NOT NULL, vector BLOB NOT NULL
);
CREATE UNIQUE INDEX by_key ON vectors (space, key);
"""


@dataclass(frozen=True)
class Found:
    """What a look-up of many keys gave.

    Attributes
    ----------
    vectors : numpy.ndarray
        float32, shape ``(n, width)``; a row is set where `known` is. Width 0: the space is empty.
    known : numpy.ndarray
        For each key whether it was found, bool.
    several : dict of int to numpy.ndarray
        Position -> vectors of shape ``(m, width)``, of those that have several; their rows in
        `vectors` are not set.
    """

    vectors: Float32
    known: npt.NDArray[np.bool_]
    several: dict[int, Float32]


def text_key(text: str) -> bytes:
    """Return the key of a text within a space: BLAKE2b, 128 bits, of its UTF-8 bytes."""
    return blake2b(text.encode(), digest_size=16).digest()


class VectorCache:
    """Vectors on disk by space and text.

    Parameters
    ----------
    path : str or path-like
        The file, made when it is first used; or a folder, in which it is ``vectors.sqlite3``.
    max_size : int, optional
        Bytes that the file may take; the vectors stored first go first. The log of the last
        writes, beside it, has up to 16 MB or one call's vectors more.

    Raises
    ------
    CacheError
        From every method: the file cannot be read or written here, is no cache, or is damaged.
        A damaged file is set aside under another name, which the message tells.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder, VectorCache(folder) as cache:
    ...     cache.put_many("toy model", ["a", "b"], np.eye(2, dtype=np.float32))
    ...     cache.get_many("toy model", ["b", "c"])
    [array([0., 1.], dtype=float32), None]
    """

    def __init__(self, path: str | os.PathLike[str], max_size: int | None = None) -> None:
        given = Path(path).expanduser()
        self.path = given / FILE_NAME if given.is_dir() else given
        self.max_size = max_size
        self._file = SharedFile(self.path, _SCHEMA)
        self._writing = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"VectorCache({str(self.path)!r})"

    # -- vectors --------------------------------------------------------------------------------

    def get_many(self, space: str, texts: Sequence[str]) -> list[Float32 | None]:
        """Look texts up; `find` is faster for many.

        Parameters
        ----------
        space : str
            What makes the vectors.
        texts : sequence of str
            Exact texts.

        Returns
        -------
        list of (numpy.ndarray or None)
            For each text its vector, float32 of shape ``(width,)``, or ``(vectors, width)`` where
            several were put; None where there is none.
        """
        found = self.find(space, [text_key(text) for text in texts])
        return [
            found.several.get(i, found.vectors[i]) if known else None
            for i, known in enumerate(found.known)
        ]

    def find(self, space: str, keys: Sequence[bytes]) -> Found:
        """Look texts up by their keys, which `text_key` gives, into one array."""
        return self._file.run(lambda connection: self._find(connection, space, keys))

    def put_many(
        self, space: str, texts: Sequence[str], vectors: Float32 | Sequence[npt.ArrayLike]
    ) -> None:
        """Keep vectors; a text that is there already keeps the vector it has.

        All of them are on disk when this returns, or none.

        Parameters
        ----------
        space : str
            What made the vectors.
        texts : sequence of str
            Exact texts.
        vectors : array of shape (n, width), or sequence of n arrays
            A vector a text; or an array of shape ``(vectors, width)`` a text.

        Raises
        ------
        ValueError
            Not as many vectors as texts, or vectors of another width than the space's.
        """
        self.put_keys(space, [text_key(text) for text in texts], vectors)

    def put_keys(
        self, space: str, keys: Sequence[bytes], vectors: Float32 | Sequence[npt.ArrayLike]
    ) -> None:
        """Keep vectors by the keys that `text_key` gives; see `put_many`."""
        if len(keys) != len(vectors):
            raise ValueError(f"{len(keys)} texts and {len(vectors)} vectors")
        if len(keys) == 0:
            return
        arrays = [np.asarray(vector, dtype=DTYPE) for vector in vectors]
        widths = {array.shape[-1] if array.ndim in (1, 2) else 0 for array in arrays}
        if len(widths) != 1 or 0 in widths:
            raise ValueError(f"vectors of one space have one width, these have {sorted(widths)}")
        blobs, width = [array.tobytes() for array in arrays], widths.pop()
        with self._writing:  # threads that wait for SQLite's own lock sleep, up to 100 ms at a time
            self._file.run(lambda connection: self._put(connection, space, keys, blobs, width))

    def _find(self, connection: Connection, space: str, keys: Sequence[bytes]) -> Found:
        known = np.zeros(len(keys), dtype=bool)
        several: dict[int, Float32] = {}
        number, width = find_space(connection, space) or (0, 0)
        # One array for all, filled as rows come: many small ones would cost twice the time.
        vectors = np.empty((len(keys), width), dtype=DTYPE)
        places: dict[bytes, list[int]] = {}
        for i, key in enumerate(keys):
            places.setdefault(key, []).append(i)
        wanted = list(places) if width else []
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            for key, checksum, blob in connection.execute(
                f"SELECT key, checksum, vector FROM vectors WHERE space = ? AND key IN ({marks})",
                (number, *some),
            ):
                check_vector(key, checksum, blob, width)
                vector = np.frombuffer(blob, dtype=DTYPE)
                for i in places[key]:
                    known[i] = True
                    if len(vector) == width:
                        vectors[i] = vector
                    else:
                        several[i] = vector.reshape(-1, width)
        return Found(vectors, known, several)

    def _put(
        self,
        connection: Connection,
        space: str,
        keys: Sequence[bytes],
        blobs: Sequence[bytes],
        width: int,
    ) -> None:
        now = time.time()
        with transaction(connection):
            known = find_space(connection, space)
            number, expected = known or make_space(connection, space, width)
            if width != expected:
                raise ValueError(f"vectors of {width} numbers for a space of {expected}: {space}")
            connection.executemany(
                "INSERT OR IGNORE INTO vectors (space, key, stored, checksum, vector) "
                "VALUES (?, ?, ?, ?, ?)",
                [
                    (number, key, now, checksum_of(key, blob), blob)
                    for key, blob in zip(keys, blobs, strict=True)
                ],
            )
        if self.max_size is not None and used_bytes(connection) > self.max_size:
            upkeep.shrink(connection, int(self.max_size * 0.9))

    # -- upkeep ---------------------------------------------------------------------------------

    def stats(self) -> CacheStats:
        """Return what the cache holds."""
        spaces, oldest, newest = self._file.run(upkeep.stats)
        return CacheStats(
            path=self.path,
            vectors=sum(space.vectors for space in spaces),
            file_bytes=self._file.size(),
            oldest=oldest,
            newest=newest,
            spaces=spaces,
        )

    def prune(self, max_size: int | None = None, older_than: float | None = None) -> int:
        """Delete vectors, the oldest first, and give their room back to the disk.

        Parameters
        ----------
        max_size : int, optional
            Bytes that the file may have afterwards.
        older_than : float, optional
            Delete what was stored so many seconds ago or earlier.

        Returns
        -------
        int
            Vectors deleted.
        """
        return self._file.run(lambda connection: upkeep.prune(connection, max_size, older_than))

    def clear(self) -> int:
        """Delete all vectors; returns how many there were."""
        return self._file.run(upkeep.clear)

    def verify(self) -> int:
        """Read everything once and check it; returns how many vectors there are."""
        return self._file.run(upkeep.verify)

    def export(self, target: str | os.PathLike[str]) -> int:
        """Write all vectors to a Parquet file; returns how many.

        Its columns: ``space`` (string), ``key`` (16 bytes, see `text_key`), ``stored`` (timestamp),
        ``vector`` (list of float32; several vectors of one text are put one behind the other).
        """
        return self._file.run(lambda connection: upkeep.export(connection, Path(target)))

    def check(self) -> None:
        """Raise unless vectors can be read and kept here: better before they are paid for."""
        self._file.run(check_writable)

    def close(self) -> None:
        """Close the file in all threads; the next use opens it again."""
        self._file.close()
