"""Pooling: how token vectors become one, and changing it in a loaded model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.local.declared import pooling_name

if TYPE_CHECKING:
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


def _find(model: SentenceTransformer) -> tuple[str, Pooling] | None:
    from sentence_transformers.sentence_transformer.modules import Pooling

    for key, module in model._modules.items():
        if isinstance(module, Pooling):
            return key, module
    return None
