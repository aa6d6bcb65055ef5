"""`content-hash`: what a row's vector was made from, kept beside it.

LanceDB fills every column of its embedding functions when rows are added. A hash that is one of
them comes with each row by itself, and stays as it was when ``update()`` changes the text: that
is how `lancedb_embedders.tables.refresh` knows which vectors are stale.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from lancedb.embeddings import EmbeddingFunction, get_registry

NAME = "content-hash"
SIZE = 8
TYPE = pa.binary(SIZE)


def hashes(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a hash of each value, 8 bytes; null of null.

    Parameters
    ----------
    values : pyarrow.Array or pyarrow.ChunkedArray
        Texts, bytes, or structs of several fields.
    """
    return pa.array([None if v is None else _hash(v) for v in values.to_pylist()], type=TYPE)


def compared(values: pa.Array | pa.ChunkedArray, kept: Any) -> tuple[Any, Any]:
    """Return which values have another hash than is kept of them, and of which none is kept.

    Parameters
    ----------
    values : pyarrow.Array or pyarrow.ChunkedArray
        As in `hashes`; nulls are in neither.
    kept : pyarrow.Array or pyarrow.ChunkedArray
        Hashes, as long.
    """
    now = hashes(values)
    differs = pc.fill_null(pc.not_equal(now, kept), False)
    return differs, pc.and_(pc.is_null(kept), pc.is_valid(now))


def _hash(value: Any) -> bytes:
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    elif not isinstance(value, bytes):
        value = json.dumps(value, sort_keys=True, default=repr).encode()
    # Two versions of one row are compared, never all rows with each other: 64 bits are plenty.
    return blake2b(value, digest_size=SIZE).digest()


@get_registry().register(NAME)
class ContentHash(EmbeddingFunction):
    """Fills a column with hashes of the source column; it is no model, and cannot be searched."""

    def ndims(self) -> int:
        """Return the bytes of a hash."""
        return SIZE

    def compute_source_embeddings(self, values: Any, *args: Any, **kwargs: Any) -> Any:
        """Return a hash of each value; see `hashes`."""
        del args, kwargs
        if not isinstance(values, (pa.Array, pa.ChunkedArray)):
            values = pa.array(values)
        return hashes(values).to_pylist()

    def compute_query_embeddings(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: a hash finds nothing that is alike."""
        del args, kwargs
        raise NotImplementedError("a column of content hashes cannot be searched")
