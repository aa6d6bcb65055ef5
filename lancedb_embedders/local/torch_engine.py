"""The torch engine: any sentence-transformers model, fed with token ids in padded batches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lancedb_embedders.errors import ConfigurationError, EmbeddingError, ModelLoadError
from lancedb_embedders.local import pooling as pooling_module
from lancedb_embedders.local.declared import read_declared
from lancedb_embedders.local.engine import EngineOptions, Role
from lancedb_embedders.local.tokens import Tokenizer, Tokens
from lancedb_embedders.output import Float32

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

Collate = Callable[[Sequence[Any]], dict[str, Any]]

# Measured on CPUs: larger batches leave the cache, smaller ones starve the matrix products.
_BATCH_TOKENS = {"cpu": 2048, "mps": 16_384, "cuda": 65_536}


class TorchEngine:
    """A sentence-transformers model on torch.

    Parameters
    ----------
    folder : pathlib.Path
        The model's folder.
    pooling : str, optional
        Pooling in place of the model's own.
    options : EngineOptions
        Device, precision, trust.

    Raises
    ------
    ConfigurationError
        The device is not there, or the pooling does not fit.
    ModelLoadError
        The folder is damaged or incomplete, or needs code that is not trusted.
    """

    def __init__(self, folder: Path, pooling: str | None, options: EngineOptions) -> None:
        self._device = _device(options.device)
        self._model = _load(folder, self._device, _dtype(options.precision, self._device), options)
        if pooling is not None:
            pooling_module.change(self._model, pooling)
        self._model.eval()
        self._tokenizer, self._collate = _token_input(self._model)
        if self._tokenizer is not None and not self._tokenizer.has_vocabulary():
            raise ModelLoadError(
                f"the model in {folder} has no vocabulary: its tokenizer files are missing, and "
                "every word would be unknown to it. Fetch the model again"
            )
        self._text_lock = threading.Lock()
        declared = read_declared(folder)
        own = _finite(self._model.max_seq_length)
        limit = declared.limit
        self.facts = replace(
            declared,
            dim=self._model.get_embedding_dimension() or declared.dim,
            pooling=pooling_module.current(self._model),
            max_length=own if limit is None or own is None else min(own, limit),
        )
        self.batch_tokens = _BATCH_TOKENS.get(self._device.type, _BATCH_TOKENS["cpu"])

    def tokenize(self, texts: Sequence[str], prompt: str, max_length: int | None) -> Tokens:
        """Put `prompt` before each text and return token ids, cut to `max_length`."""
        prompted = [prompt + text for text in texts]
        if self._tokenizer is not None and self._collate is not None:
            return self._tokenizer.encode(prompted, max_length)
        # The model takes no token ids (a router, CLIP): it tokenizes and cuts by itself, and
        # its tokens are counted for the length and the loss alone.
        if max_length != self.facts.max_length:
            raise ConfigurationError(
                f"max_length={max_length} cannot be set for this model; it takes "
                f"{self.facts.max_length} tokens"
            )
        if self._tokenizer is not None:
            counted = self._tokenizer.encode(prompted, max_length)
            return Tokens(list(texts), counted.lengths, counted.lost)
        lengths = np.array([1 + len(text) // 4 for text in prompted], dtype=np.int64)
        return Tokens(list(texts), lengths, np.zeros(len(texts), dtype=np.int64))

    def forward(self, items: Sequence[Any], prompt: str, role: Role) -> Float32:
        """Run one batch; returns float32, shape ``(len(items), dim)``."""
        import torch

        with torch.inference_mode():
            if self._tokenizer is None or self._collate is None:
                with self._text_lock:
                    features = self._model.preprocess(list(items), prompt=prompt or None, task=role)
                vectors = self._model(_to(features, self._device), task=role)["sentence_embedding"]
            else:
                features = self._collate(items)
                if prompt:  # some models leave it out of the mean
                    features["prompt_length"] = self._tokenizer.count_prompt(prompt)
                vectors = self._model(_to(features, self._device))["sentence_embedding"]
            return np.asarray(vectors.float().cpu().numpy())


def _load(
    folder: Path, device: torch.device, dtype: torch.dtype, options: EngineOptions
) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    try:
        with _without_progress_bars():
            model = SentenceTransformer(
                str(folder),
                device=str(device),
                trust_remote_code=options.trust_remote_code,
                local_files_only=True,
                model_kwargs={"dtype": dtype},
            )
    except EmbeddingError:
        raise
    except Exception as error:
        hint = "The folder is damaged or incomplete: fetch the model again"
        if "trust_remote_code" in str(error):
            hint = (
                "It brings Python code of its own. If you have read and trust that code, set "
                "LANCEDB_EMBEDDERS_TRUST_REMOTE_CODE=1"
            )
        elif isinstance(error, ImportError):
            hint = "It needs a package that is not installed"
        raise ModelLoadError(
            f"the model in {folder} cannot be loaded. {hint}. ({type(error).__name__}: {error})"
        ) from error
    missing = _missing_weights(model)
    if missing:
        raise ModelLoadError(
            f"the model in {folder} lacks {len(missing)} of its weights ({missing[0]}, ...), and "
            "random numbers would take their place. Fetch the model again"
        )
    return model


def _missing_weights(model: SentenceTransformer) -> list[str]:
    transformer = model.transformers_model
    if transformer is None:
        return []
    # transformers marks every weight that it read from the file; the pooler is not used here.
    read = {
        name: bool(getattr(weight, "_is_hf_initialized", False))
        for name, weight in transformer.named_parameters()
    }
    if not any(read.values()):  # a version that marks nothing
        return []
    return [name for name, was_read in read.items() if not was_read and "pooler" not in name]


def _token_input(model: SentenceTransformer) -> tuple[Tokenizer | None, Collate | None]:
    """Return a model's tokenizer, and how it takes token ids; None where it takes only text."""
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer as Backend

    first: Any = model[0]
    if type(first) is StaticEmbedding:
        return Tokenizer(first.tokenizer, special_tokens=False), _as_bags
    hf: Any = getattr(first, "tokenizer", None)
    backend = getattr(hf, "backend_tokenizer", None)
    if not isinstance(backend, Backend):
        return None, None
    takes_ids = (
        type(first) is Transformer
        and first.modality_config.get("text", {}).get("method") == "forward"
        and not any(hf("a").get("token_type_ids", ()))
        and not (first.processing_kwargs or first.query_length or first.document_length)
        and first.query_expansion is None
        and not first.can_flatten_inputs
    )
    if not takes_ids:
        return Tokenizer(backend), None
    pad, left = hf.pad_token_id or 0, hf.padding_side == "left"
    return Tokenizer(backend), lambda items: _padded(items, pad, left)


