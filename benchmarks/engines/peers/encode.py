"""sentence-transformers itself, on any of its backends."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any


def load(model: Path, backend: str = "torch", dtype: str = "") -> Callable[[list[str]], Any]:
    """Load the model; 32 texts a batch, as it does when nobody says otherwise."""
    package = importlib.import_module("sentence_transformers")
    encoder = package.SentenceTransformer(
        str(model),
        device="cpu",
        backend=backend,
        local_files_only=True,
        model_kwargs={"dtype": dtype} if dtype else {},
    )

    def embed(texts: list[str]) -> Any:
        return encoder.encode(
            texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False
        )

    return embed
