"""Texts from a list, a table or files, batch by batch, so that memory stays flat."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa

from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.tables.read_files import read_files
from lancedb_embedders.tables.recorded import embedded_columns, one_embedded_column

#: Rows of a batch.
BATCH_ROWS = 1024

_TEXT = "text"


@dataclass(frozen=True)
class TextStream:
    """Values of a column, read once.

    Attributes
    ----------
    rows : int or None
        How many there are; None: not known before they are read.
    batches : callable
        Returns them, in batches of at most `BATCH_ROWS`.
    """

    rows: int | None
    batches: Callable[[], Iterator[Any]]


def text_stream(given: Any, column: str | None = None) -> TextStream:
    """Open whatever holds texts.

    Parameters
    ----------
    given : iterable of str, pyarrow.Array, pyarrow.Table, lancedb.table.Table, path or list of path
        Texts; a table; or files and folders as `pathlib.Path`, see
        `lancedb_embedders.tables.read_files`.
    column : str, optional
        Column of the texts; None: the one that the table embeds, else ``"text"``.

    Raises
    ------
    ConfigurationError
        One string in place of texts, or no such column.
    InputError
        A file that cannot be read.
    """
    if isinstance(given, str):
        raise ConfigurationError(
            "expected a list of texts, got one string; put it into a list, or name a file by "
            "pathlib.Path(...)"
        )
    if hasattr(given, "to_lance"):
        return _of_table(given, column)
    paths = _paths(given)
    if paths:
        return _of_files(paths, column)
    if isinstance(given, pa.Table):
        _check_column(column or _TEXT, given.schema.names, "the table")
        given = given[column or _TEXT]
    elif column is not None:
        raise ConfigurationError("column=... is for tables and files; a list of texts has none")
    if isinstance(given, (pa.Array, pa.ChunkedArray)):
        return TextStream(len(given), lambda: _sliced(given))
    if not isinstance(given, Iterable):
        raise ConfigurationError(f"expected texts, a table or files, got {type(given).__name__}")
    return TextStream(len(given) if isinstance(given, Sized) else None, lambda: _chunked(given))


def _of_table(table: Any, column: str | None) -> TextStream:
    name = column or (
        one_embedded_column(table.schema, None).source if embedded_columns(table.schema) else _TEXT
    )
    _check_column(name, table.schema.names, f"table {table.name!r}")

    def batches() -> Iterator[Any]:
        for batch in table.search().select([name]).to_batches(BATCH_ROWS):
            yield batch.column(0)

    return TextStream(table.count_rows(), batches)


def _of_files(paths: Sequence[os.PathLike[str]], column: str | None) -> TextStream:
    source = read_files([os.fspath(path) for path in paths], column, batch_rows=BATCH_ROWS)

    def batches() -> Iterator[Any]:
        for batch in source.batches():
            yield batch.column(source.text)

    return TextStream(source.rows, batches)


def _paths(given: Any) -> list[os.PathLike[str]]:
    if isinstance(given, os.PathLike):
        return [given]
    if not isinstance(given, (list, tuple)) or not given:
        return []
    return list(given) if all(isinstance(one, os.PathLike) for one in given) else []


def _check_column(name: str, there: Sequence[str], what: str) -> None:
    if name not in there:
        raise ConfigurationError(
            f"{what} has no column {name!r}; name the one of the texts by column=..., of: "
            f"{', '.join(there)}"
        )


def _sliced(values: pa.Array | pa.ChunkedArray) -> Iterator[Any]:
    for start in range(0, len(values), BATCH_ROWS):
        yield values.slice(start, BATCH_ROWS)


def _chunked(values: Iterable[Any]) -> Iterator[list[Any]]:
    rest = iter(values)
    while batch := list(islice(rest, BATCH_ROWS)):
        yield batch
