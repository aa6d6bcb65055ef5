"""A SQLite file that many threads and processes share, and what is wrong with it if it fails."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from lancedb_embedders.cache.filesystems import FileId, file_id, locked, network_filesystem
from lancedb_embedders.errors import CacheError

T = TypeVar("T")

_APPLICATION = 0x4C454D42  # "LEMB", in the file's header: tells our files from other SQLite files
_VERSION = 1
_BUSY_SECONDS = 60.0
_LOG_BYTES = 16 * 1024 * 1024  # what the write-ahead log is cut to once it has been copied
# SQLite's complaints about statements that are right, so that the file must be wrong.
_DAMAGE_WORDS = ("no such table", "no column", "no such column", "decode", "already exists")


class DamagedError(Exception):
    """The file opens but is not what was written."""


class Connection(sqlite3.Connection):
    """A connection of one thread.

    Attributes
    ----------
    in_use : threading.RLock
        Held while the thread works with it, so that no other one closes it meanwhile.
    is_open : bool
        Whether it has not been closed.
    file : tuple of int or None
        Which file it is of, even when another one has its name by now.
    spaces : dict
        What is known of the spaces in its file.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self.in_use = threading.RLock()
        self.is_open = False
        self.file: FileId | None = None
        self.spaces: dict[str, tuple[int, int]] = {}
        super().__init__(*args, **options)
        self.is_open = True

    def close(self) -> None:
        """Close it, once."""
        if self.is_open:
            self.is_open = False
            super().close()


class _Owner:
    """Closes a connection when its thread ends; alone it would wait for a garbage collection."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.pid = connection, os.getpid()

    def __del__(self) -> None:
        self.connection.close()


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
        self._lock = threading.RLock()  # held while the file is opened, closed or set aside
        self._connections: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._aside: dict[FileId, Path] = {}

    def run(self, work: Callable[[Connection], T]) -> T:
        """Call `work` with this thread's connection.

        Raises
        ------
        CacheError
            The file cannot be used, or is damaged; then it has been set aside.
        """
        while True:
            try:
                connection = self._connection()
                with connection.in_use:
                    if connection.is_open:  # no other thread has closed the file
                        return work(connection)
            except (sqlite3.Error, UnicodeDecodeError, DamagedError, OSError) as error:
                if _is_damage(error):
                    raise CacheError(self._damaged(error)) from None
                if not isinstance(error, sqlite3.OperationalError) or not self._has_moved():
                    raise CacheError(self._unusable(error)) from None
                # It was set aside, or deleted, under our feet: on to the new one.

    def close(self) -> None:
        """Close the file in all threads; the next use opens it again."""
        with self._lock:
            for connection in list(self._connections):
                with connection.in_use:
                    connection.close()
            self._connections.clear()

    def size(self) -> int:
        """Return the bytes on disk, those of the write-ahead log included."""
        total = 0
        for file in [self.path, self._companions()[0]]:
            with suppress(FileNotFoundError):
                total += file.stat().st_size
        return total

    def _connection(self) -> Connection:
        owner: _Owner | None = getattr(self._local, "owner", None)
        if (
            owner is None
            or owner.pid != os.getpid()
            or not owner.connection.is_open
            # Set aside by another process, or deleted: what is put there is lost.
            or owner.connection.file != file_id(self.path)
        ):
            with self._lock:
                owner = self._local.owner = _Owner(self._open())
        return owner.connection

    def _open(self) -> Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kind = network_filesystem(self.path.parent)
        if kind is not None:
            raise OSError(f"it is on a network drive ({kind}), where SQLite cannot share a file")
        with locked(self.path.parent):  # nobody sets it aside meanwhile
            connection = sqlite3.connect(
                self.path,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
                factory=Connection,
            )
            connection.file = self._local.file = file_id(self.path)
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
        self._connections.add(connection)
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        new = _pragma(connection, "schema_version") == 0
        if new:
            connection.execute("PRAGMA page_size = 16384")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        elif _pragma(connection, "application_id") != _APPLICATION:
            raise OSError("it is a SQLite file of something else")
        if _pragma(connection, "user_version") > _VERSION:
            raise OSError("it was written by a newer version of lancedb-embedders; upgrade it")
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise OSError(f"the file system allows no write-ahead log (journal mode {mode})")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        if new:
            self._make_tables(connection)

    def _make_tables(self, connection: sqlite3.Connection) -> None:
        with transaction(connection):
            if _pragma(connection, "schema_version") != 0:
                return  # another process was faster
            for statement in self._schema.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {_VERSION}")

    def _damaged(self, error: Exception) -> str:
        start = f"the cache of vectors {self.path} is damaged ({error})."
        try:
            aside = self._set_aside()
        except OSError as problem:
            return f"{start} It cannot be set aside ({problem}): move it away, or delete it"
        return (
            f"{start} It was set aside as {aside.name} in the same folder. Run again: a new cache "
            "is made, and filled with what is embedded from now on. sqlite3's .recover may save "
            "vectors of the old one"
        )

    def _set_aside(self) -> Path:
        damaged: FileId = self._local.file
        with self._lock, locked(self.path.parent):
            if self._has_moved():
                # Another thread or process was faster: what has the name now is a new file.
                return self._aside.get(damaged, self._aside_path("*"))
            self.close()
            aside = self._free_name()
            # The database goes last: SQLite deletes the log that it finds beside a new one.
            for file in [*self._companions(), self.path]:
                with suppress(FileNotFoundError):
                    file.rename(str(aside) + file.name.removeprefix(self.path.name))
            self._aside[damaged] = aside
            return aside

    def _has_moved(self) -> bool:
        opened: FileId | None = getattr(self._local, "file", None)
        return opened is not None and opened != file_id(self.path)

    def _free_name(self) -> Path:
        stamp = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        names = (self._aside_path(stamp + (f"-{i}" if i else "")) for i in count())
        return next(name for name in names if not name.exists())

    def _aside_path(self, end: str) -> Path:
        return self.path.with_name(f"{self.path.name}.damaged-{end}")

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
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A full disk, for one, may have ended it already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def check_writable(connection: sqlite3.Connection) -> None:
    """Fail where nothing can be written."""
    # To begin a transaction is not enough: on a read-only file SQLite begins one to read.
    with transaction(connection):
        connection.execute(f"PRAGMA user_version = {_VERSION}")


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


def _is_damage(error: Exception) -> bool:
    # SQLite's codes for a file that is none of its own or malformed; Python has no class for them.
    # A complaint that quotes what cannot be read comes as an error of decoding.
    if isinstance(error, DamagedError | UnicodeDecodeError) or type(error) is sqlite3.DatabaseError:
        return True
    return isinstance(error, sqlite3.OperationalError) and any(
        words in str(error) for words in _DAMAGE_WORDS
    )
