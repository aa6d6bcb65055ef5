"""Pooling: how token vectors become one, and changing it in a loaded model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.local.declared import pooling_name

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling


def current(model: SentenceTransformer) -> str | None:
    """Return the name of a model's pooling, several modes joined by ``+``; None without one."""
    pooling = _find(model)
    return None if pooling is None else pooling_name(pooling[1].pooling_mode)


def change(model: SentenceTransformer, mode: str) -> None:
    """Make a model pool by `mode`, in place.

    Raises
    ------
    ConfigurationError
        The model has no pooling, or a layer behind it does not take vectors of that size.
    """
    from sentence_transformers.base.modules import Normalize
    from sentence_transformers.sentence_transformer.modules import Dropout, Pooling

    if current(model) == mode:
        return
    found = _find(model)
    if found is None:
        raise ConfigurationError(
            f"pooling={mode!r} cannot be set: the model has no pooling to change; leave it out"
        )
    key, old = found
    modes = mode.split("+")
    new = Pooling(old.embedding_dimension, pooling_mode=modes, include_prompt=old.include_prompt)
    keys = list(model._modules)
    behind = [model._modules[other] for other in keys[keys.index(key) + 1 :]]
    fits = all(isinstance(module, (Normalize, Dropout)) for module in behind)
    if new.pooling_output_dimension != old.pooling_output_dimension and not fits:
        raise ConfigurationError(
            f"pooling={mode!r} gives {new.pooling_output_dimension} dimensions, and the layers "
            f"behind it take {old.pooling_output_dimension}"
        )
    model._modules[key] = new


def pool_spans(
    model: SentenceTransformer, features: dict[str, Any], spans: Sequence[npt.NDArray[np.int64]]
) -> torch.Tensor:
    """Run a model and take the mean of its token vectors over spans, in place of its pooling.

    This is late chunking (Günther et al. 2024, arXiv:2409.04701).

    Parameters
    ----------
    model : SentenceTransformer
        A model that pools by the mean.
    features : dict
        Its input, on its device.
    spans : sequence of numpy.ndarray
        For each row of the input, first token and the one behind the last; padding not counted.

    Returns
    -------
    torch.Tensor
        Shape ``(spans, dim)``, after the layers behind the pooling.
    """
    import torch

    found = _find(model)
    assert found is not None, "a model without pooling has no mean to take over spans"
    modules = list(model)
    at = modules.index(found[1])
    for module in modules[:at]:
        features = module(features)
    means = [
        tokens[start:stop].mean(dim=0)
        for tokens, own in zip(_rows(features), spans, strict=True)
        for start, stop in own.tolist()
    ]
    pooled = {"sentence_embedding": torch.stack(means)}
    for module in modules[at + 1 :]:
        pooled = module(pooled)
    return pooled["sentence_embedding"]


def _rows(features: dict[str, Any]) -> Sequence[torch.Tensor]:
    """Return the token vectors of each input, without those of padding."""
    tokens: Any = features["token_embeddings"]
    if "cu_seq_lens_q" in features:
        return list(tokens[0].split(features["cu_seq_lens_q"].diff().tolist()))
    if "attention_mask" in features:
        masks = features["attention_mask"].bool()
        return [row[mask] for row, mask in zip(tokens, masks, strict=True)]
    return list(tokens)


def _find(model: SentenceTransformer) -> tuple[str, Pooling] | None:
    from sentence_transformers.sentence_transformer.modules import Pooling

    for key, module in model._modules.items():
        if isinstance(module, Pooling):
            return key, module
    return None
