"""Rows as users have them: dicts, pydantic models, or anything of Arrow's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
from pydantic import BaseModel

from lancedb_embedders.errors import InputError

Row = dict[str, Any]


def each_row(rows: Any, unset: bool = True) -> Iterator[Row]:
    """Yield rows as dicts, one by one.

    Parameters
    ----------
    rows : iterable of dict or of pydantic models, or anything of Arrow's
        A table, a reader, a data frame, a generator.
    unset : bool, default True
        Whether fields of a model that were not given, and are None by default, are in its row.

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
            yield {
                name: value
                for name in type(row).model_fields
                if (value := getattr(row, name)) is not None
                or unset
                or name in row.model_fields_set
            }
        else:
            raise InputError(f"row {number}: expected a dict, got {type(row).__name__}", [number])
