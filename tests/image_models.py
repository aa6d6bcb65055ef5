"""Small models of pictures and texts with seeded random weights, saved as the hub has them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    Siglip2Config,
    Siglip2Model,
    SiglipConfig,
    SiglipModel,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil
from transformers.models.siglip2.tokenization_siglip2 import Siglip2Tokenizer

from tests.models import SENTENCES

CAPTIONS = [
    *SENTENCES,
    "a photo of a sneaker",
    "two red shirts and a blue bag on a table",
    "a picture of a dog that runs after a ball",
]

#: Of weights, relative to what keeps the size of a vector: large enough that pictures and texts
#: give clearly different vectors.
_SPREAD = 2.0

_PATCH = 16


def tiny_clip(
    folder: Path, *, dim: int = 24, image_size: int = 64, context: int = 77, seed: int = 0
) -> Path:
    """Save a CLIP as transformers does: nothing of sentence-transformers in the folder."""
    tokenizer = _clip_tokenizer(context)
    config = CLIPConfig(
        text_config={**_text_tower(tokenizer, context), "projection_dim": dim},
        vision_config={**_tower(), **_pixels(image_size), "projection_dim": dim},
        projection_dim=dim,
    )
    crop = {"height": image_size, "width": image_size}
    pictures = CLIPImageProcessorPil(size={"shortest_edge": image_size}, crop_size=crop)
    return _save(folder, _seeded(CLIPModel, config, seed), tokenizer, pictures)


def tiny_sentence_clip(
    folder: Path,
    *,
    dim: int = 24,
    out: int | None = None,
    legacy: bool = False,
    image_size: int = 64,
    context: int = 77,
    seed: int = 0,
) -> Path:
    """Save a CLIP as sentence-transformers does, with a dense layer behind it that gives `out`.

    With ``legacy=True`` its files are laid out as those of clip-ViT-B-32 on the hub.
    """
    inner = folder / "0_CLIPModel" if legacy else folder.with_name(f"{folder.name}-parts")
    tiny_clip(inner, dim=dim, image_size=image_size, context=context, seed=seed)
    dense = [] if out is None else [_dense(dim, out, seed)]
    if legacy:
        return _save_legacy(folder, dense)
    modules = cast("Any", [Transformer(str(inner)), *dense])
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(
        str(folder), create_model_card=False
    )
    return folder


def tiny_siglip(
    folder: Path, *, dim: int = 24, image_size: int = 64, context: int = 64, seed: int = 0
) -> Path:
    """Save what the hub has as siglip2-base-patch16-224: a SigLIP with Gemma's tokenizer."""
    return _save_siglip(folder, _gemma_tokenizer(context), dim, image_size, context, seed)


def tiny_siglip_v1(
    folder: Path, *, dim: int = 24, image_size: int = 64, context: int = 64, seed: int = 0
) -> Path:
    """Save the first SigLIP, whose tokenizer is of sentencepiece; skip the test without that."""
    return _save_siglip(
        folder, _sentencepiece_tokenizer(folder, context), dim, image_size, context, seed
    )


def tiny_siglip2(
    folder: Path, *, dim: int = 24, patches: int = 16, context: int = 64, seed: int = 0
) -> Path:
    """Save a SigLIP 2 that takes pictures of any shape, as up to `patches` patches."""
    tokenizer = _gemma_tokenizer(context)
    config = Siglip2Config(
        text_config=_text_tower(tokenizer, context, dim),
        vision_config={**_tower(dim), "patch_size": _PATCH, "num_patches": patches},
    )
    pictures = Siglip2ImageProcessorPil(patch_size=_PATCH, max_num_patches=patches)
    return _save(folder, _seeded(Siglip2Model, config, seed), tokenizer, pictures)


