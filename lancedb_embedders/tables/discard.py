"""`discard`: work that was begun and will not be finished."""

from __future__ import annotations

from typing import Any

from lancedb_embedders.tables.parts import drop_folder, unfinished
from lancedb_embedders.tables.place import place_of


def discard(table: Any) -> int:
    """Delete what unfinished work on a table has kept; the table itself stays as it is.

    For work that was stopped and is not wanted any more, such as an `attach` with a function that
    another one is preferred to. Work that is under way elsewhere begins again.

    Parameters
    ----------
    table : lancedb.table.LanceTable
        The table.

    Returns
    -------
    int
        Number of works whose finished rows were deleted.

    Raises
    ------
    TableError
        The disk or object store fails.
    """
    place = place_of(table)
    with place.storage_errors("deleting unfinished work"):
        found = unfinished(place)
        for folder in found:
            drop_folder(place, folder)
    return len(found)
