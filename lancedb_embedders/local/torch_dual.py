"""Models of two towers, text and picture, in one space: CLIP, SigLIP and their like.

sentence-transformers loads them; but it pads text for SigLIP in another way than the model was
trained with, and prepares pictures one after the other.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from lancedb_embedders.local.engine import Role
from lancedb_embedders.local.tokens import Tokens, finite, padded

# Trained with every text padded to the full length, and the last token taken.
_PADDED_IN_FULL = ("siglip", "siglip2")
_METHODS = {"text": "get_text_features", "image": "get_image_features"}


def is_dual(module: Any) -> bool:
    """Tell whether the first module of a model is a transformer with a tower a modality."""
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import CLIPModel

    if type(module) not in (Transformer, CLIPModel):
        return False
    methods = {name: module.modality_config.get(name, {}).get("method") for name in _METHODS}
    return methods == _METHODS


def dual_length(module: Any) -> int | None:
    """Return the tokens that a text may have."""
    config = getattr(module.model.config, "text_config", module.model.config)
    known = [module.tokenizer.model_max_length, getattr(config, "max_position_embeddings", None)]
    return min(filter(None, map(finite, known)), default=None)


class DualCollate:
    """Pads token ids in the way in which the model was trained."""

    def __init__(self, module: Any) -> None:
        tokenizer = module.tokenizer
        self._pad = tokenizer.pad_token_id or 0
        self._left = tokenizer.padding_side == "left"
        self._names = tokenizer.model_input_names
        in_full = module.model.config.model_type in _PADDED_IN_FULL
        self._width = dual_length(module) if in_full else None

    def __call__(self, items: Sequence[Any]) -> dict[str, Any]:
        """Return the tensors of one batch."""
        import torch

        ids, mask = padded(items, self._pad, self._left, self._width)
        features = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        return {
            name: torch.from_numpy(value)
            for name, value in features.items()
            if name == "input_ids" or name in self._names
        }


class PythonTokens:
    """Token ids from a tokenizer without a part in Rust, as the first SigLIP has."""

    tokenizer = None

    def __init__(self, module: Any) -> None:
        self._tokenizer = module.tokenizer
        self._collate = DualCollate(module)
        self._lock = threading.Lock()  # tokenizers of transformers keep state
        self.max_length = dual_length(module)

    def tokenize(
        self,
        texts: Sequence[str],
        prompt: str,
        role: Role,  # noqa: ARG002
        max_length: int | None,
    ) -> Tokens:
        """Tokenize and cut; see `ModelInput`."""
        prompted = [prompt + text for text in texts]
        whole = self._ids(prompted)
        lengths = np.array([len(ids) for ids in whole], dtype=np.int64)
        limit = max_length or int(lengths.max(initial=0))
        for i in np.flatnonzero(lengths > limit).tolist():
            whole[i] = self._ids([prompted[i]], truncation=True, max_length=limit)[0]
        items = [np.array(ids, dtype=np.int32) for ids in whole]
        kept = np.minimum(lengths, limit)
        return Tokens(items, kept, lengths - kept)

    def features(
        self,
        items: Sequence[Any],
        prompt: str,  # noqa: ARG002
        role: Role,  # noqa: ARG002
    ) -> dict[str, Any]:
        """Pad; see `ModelInput`."""
        return self._collate(items)

    def overhead(self, prompt: str) -> int:
        """Count; see `ModelInput`."""
        return len(self._ids([prompt])[0])

    def _ids(self, texts: Sequence[str], **options: Any) -> list[list[int]]:
        with self._lock:
            found: list[list[int]] = self._tokenizer(list(texts), **options)["input_ids"]
        return found
