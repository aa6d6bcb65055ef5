"""A model that is being trained, as an embedding function: what evaluates takes it as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import PrivateAttr

from lancedb_embedders.batch import Batch, Role
from lancedb_embedders.embedder import Embedder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_BATCH = 64


class LiveModel(Embedder, registry_name=None):
    """Vectors of a model in memory, whatever its weights are at the time; no table stores it."""

    _model: Any = PrivateAttr()
    _prompts: Mapping[Role, str] = PrivateAttr()
    _max_length: int | None = PrivateAttr()

    @classmethod
    def of(
        cls,
        model: SentenceTransformer,
        prompts: Mapping[Role, str],
        max_length: int | None,
        **options: Any,
    ) -> LiveModel:
        """Return a function for `model`.

        Parameters
        ----------
        model : SentenceTransformer
            The model.
        prompts : mapping
            Text put before each text of a role.
        max_length : int or None
            Tokens a text may have while it is embedded here; None: what the model has.
        **options
            Of `Embedder`.
        """
        made = cls(**options)
        made._model, made._prompts, made._max_length = model, prompts, max_length
        return made

    def ndims(self) -> int:
        """Return the size of a vector."""
        return self.column_dims(int(self._model.get_embedding_dimension()))

    def embed(self, batch: Batch) -> npt.NDArray[np.float32]:
        """Embed texts with the weights as they are now; see `Embedder.embed`."""
        model = self._model
        encode = model.encode_query if batch.role == "query" else model.encode_document
        trained_with = model.max_seq_length
        if self._max_length is not None:
            model.max_seq_length = self._max_length
        try:
            vectors: npt.NDArray[np.float32] = encode(
                list(batch.inputs),
                prompt=self._prompts[batch.role],
                batch_size=_BATCH,
                show_progress_bar=False,
            )
            return vectors
        finally:
            if self._max_length is not None:
                model.max_seq_length = trained_with
