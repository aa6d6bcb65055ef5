"""A function whose vectors can be told apart by text and by model, and tables for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lancedb_embedders import Batch, Embedder, InputError
from tests.counting import vectors_for


class LabelledEmbeddings(Embedder, registry_name="labelled"):
    """Vectors made of a hash of the text, and of a name that stands for the model.

    A text with "unfit" in it is refused; `seen` counts what was embedded.
    """

    name: str = "first"
    dim: int = 8

    def ndims(self) -> int:
        return self.column_dims(self.dim)

    def embed(self, batch: Batch) -> npt.NDArray[np.float32]:
        unfit = [i for i, text in enumerate(batch.inputs) if "unfit" in text]
        if unfit:
            raise InputError("a text is unfit", batch.rows(unfit))
        SEEN.extend(batch.inputs)
        return vectors_for(list(batch.inputs), self.name, self.dim)


#: Texts that were embedded in this process.
SEEN: list[str] = []


def texts_table(db: Any, texts: Sequence[str | None], fragments: int = 1, name: str = "t") -> Any:
    """Return a table of ids and texts, in so many fragments."""
    rows = pa.table({"id": list(range(len(texts))), "text": pa.array(texts, pa.string())})
    size = -(-len(texts) // fragments)
    table = db.create_table(name, rows.slice(0, size))
    for start in range(size, len(texts), size):
        table.add(rows.slice(start, size))
    return table


def wrong_rows(table: Any, function: LabelledEmbeddings, vector: str = "vector") -> list[Any]:
    """Return the rows whose vector is not the function's for their text."""
    wrong = []
    rows = table if isinstance(table, pa.Table) else table.to_arrow()
    for row in rows.to_pylist():
        text = row["text"]
        found: Any = row[vector]
        blank = text is None or not text.strip()
        expected: Any = None if blank else function.compute_source_embeddings([text])[0]
        if blank or found is None:
            right = blank and found is None
        else:
            right = np.allclose(found, expected, atol=1e-6)
        if not right:
            wrong.append(row)
    return wrong
