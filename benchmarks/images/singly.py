"""LanceDB's own way through pictures, with transformers in place of open_clip."""

from __future__ import annotations

from functools import cache
from typing import Any

from lancedb.embeddings import EmbeddingFunction, register
from lancedb.embeddings.open_clip import OpenClipEmbeddings

from benchmarks.images.job import SINGLY


@register(SINGLY)
class SinglyEmbeddings(OpenClipEmbeddings):
    """Threads decode, and run the model on one picture at a time, as LanceDB's function does."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        EmbeddingFunction.__init__(self, *args, **kwargs)
        self._model, self._preprocess = _loaded(self.name)

    def ndims(self) -> int:
        """Return the dimensions."""
        return int(self._model.config.projection_dim)

    def _encode_and_normalize_image(self, image_tensor: Any) -> Any:
        features = self._model.get_image_features(pixel_values=image_tensor).pooler_output
        features /= features.norm(dim=-1, keepdim=True)
        return features.cpu().numpy().squeeze()


@cache
def _loaded(folder: str) -> tuple[Any, Any]:
    from transformers import AutoImageProcessor, AutoModel

    processor: Any = AutoImageProcessor.from_pretrained(folder)

    def preprocess(picture: Any) -> Any:
        return processor(images=picture.convert("RGB"), return_tensors="pt")["pixel_values"][0]

    return AutoModel.from_pretrained(folder).eval(), preprocess
