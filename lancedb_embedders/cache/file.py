"""A SQLite file that many threads and processes share, and what is wrong with it if it fails."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from lancedb_embedders.cache.filesystems import network_filesystem
from lancedb_embedders.errors import CacheError

T = TypeVar("T")

_APPLICATION = 0x4C454D42  # "LEMB", in the file's header: tells our files from other SQLite files
_VERSION = 1
_BUSY_SECONDS = 60.0


class DamagedError(Exception):
    """The file opens but is not what was written."""


class Connection(sqlite3.Connection):
    """A connection that is closed with the thread that it belongs to."""

    def __del__(self) -> None:
        self.close()


class SharedFile:
    """A SQLite file with one connection a thread.

    Parameters
    ----------
    path : pathlib.Path
        The file, made with its folder when it is first used.
    schema : str
        Statements that make its tables.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self.path = path
        self._schema = schema
        self._local = threading.local()
        self._lock = threading.Lock()
        self._connections: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._generation = 0

    @property
    def generation(self) -> int:
        """Changes when the file is closed: what was read of it may be of another file."""
        return self._generation

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Call `work` with this thread's connection.

        Raises
        ------
        CacheError
            The file cannot be used, or is damaged; then it has been set aside.
        """
        try:
            return work(self._connection())
        except (sqlite3.OperationalError, OSError) as error:
            raise CacheError(self._unusable(error)) from None
        except (sqlite3.DatabaseError, DamagedError) as error:
            aside = self._set_aside()
            raise CacheError(
                f"the cache of vectors {self.path} is damaged ({error}). It was set aside as "
                f"{aside.name} in the same folder. Run again: a new cache is made, and filled with "
                "what is embedded from now on. sqlite3's .recover may save vectors of the old one"
            ) from None

    def close(self) -> None:
        """Close the file in all threads; the next use opens it again."""
        with self._lock:
            self._generation += 1
            for connection in list(self._connections):
                connection.close()
            self._connections.clear()

    def size(self) -> int:
        """Return the bytes on disk, those of the write-ahead log included."""
        files = [self.path, *self._companions()]
        return sum(file.stat().st_size for file in files if file.exists())

    def _connection(self) -> Connection:
        own = (os.getpid(), self._generation)
        if getattr(self._local, "own", None) != own:
            self._local.connection, self._local.own = self._open(), own
        connection: Connection = self._local.connection
        return connection

    def _open(self) -> Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kind = network_filesystem(self.path.parent)
        if kind is not None:
            raise OSError(f"it is on a network drive ({kind}), where SQLite cannot share a file")
        connection = sqlite3.connect(
            self.path,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            factory=Connection,
        )
        self._prepare(connection)
        with self._lock:
            self._connections.add(connection)
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        new = _pragma(connection, "schema_version") == 0
        if new:
            connection.execute("PRAGMA page_size = 16384")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        elif _pragma(connection, "application_id") != _APPLICATION:
            raise OSError("it is a SQLite file of something else")
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise OSError(f"the file system allows no write-ahead log (journal mode {mode})")
        connection.execute("PRAGMA synchronous = NORMAL")
        if new:
            self._make_tables(connection)
        if _pragma(connection, "user_version") > _VERSION:
            raise OSError("it was written by a newer version of lancedb-embedders; upgrade it")

    def _make_tables(self, connection: sqlite3.Connection) -> None:
        with transaction(connection):
            if _pragma(connection, "schema_version") != 0:
                return  # another process was faster
            for statement in self._schema.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {_VERSION}")

    def _set_aside(self) -> Path:
        self.close()
        stamp = time.strftime("%Y%m%d-%H%M%S")
        aside = self.path.with_name(f"{self.path.name}.damaged-{stamp}-{os.getpid()}")
        for file in [self.path, *self._companions()]:
            if file.exists():  # another process may have set it aside already
                file.replace(str(aside) + file.name.removeprefix(self.path.name))
        return aside

    def _companions(self) -> list[Path]:
        return [self.path.with_name(self.path.name + suffix) for suffix in ("-wal", "-shm")]

    def _unusable(self, error: Exception) -> str:
        return (
            f"the cache of vectors {self.path} cannot be used: {error}. Choose a local folder that "
            "can be written to, with LANCEDB_EMBEDDERS_CACHE_DIR or "
            "lancedb_embedders.settings.cache_dir"
        )


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write all or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def used_bytes(connection: sqlite3.Connection) -> int:
    """Return the size of all pages that hold something."""
    used = _pragma(connection, "page_count") - _pragma(connection, "freelist_count")
    return used * _pragma(connection, "page_size")


def give_back(connection: sqlite3.Connection) -> None:
    """Make the file as short as what it holds."""
    # As a script, since `execute` takes one step of it, which is one page.
    connection.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
