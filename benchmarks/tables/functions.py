"""A function that costs nothing, so that all else is measured."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lancedb_embedders import Batch, Embedder

DIMS = 384


class NothingEmbeddings(Embedder, registry_name="benchmark-nothing"):
    """Gives the same vector for every text."""

    normalize: bool = False

    def ndims(self) -> int:
        """Return the dimensions of the bundled model."""
        return self.column_dims(DIMS)

    def embed(self, batch: Batch) -> npt.NDArray[np.float32]:
        """Return ones."""
        return np.ones((len(batch.inputs), DIMS), dtype=np.float32)
