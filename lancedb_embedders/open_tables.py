"""A table's handle that is open while the table gets another embedding function.

LanceDB 0.40 reads the functions of a handle once and keeps them, while its rows move on to newer
versions (``checkout_latest``, ``read_consistency_interval``). Queries would then be embedded by the
old model and compared with vectors of the new one: an error if they differ in size, and wrong
results if they do not. ``tests/test_open_tables.py`` says when LanceDB asks anew itself.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from lancedb.embeddings import EmbeddingFunctionRegistry
from lancedb.table import LanceTable

_KEPT = "_functions_of_metadata"


def _embedding_functions(self: LanceTable) -> dict[str, Any]:
    """Return the embedding functions of the version that the handle is at, by vector column."""
    metadata = self.schema.metadata
    stored = (metadata or {}).get(b"embedding_functions")
    kept = self.__dict__.get(_KEPT)
    if kept is None or kept[0] != stored:
        functions = EmbeddingFunctionRegistry.get_instance().parse_functions(metadata)
        kept = self.__dict__[_KEPT] = (stored, functions)
    found: dict[str, Any] = kept[1]
    return found


def follow_versions() -> None:
    """Have handles use the functions of the version that they are at."""
    if isinstance(LanceTable.__dict__.get("embedding_functions"), cached_property):
        setattr(LanceTable, "embedding_functions", property(_embedding_functions))  # noqa: B010
