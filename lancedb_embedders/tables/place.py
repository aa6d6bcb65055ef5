"""Where a table is, in a form that other processes can open it by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lancedb.table import LanceTable

from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.extras import require


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


def place_of(table: Any) -> Place:
    """Return where a table is.

    Raises
    ------
    ConfigurationError
        It is no table that can be worked on from here: an async one, one of LanceDB Cloud, or
        one that is on a branch.
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
    return Place(dataset.uri, dataset.latest_storage_options())
