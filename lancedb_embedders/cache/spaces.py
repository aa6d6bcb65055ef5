"""The numbers that spaces have in a file."""

from __future__ import annotations

from lancedb_embedders.cache.file import Connection


def find_space(connection: Connection, description: str) -> tuple[int, int] | None:
    """Return the number of a space and the width of its vectors; None if it has none yet."""
    if description not in connection.spaces:
        found: tuple[int, int] | None = connection.execute(
            "SELECT id, width FROM spaces WHERE description = ?", (description,)
        ).fetchone()
        if found is None:
            return None
        connection.spaces[description] = found
    return connection.spaces[description]


def make_space(connection: Connection, description: str, width: int) -> tuple[int, int]:
    """Add a space; returns the same as `find_space`."""
    # It is not remembered here, since it may be rolled back.
    made = connection.execute(
        "INSERT INTO spaces (description, width) VALUES (?, ?)", (description, width)
    )
    assert made.lastrowid is not None
    return made.lastrowid, width
