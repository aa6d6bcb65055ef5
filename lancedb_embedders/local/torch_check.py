"""Whether a model that was loaded is whole: its parts fall back to guesses without an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lancedb_embedders.errors import ModelLoadError
from lancedb_embedders.local.tokens import Tokenizer

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def check_loaded(model: SentenceTransformer, folder: Path) -> None:
    """Refuse a model in which something was made up in place of what its folder lacks.

    Raises
    ------
    ModelLoadError
        Weights that were not in the files and got random numbers; a tokenizer without words; an
        activation that was replaced; a table of word vectors shorter than its vocabulary.
    """
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer as Backend

    for module in model.modules():
        if isinstance(module, Transformer):
            _check_weights(module, folder)
            backend = getattr(module.tokenizer, "backend_tokenizer", None)
            if isinstance(backend, Backend):
                _check_vocabulary(Tokenizer.copied(backend), folder)
        elif isinstance(module, StaticEmbedding):
            _check_vocabulary(Tokenizer.copied(module.tokenizer, special_tokens=False), folder)
            _check_rows(module, folder)
    dense = [module for module in model.modules() if isinstance(module, Dense)]
    if dense:
        _check_activations(dense, folder)


def _check_weights(transformer: Any, folder: Path) -> None:
    if not type(transformer.model).__module__.startswith("transformers."):
        return  # code of the repository's own, which may load as it likes
    # transformers marks every weight that it read from the file. The pooler is not used here,
    # and adapters come from a file of their own.
    missing = [
        name
        for name, weight in transformer.model.named_parameters()
        if not getattr(weight, "_is_hf_initialized", False)
        and "pooler" not in name
        and "lora_" not in name
    ]
    if missing:
        raise ModelLoadError(
            f"the model in {folder} lacks {len(missing)} of its weights ({missing[0]}, ...), and "
            "random numbers would take their place. Fetch the model again"
        )


def _check_vocabulary(tokenizer: Tokenizer, folder: Path) -> None:
    if not tokenizer.has_vocabulary():
        raise ModelLoadError(
            f"the model in {folder} has no vocabulary: its tokenizer files are missing, and every "
            "word would be unknown to it. Fetch the model again"
        )


def _check_rows(static: Any, folder: Path) -> None:
    words, rows = static.tokenizer.get_vocab_size(), static.num_embeddings
    if words > rows:
        raise ModelLoadError(
            f"the model in {folder} has vectors for {rows} of its {words} words. Fetch the model "
            "again"
        )


def _check_activations(dense: list[Any], folder: Path) -> None:
    used = {_full_name(module.activation_function) for module in dense}
    for file in folder.rglob("config.json"):
        config = json.loads(file.read_text(encoding="utf-8"))
        named = config.get("activation_function")
        # Configurations of transformers use short names under the same key.
        if isinstance(named, str) and "." in named and named not in used:
            raise ModelLoadError(
                f"the model in {folder} wants {named}, which is code from outside torch, and "
                "another function would take its place. If you have read and trust that code, set "
                "LANCEDB_EMBEDDERS_TRUST_REMOTE_CODE=1"
            )


def _full_name(activation: Any) -> str:
    cls = type(activation)
    return f"{cls.__module__}.{cls.__qualname__}"
