"""Values of a batch as a column of vectors, with errors that say where their rows are."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from lancedb_embedders.embedder import Embedder, nulls_unreported
from lancedb_embedders.errors import InputError
from lancedb_embedders.tables.columns import as_column


def embedded(
    function: Embedder, values: pa.Array, dtype: pa.DataType, located: Callable[[list[int]], str]
) -> pa.Array:
    """Embed values; of those with nothing to embed, which get null, nothing is said.

    Parameters
    ----------
    function : Embedder
        What embeds.
    values : pyarrow.Array
        Values of the source column.
    dtype : pyarrow.DataType
        Of the vector column.
    located : callable
        Given rows of `values`, tells where the user finds them.

    Raises
    ------
    InputError
        As the function raised it, with what `located` tells: it counts rows within its batch.
    """
    try:
        with nulls_unreported():
            found = function.compute_source_embeddings(values)
    except InputError as error:
        if not error.rows:
            raise
        raise type(error)(
            f"{error}. Rows are counted within a batch there; {located(list(error.rows))}",
            error.rows,
        ) from None
    return as_column(found, dtype)
