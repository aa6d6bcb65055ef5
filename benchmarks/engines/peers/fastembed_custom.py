"""fastembed with weights from a folder."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any


def load(model: Path) -> Callable[[list[str]], Any]:
    """Load the model; batches as fastembed makes them when nobody says otherwise."""
    numpy = importlib.import_module("numpy")
    fastembed = importlib.import_module("fastembed")
    described = importlib.import_module("fastembed.common.model_description")
    name = "benchmarks/all-MiniLM-L6-v2"
    fastembed.TextEmbedding.add_custom_model(
        model=name,
        pooling=described.PoolingType.MEAN,
        normalization=True,
        sources=described.ModelSource(hf=name),
        dim=384,
        model_file="onnx/model.onnx",
    )
    embedding = fastembed.TextEmbedding(name, specific_model_path=str(model))
    return lambda texts: numpy.array(list(embedding.embed(texts)), dtype=numpy.float32)
