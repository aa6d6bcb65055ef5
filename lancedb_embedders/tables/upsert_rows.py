"""Rows given to `upsert`: checked, and those with the same columns put together."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from lancedb_embedders.errors import InputError, name_rows

Rows = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Part:
    """Rows with the same columns.

    Attributes
    ----------
    numbers : list of int
        Their numbers among all rows that were given.
    data : pyarrow.Table
        The rows.
    """

    numbers: list[int]
    data: pa.Table


def parts_of(batch: Rows, schema: pa.Schema, keys: Sequence[str], first: int) -> list[Part]:
    """Return rows as tables of the same columns: a column that one leaves out is no null in it.

    Parameters
    ----------
    batch : sequence of dict
        Rows.
    schema : pyarrow.Schema
        Of the table.
    keys : sequence of str
        Columns that tell rows apart.
    first : int
        Number of the first row.

    Raises
    ------
    InputError
        A row without key or with an unknown column, a null where the table takes none, a value of
        the wrong type, or two rows with the same key.
    """
    # Asked of the schema once: for each row it would take longer than all else here.
    columns = dict.fromkeys(schema.names)
    needed = {field.name for field in schema if not field.nullable}
    for number, row in enumerate(batch, first):
        _check(number, row, columns, needed, keys)
    _check_twice(batch, keys, first)
    alike: dict[tuple[str, ...], list[int]] = {}
    for i, row in enumerate(batch):
        alike.setdefault(tuple(name for name in columns if name in row), []).append(i)
    parts = []
    for names, found in alike.items():
        numbers = [first + i for i in found]
        data = _as_table([batch[i] for i in found], numbers, schema, names)
        parts.append(Part(numbers, data))
    return parts


def _check(
    number: int,
    row: dict[str, Any],
    columns: Collection[str],
    needed: Collection[str],
    keys: Sequence[str],
) -> None:
    unknown = [name for name in row if name not in columns]
    if unknown:
        raise InputError(
            f"row {number} has a column {unknown[0]!r}, which the table has not; it has: "
            f"{', '.join(columns)}",
            [number],
        )
    if any(row.get(key) is None for key in keys):
        raise InputError(
            f"row {number} has no {' and '.join(keys)}, by which rows are merged", [number]
        )
    for name, value in row.items():
        if value is None and name in needed:
            raise InputError(
                f"row {number} has a null in column {name!r}, where the table takes none", [number]
            )


def _check_twice(batch: Rows, keys: Sequence[str], first: int) -> None:
    places: dict[tuple[Any, ...], list[int]] = {}
    for number, row in enumerate(batch, first):
        places.setdefault(tuple(row[key] for key in keys), []).append(number)
    twice = next((rows for rows in places.values() if len(rows) > 1), None)
    if twice:
        raise InputError(
            f"{name_rows(twice)} have the same {' and '.join(keys)}; which of them is meant is "
            "not clear",
            twice,
        )


def _as_table(
    rows: Rows, numbers: Sequence[int], schema: pa.Schema, names: Sequence[str]
) -> pa.Table:
    fields = pa.schema([schema.field(name) for name in names])
    try:
        return pa.Table.from_pylist(rows, schema=fields)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        if len(rows) == 1:
            raise InputError(f"row {numbers[0]} does not fit: {error}", numbers) from None
    for row, number in zip(rows, numbers, strict=True):
        _as_table([row], [number], schema, names)
    raise AssertionError("rows that fit one by one fit together")
