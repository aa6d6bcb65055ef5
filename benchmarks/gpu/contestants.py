"""Who embeds: this package, and sentence-transformers as it comes and in 16 bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

OURS = "lancedb-embedders, bf16"
PLAIN = "sentence-transformers"
PLAIN_BF16 = "sentence-transformers, bf16"

#: Makes all vectors of texts, and returns when they are in the memory of the host.
Embed = Callable[[Sequence[str]], Any]


def contestants(folder: Path, device: str) -> dict[str, Embed]:
    """Load a model for each contestant on a device."""
    import torch

    return {
        OURS: _ours(folder, device),
        PLAIN: _plain(folder, device),
        PLAIN_BF16: _plain(folder, device, dtype=torch.bfloat16),
    }


def _ours(folder: Path, device: str) -> Embed:
    from lancedb.embeddings import get_registry

    import lancedb_embedders  # noqa: F401, registers it

    sbert: Any = get_registry().get("sbert")
    function = sbert.create(
        name=str(folder),
        engine="torch",
        device=device,
        precision="bfloat16",
        on_overflow="truncate",
        progress=False,
    )
    embed: Embed = function.compute_source_embeddings
    return embed


def _plain(folder: Path, device: str, **model_kwargs: Any) -> Embed:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(
        str(folder), device=device, model_kwargs=model_kwargs, local_files_only=True
    )
    return lambda texts: model.encode(list(texts), batch_size=32, show_progress_bar=False)