def own_code_clip(folder: Path, *, seed: int = 0) -> Path:
    """Save a CLIP behind code of the repository's own, written as jina-clip's is."""
    tiny_clip(folder / "clip", seed=seed)
    (folder / "own_clip.py").write_text(_OWN_CODE)
    modules = [{"idx": 0, "name": "0", "path": "", "type": "own_clip.Transformer"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder


_OWN_CODE = """
import os

import torch
from transformers import AutoModel, AutoProcessor


class Transformer(torch.nn.Module):
    def __init__(self, folder):
        super().__init__()
        self.model = AutoModel.from_pretrained(os.path.join(folder, "clip"))
        self.processor = AutoProcessor.from_pretrained(os.path.join(folder, "clip"))

    def tokenize(self, texts, padding=True):
        if isinstance(texts[0], str):
            return dict(self.processor(text=texts, padding=padding, return_tensors="pt"))
        return dict(self.processor(images=texts, return_tensors="pt"))

    def forward(self, features, task=None):
        pictures = "pixel_values" in features
        run = self.model.get_image_features if pictures else self.model.get_text_features
        names = ("pixel_values",) if pictures else ("input_ids", "attention_mask")
        found = run(**{name: features[name] for name in names})
        features["sentence_embedding"] = found.pooler_output
        return features

    def save(self, folder, safe_serialization=True):
        raise NotImplementedError

    @staticmethod
    def load(folder, **options):
        return Transformer(folder)
"""


def _save_siglip(
    folder: Path, tokenizer: Any, dim: int, image_size: int, context: int, seed: int
) -> Path:
    config = SiglipConfig(
        text_config=_text_tower(tokenizer, context, dim),
        vision_config={**_tower(dim), **_pixels(image_size)},
    )
    pictures = SiglipImageProcessorPil(size={"height": image_size, "width": image_size})
    return _save(folder, _seeded(SiglipModel, config, seed), tokenizer, pictures)


def _save_legacy(folder: Path, dense: list[Dense]) -> Path:
    modules = [("0_CLIPModel", "CLIPModel")]
    for module in dense:
        (folder / "1_Dense").mkdir()
        module.save(str(folder / "1_Dense"))
        modules.append(("1_Dense", "Dense"))
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    return folder


def _tower(dim: int = 32) -> dict[str, Any]:
    return {
        "hidden_size": dim,
        "intermediate_size": 2 * dim,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }


def _text_tower(tokenizer: Any, context: int, dim: int = 32) -> dict[str, Any]:
    return {
        **_tower(dim),
        "vocab_size": len(tokenizer),
        "max_position_embeddings": context,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _pixels(image_size: int) -> dict[str, Any]:
    return {"image_size": image_size, "patch_size": _PATCH}


def _clip_tokenizer(context: int) -> Any:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    # Each byte at the end of a word as well, so that no text has an unknown token, which would
    # end it.
    special = [*alphabet, *(f"{byte}</w>" for byte in alphabet), "<|startoftext|>", "<|endoftext|>"]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = CLIPTokenizer().backend_tokenizer.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, end_of_word_suffix="</w>", show_progress=False
    )
    vocab, merges = _train(backend, trainer, [text.lower() for text in CAPTIONS])
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=context)


def _gemma_tokenizer(context: int) -> Any:
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special + pieces, show_progress=False
    )
    texts = [text.lower().replace(" ", "▁") for text in CAPTIONS]
    vocab, merges = _train(backend, trainer, texts)
    tokenizer: Any = Siglip2Tokenizer(
        vocab=vocab,
        merges=merges,
        model_max_length=context,
        padding_side="right",
        model_input_names=["input_ids"],
    )
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", tokenizer.eos_token_id)]
    )
    return tokenizer


def _sentencepiece_tokenizer(folder: Path, context: int) -> Any:
    reason = "needs pip install sentencepiece protobuf"
    sentencepiece: Any = pytest.importorskip("sentencepiece", reason=reason)
    pytest.importorskip("google.protobuf", reason=reason)
    from transformers import SiglipTokenizer

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CAPTIONS),
        model_writer=model,
        vocab_size=200,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    file = folder.with_name(f"{folder.name}-spiece.model")
    file.write_bytes(model.getvalue())
    kind: Any = SiglipTokenizer
    return kind(str(file), model_max_length=context, model_input_names=["input_ids"])


def _train(backend: Tokenizer, trainer: Any, texts: list[str]) -> tuple[dict[str, int], Any]:
    backend.train_from_iterator(texts, trainer)
    saved = json.loads(backend.to_str())["model"]
    return saved["vocab"], [tuple(pair) for pair in saved["merges"]]


def _seeded(kind: Any, config: Any, seed: int) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(config).eval()
        for weights in model.parameters():
            if weights.dim() > 1:
                torch.nn.init.normal_(weights, std=_SPREAD / weights[0].numel() ** 0.5)
    return model


def _dense(dim: int, out: int, seed: int) -> Dense:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Dense(dim, out, bias=False, activation_function=torch.nn.Identity())


def _save(folder: Path, *parts: Any) -> Path:
    for part in parts:
        part.save_pretrained(folder)
    return folder
