"""What every tool returns: a dataclass that is also a dict, and a table to read."""

from __future__ import annotations

import dataclasses
import io
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

#: Columns that a table has where it is printed as plain text.
WIDTH = 100


class Result(ABC):
    """Base class of results; subclasses are frozen dataclasses and say how they read.

    Examples
    --------
    >>> import dataclasses
    >>> @dataclasses.dataclass(frozen=True)
    ... class Count(Result):
    ...     rows: int
    ...     def table(self):
    ...         return rows_table("Count", [("rows", "right")], [[f"{self.rows:,}"]])
    >>> Count(3).to_dict()
    {'rows': 3}
    """

    @abstractmethod
    def table(self) -> RenderableType:
        """Return the result as rich prints it."""

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a dict that `json.dumps` takes."""
        plain: dict[str, Any] = _plain(self)
        return plain

    def __rich__(self) -> RenderableType:
        return self.table()

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(file=io.StringIO(), width=WIDTH, no_color=True, highlight=False)
        console.print(self.table())
        printed: str = console.file.getvalue()  # type: ignore[attr-defined]
        return "\n".join(line.rstrip() for line in printed.splitlines())


def rows_table(
    title: str | None, columns: Iterable[tuple[str, str]], rows: Iterable[Iterable[str]]
) -> Table:
    """Return a rich table.

    Parameters
    ----------
    title : str or None
        What stands above it.
    columns : iterable of (str, str)
        Heading, and ``"left"`` or ``"right"``.
    rows : iterable of iterable of str
        Cells, which are shown as they are: markup in them is none.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(title=None if title is None else Text(title), title_justify="left")
    for heading, side in columns:
        table.add_column(heading, justify="right" if side == "right" else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def printable(text: str) -> str:
    """Return `text` without what a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, date):  # datetime too
        return value.isoformat()
    return str(value) if isinstance(value, Path) else value
