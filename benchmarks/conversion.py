"""From what a function returns to an Arrow column, in the steps that LanceDB takes."""

from __future__ import annotations

from typing import Any

import pyarrow

pa: Any = pyarrow  # it has no types


def to_arrow(vectors: Any, dims: int) -> Any:
    """Convert as ``lancedb.table._append_vector_columns`` does between function and table."""
    column = [v if v is not None and len(v) == dims else None for v in vectors]
    return pa.array(column, type=pa.list_(pa.float32(), dims))
