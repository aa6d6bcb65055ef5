"""A table for as long as something is measured: texts by id, embedded by a function."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from lancedb.pydantic import LanceModel

from lancedb_embedders.embedder import Embedder

_BATCH = 8192  # rows that are embedded at once


@contextmanager
def scratch_table(embedder: Embedder, texts: Mapping[str, str]) -> Iterator[Any]:
    """Give a table with the columns ``id``, ``text`` and ``vector``, which is deleted afterwards.

    Parameters
    ----------
    embedder : Embedder
        What embeds the texts; without a template.
    texts : mapping of str to str
        Texts by id, none of them blank.
    """
    import lancedb

    function: Any = embedder

    class Text(LanceModel):
        id: str
        text: str = function.SourceField()
        vector: function.Vector() = function.VectorField()  # type: ignore[valid-type]

    with tempfile.TemporaryDirectory() as folder:
        table: Any = lancedb.connect(folder).create_table("texts", schema=Text)
        rows = pa.table({"id": list(texts), "text": list(texts.values())})
        table.add(pa.RecordBatchReader.from_batches(rows.schema, rows.to_batches(_BATCH)))
        yield table
