"""Where a table is, in a form that other processes can open it by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from lancedb.table import LanceTable

from lancedb_embedders.errors import ConfigurationError, EmbeddingError, TableError
from lancedb_embedders.extras import require

# How Lance says that a disk or a quota is used up, and that it is not let.
_FULL = re.compile(r"os error (28|112|122)\b|no space left|quota", re.IGNORECASE)
_NOT_LET = re.compile(
    r"os error (1|13|30)\b|permission ?denied|access ?denied|\b403\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Place:
    """A table's folder or prefix in an object store.

    Attributes
    ----------
    uri : str
        Of the table itself.
    storage_options : dict, optional
        What LanceDB was connected with; may hold credentials, and is in no repr.
    """

    uri: str
    storage_options: dict[str, str] | None = field(default=None, repr=False)

    def dataset(self) -> Any:
        """Return the newest version as a ``lance.LanceDataset``."""
        import lance

        return lance.dataset(self.uri, storage_options=self.storage_options)

    def session(self, folder: str) -> Any:
        """Return a ``lance.file.LanceFileSession`` of a folder within the table's."""
        from lance.file import LanceFileSession

        return LanceFileSession(f"{self.uri}/{folder}", storage_options=self.storage_options)

    @contextmanager
    def storage_errors(self, what: str) -> Iterator[None]:
        """Turn errors of a disk or an object store into one that says what to do.

        Parameters
        ----------
        what : str
            What is done meanwhile; nothing but reading and writing of this place.

        Raises
        ------
        TableError
            In the place of errors of Lance and Arrow; conflicts of commits pass.
        """
        from lance.commit import CommitConflictError

        try:
            yield
        except (CommitConflictError, EmbeddingError):
            raise
        except (OSError, RuntimeError, pa.ArrowException) as error:
            reason = reason_of(error)
            if "KeyboardInterrupt" in reason:  # Ctrl-C while Arrow was reading
                raise KeyboardInterrupt from None
            todo = "Call again"
            if _FULL.search(reason):
                todo = "Make space, at most twice what all vectors take, and call again"
            elif _NOT_LET.search(reason):
                todo = "Give this process leave to read and write there, and call again"
            raise TableError(
                f"{what} failed in {self.uri}: {reason}. The table is whole, and what was finished "
                f"is kept. {todo}: it goes on from there"
            ) from error


def reason_of(error: Exception) -> str:
    """Return what an error of Lance says, without where in its code that was."""
    return str(error).split(", /")[0]


def place_of(table: Any) -> Place:
    """Return where a table is.

    Raises
    ------
    ConfigurationError
        It is no table that can be worked on from here: an async one, one of LanceDB Cloud, one
        that is on a branch, or in a file format of long ago.
    MissingExtraError
        The extra ``[tables]`` is not installed.
    """
    if not isinstance(table, LanceTable):
        kind = f"{type(table).__module__}.{type(table).__name__}"
        raise ConfigurationError(
            f"expected a table that lancedb.connect(...).open_table(...) gives, got {kind}. An "
            "async table is opened a second time by lancedb.connect; vectors of a table in "
            "LanceDB Cloud can be filled by its own functions only"
        )
    require("tables", "Changing the vectors of an existing table")
    branch = table.current_branch()
    if branch is not None:
        raise ConfigurationError(
            f"the table is on its branch {branch!r}; open the table itself, since a branch cannot "
            "be given a vector column"
        )
    dataset = table.to_lance()
    if dataset.data_storage_version.startswith("0."):
        raise ConfigurationError(
            "the table is in Lance's first file format, which no column can be added to from here; "
            "copy it into a new table: db.create_table(name, table.to_lance().to_batches(), "
            "schema=table.schema)"
        )
    return Place(dataset.uri, dataset.latest_storage_options())
