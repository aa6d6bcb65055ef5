"""Rows as users have them: dicts, pydantic models, or anything of Arrow's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
from pydantic import BaseModel

from lancedb_embedders.errors import InputError

Row = dict[str, Any]


def each_row(rows: Any) -> Iterator[Row]:
    """Yield rows as dicts, one by one.

    Parameters
    ----------
    rows : iterable of dict or of pydantic models, or anything of Arrow's
        A table, a reader, a data frame, a generator.

    Raises
    ------
    InputError
        Something that holds no rows, or a row that is none.
    """
    if hasattr(rows, "__arrow_c_stream__"):
        for batch in pa.RecordBatchReader.from_stream(rows):
            yield from batch.to_pylist()
        return
    if isinstance(rows, (str, bytes, Mapping, BaseModel)) or not isinstance(rows, Iterable):
        raise InputError(f"expected rows, got {type(rows).__name__}; put a single row into a list")
    for number, row in enumerate(rows):
        if isinstance(row, pa.RecordBatch):
            yield from row.to_pylist()
        elif isinstance(row, Mapping):
            yield dict(row)
        elif isinstance(row, BaseModel):
            yield {name: getattr(row, name) for name in type(row).model_fields}
        else:
            raise InputError(f"row {number}: expected a dict, got {type(row).__name__}", [number])