def _padded(items: Sequence[Any], pad: int, left: bool) -> dict[str, Any]:
    import torch

    width = max(len(ids) for ids in items)
    ids = np.full((len(items), width), pad, dtype=np.int64)
    mask = np.zeros((len(items), width), dtype=np.int64)
    for row, item in enumerate(items):
        where = slice(width - len(item), width) if left else slice(0, len(item))
        ids[row, where] = item
        mask[row, where] = 1
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}


def _as_bags(items: Sequence[Any]) -> dict[str, Any]:
    import torch

    lengths = [len(item) for item in items]
    return {
        "input_ids": torch.from_numpy(np.concatenate(items).astype(np.int64)),
        "offsets": torch.from_numpy(np.cumsum([0, *lengths[:-1]])),
    }


def _to(features: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {k: v.to(device) if hasattr(v, "to") else v for k, v in features.items()}


def _device(name: str) -> torch.device:
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigurationError(f"device={name!r} cannot be used here: {reason}") from None
    return device


def _dtype(precision: str, device: torch.device) -> torch.dtype:
    import torch

    if precision != "auto":
        return {
            "float32": torch.float32,
            "bfloat16": torch.bfloat16,
            "float16": torch.float16,
        }[precision]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.float16 if device.type == "mps" else torch.float32


def _finite(length: float | None) -> int | None:
    # "No limit" is infinity for static models and 10**30 for some tokenizers.
    return int(length) if length is not None and 0 < length < 10**9 else None


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
