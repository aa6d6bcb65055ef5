"""Ours and its peers: the same architecture, ViT-B/32 with 224 pixels, and random weights."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.images.job import OPEN_CLIP, OURS, SINGLY

_SEED = 7


def peers() -> dict[str, str]:
    """Return who can take part here besides ours, and why the others cannot."""
    try:
        import_module("open_clip")
    except Exception as error:  # also of torchvision, if it was made for another torch
        return {OPEN_CLIP: str(error), SINGLY: ""}
    return {OPEN_CLIP: "", SINGLY: ""}


def save_model(folder: Path) -> None:
    """Save a CLIP as transformers does."""
    import torch
    from tokenizers import pre_tokenizers
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    torch.manual_seed(_SEED)
    model: Any = CLIPModel(CLIPConfig())
    for weights in model.parameters():
        if weights.dim() > 1:
            # With what a training begins with, all pictures would get nearly the same vector.
            torch.nn.init.normal_(weights, std=weights[0].numel() ** -0.5)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*alphabet, *(f"{byte}</w>" for byte in alphabet), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)
    for part in (model, tokenizer, CLIPImageProcessorPil()):
        part.save_pretrained(folder)


def create(who: str, model: str) -> Any:
    """Make the function as a user would, but that a peer's model is loaded once only."""
    from lancedb.embeddings import get_registry

    if who == OURS:
        import lancedb_embedders  # noqa: F401, registers it

        return get_registry().get(OURS).create(name=model)
    if who == OPEN_CLIP:
        open_clip: Any = import_module("open_clip")
        for name in ("create_model_and_transforms", "get_tokenizer"):
            setattr(open_clip, name, cache(getattr(open_clip, name)))
        # OpenAI's activation, as transformers' CLIP has it.
        return get_registry().get(OPEN_CLIP).create(name="ViT-B-32-quickgelu", pretrained="")
    import benchmarks.images.singly  # noqa: F401, registers it

    return get_registry().get(SINGLY).create(name=model)
