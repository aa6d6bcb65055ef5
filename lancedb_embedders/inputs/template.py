"""Several fields into one text."""

from __future__ import annotations

from collections.abc import Iterable
from string import Formatter
from typing import Any

import numpy as np
import pyarrow as pa

from lancedb_embedders.errors import InputError


class Template:
    r"""A text with fields of a row in braces.

    Parameters
    ----------
    template : str
        As in `str.format`, but names alone: no conversions, no format specifications. A field
        within a field is ``{author.name}``; ``{{`` and ``}}`` are braces.

    Raises
    ------
    ValueError
        It names no field, or holds more than names.

    Examples
    --------
    >>> Template("{title}\n\n{body}").texts([{"title": "Tea", "body": "Green."}, None])
    ['Tea\n\nGreen.', None]
    """

    def __init__(self, template: str) -> None:
        self._parts: list[tuple[str, tuple[str, ...]]] = []
        for literal, name, spec, conversion in Formatter().parse(template):
            if spec or conversion:
                raise ValueError(f"{{{name}}} can only be a name, without ':' or '!'")
            path = tuple((name or "").split("."))
            if name is not None and not all(part.isidentifier() for part in path):
                raise ValueError(f"{{{name}}} is not the name of a field")
            self._parts.append((literal, path if name is not None else ()))
        if not any(path for _, path in self._parts):
            raise ValueError("names no field in braces, like {title}")

    def texts(self, values: Any) -> list[str | None]:
        """Return one text a row.

        Null fields count as empty; a row whose fields are all null or blank has no text.

        Parameters
        ----------
        values : pyarrow.StructArray, pyarrow.ChunkedArray, numpy.ndarray, dict or iterable of dict
            Rows.

        Raises
        ------
        InputError
            A row is no struct, has no such field, or has something other than text or a number in
            it; names row and field.
        """
        return [None if row is None else self._fill(row, i) for i, row in enumerate(_rows(values))]

    def _fill(self, row: Any, number: int) -> str | None:
        filled = []
        blank = True
        for literal, path in self._parts:
            filled.append(literal)
            if path:
                value = _field(row, path, number)
                blank = blank and not value.strip()
                filled.append(value)
        return None if blank else "".join(filled)


def _rows(values: Any) -> Iterable[Any]:
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return list(values.to_pylist())
    if isinstance(values, pa.Scalar):
        return [values.as_py()]
    if isinstance(values, np.ndarray):
        return list(np.atleast_1d(values).tolist())
    if isinstance(values, (dict, str)) or not isinstance(values, Iterable):
        return [values]
    return values


def _field(row: Any, path: tuple[str, ...], number: int) -> str:
    value = row
    for name in path:
        if value is None:
            return ""
        if not isinstance(value, dict):
            raise InputError(
                f"row {number}: the template {{{'.'.join(path)}}} needs a struct, got "
                f"{type(value).__name__}; use a nested model as the source, or leave template out",
                [number],
            )
        if name not in value:
            raise InputError(
                f"row {number}: there is no field {name!r} for the template; there are: "
                f"{', '.join(map(str, value))}",
                [number],
            )
        value = value[name]
    if value is None:
        return ""
    if isinstance(value, (str, int, float)):
        return str(value)
    raise InputError(
        f"row {number}: the field {'.'.join(path)} of the template holds "
        f"{type(value).__name__}, not text or a number",
        [number],
    )
