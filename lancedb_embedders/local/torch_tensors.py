"""Tensors to where a model is, and its vectors back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lancedb_embedders.output import Float32

if TYPE_CHECKING:
    import torch


def on_device(features: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Return the features of a batch with all tensors among them on `device`."""
    return {
        name: value.to(device) if hasattr(value, "to") else value
        for name, value in features.items()
    }


def as_array(vectors: torch.Tensor) -> Float32:
    """Return vectors of any device and precision as a float32 array."""
    return np.asarray(vectors.float().cpu().numpy())
