"""What a model's folder says about itself, read from its small files: no weights, no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from lancedb_embedders.errors import ModelLoadError

# In the order in which sentence-transformers concatenates them.
_LEGACY_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
POOLING_MODES = tuple(_LEGACY_POOLING.values())
_QUERY_NAMES = ("query",)
_DOCUMENT_NAMES = ("document", "passage", "corpus")


class Declared(BaseModel):
    """Facts about a model; None is "not said".

    Attributes
    ----------
    dim : int or None
        Dimensions of its vectors.
    pooling : str or None
        How token vectors become one; several joined by ``+``.
    max_length : int or None
        Tokens it takes, special tokens included.
    limit : int or None
        Tokens it has positions for: `max_length` cannot be set higher.
    query_prompt, document_prompt : str or None
        Text before each input.
    truncate_dim : int or None
        Dimensions it is meant to be cut to.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    dim: PositiveInt | None = None
    pooling: str | None = None
    max_length: PositiveInt | None = None
    limit: PositiveInt | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    truncate_dim: PositiveInt | None = None


@dataclass(frozen=True)
class Module:
    """One module of sentence-transformers that a model is made of.

    Attributes
    ----------
    kind : str
        Name of its class.
    path : str
        Its folder within the model's.
    config : dict
        What its ``config.json`` says.
    """

    kind: str
    path: str
    config: Mapping[str, Any]


def read_modules(folder: Path) -> list[Module]:
    """Read what modules the model in `folder` is made of; none where it does not say."""
    listed = _read(folder / "modules.json", list)
    return [
        Module(_kind(module), path, _read(folder / path / "config.json", dict))
        for module in listed
        for path in [str(module.get("path", ""))]
    ]


def takes_pictures(folder: Path) -> bool:
    """Tell whether the model in `folder` has a part for pictures."""
    config = _read(folder / "config.json", dict)
    return "vision_config" in config or _towers(folder, config) is not None


def pooling_modes(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the modes that the configuration of a pooling names, in old words or in new ones."""
    modes = config.get("pooling_mode") or [
        mode for key, mode in _LEGACY_POOLING.items() if config.get(key)
    ]
    return (modes,) if isinstance(modes, str) else tuple(modes or ("mean",))


@dataclass(frozen=True)
class TokenRules:
    """How token ids are laid out for a model.

    Attributes
    ----------
    pad : int or str or None
        Token that fills up shorter texts.
    cut_left : bool
        Whether a text that is too long loses its beginning.
    """

    pad: int | str | None
    cut_left: bool


def read_tokens(folder: Path) -> TokenRules:
    """Read how token ids are laid out for the model in `folder`."""
    rules = _read(folder / "tokenizer_config.json", dict)
    token = rules.get("pad_token")
    name = token.get("content") if isinstance(token, Mapping) else token
    config = _read(folder / "config.json", dict)
    return TokenRules(
        pad=name if name is not None else config.get("pad_token_id"),
        cut_left=rules.get("truncation_side") == "left",
    )


def read_declared(folder: Path) -> Declared:
    """Read what the model in `folder` declares.

    Raises
    ------
    ModelLoadError
        A file that is there is not valid JSON, or not of the expected form.
    """
    try:
        return _read_declared(folder)
    except (ValidationError, AttributeError, KeyError, TypeError, ValueError) as error:
        reason = str(error)
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False)[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise ModelLoadError(
            f"the model in {folder} has a damaged configuration ({reason}). Fetch the model again"
        ) from None


def read_languages(folder: Path) -> tuple[str, ...]:
    """Return the BCP 47 codes that the head of the README in `folder` lists; () for none."""
    readme = folder / "README.md"
    if not readme.is_file():
        return ()
    from huggingface_hub import metadata_load

    try:
        found = (metadata_load(readme) or {}).get("language") or ()
    except Exception:  # a README is no part of the model: a broken one is as good as none
        return ()
    listed = [found] if isinstance(found, str) else list(found)
    return tuple(code for code in listed if isinstance(code, str))


def _read_declared(folder: Path) -> Declared:
    settings = _read(folder / "config_sentence_transformers.json", dict)
    prompts = settings.get("prompts") or {}
    dim, pooling = _shape(folder)
    config = _read(folder / "config.json", dict)
    limit = position_limit(config)
    towers = _towers(folder, config)
    if towers is not None:
        dim, limit = dim or towers["dim"], towers["context"]
    # A default for all texts; but not one that is meant for the other role.
    default_name = settings.get("default_prompt_name")
    taken = default_name in (*_QUERY_NAMES, *_DOCUMENT_NAMES)
    default = None if taken else prompts.get(default_name)
    return Declared(
        dim=dim,
        pooling=pooling,
        max_length=_window(folder, limit),
        limit=limit,
        query_prompt=first_prompt(prompts, _QUERY_NAMES) or default,
        document_prompt=first_prompt(prompts, _DOCUMENT_NAMES) or default,
        truncate_dim=settings.get("truncate_dim"),
    )


def first_prompt(prompts: Mapping[str, str | None], names: tuple[str, ...]) -> str | None:
    """Return the first prompt under `names` that is not blank: blank ones say nothing."""
    return next((prompts[name] for name in names if prompts.get(name)), None)


def position_limit(config: Mapping[str, Any]) -> int | None:
    """Return how many tokens a transformer has positions for, by its ``config.json``."""
    limit = config.get("max_position_embeddings")
    if not isinstance(limit, int) or limit <= 0:
        return None
    # RoBERTa's descendants begin to count after the padding token.
    if config.get("model_type") in {"roberta", "xlm-roberta", "camembert", "mpnet", "longformer"}:
        padding = config.get("pad_token_id")
        return limit - (1 if padding is None else int(padding)) - 1
    return limit


def pooling_name(modes: str | tuple[str, ...] | list[str]) -> str:
    """Return one name for one or more pooling modes."""
    return modes if isinstance(modes, str) else "+".join(modes)


def _towers(folder: Path, config: Mapping[str, Any]) -> dict[str, int] | None:
    """Return dimensions and context of a model of two towers, for text and for pictures."""
    if not config:  # sentence-transformers once kept CLIP a folder further down
        config = next((module.config for module in read_modules(folder)), {})
    kind, text = config.get("model_type"), config.get("text_config") or {}
    # The last of each is what transformers takes where a saved configuration says nothing.
    if kind == "clip":
        dims = [config.get("projection_dim"), 512]
    elif kind in {"siglip", "siglip2"}:
        dims = [text.get("projection_size"), text.get("hidden_size"), 768]
    else:
        return None
    contexts = [text.get("max_position_embeddings"), 77 if kind == "clip" else 64]
    return {"dim": next(filter(None, dims)), "context": next(filter(None, contexts))}


def _kind(module: Mapping[str, Any]) -> str:
    return str(module.get("type", "")).rsplit(".", 1)[-1]


def _window(folder: Path, limit: int | None) -> int | None:
    if any(module.kind == "StaticEmbedding" for module in read_modules(folder)):
        return None  # its tokenizer may name a length that it does not keep to
    length = _read(folder / "sentence_bert_config.json", dict).get("max_seq_length")
    if length is None:
        length = _read(folder / "tokenizer_config.json", dict).get("model_max_length")
    # Tokenizers without a limit say 10**30.
    known = [value for value in (length, limit) if value is not None and value < 10**9]
    return min(known, default=None)


def _shape(folder: Path) -> tuple[int | None, str | None]:
    dim: int | None = None
    pooling: str | None = None
    for module in read_modules(folder):
        kind, config = module.kind, module.config
        if kind == "Pooling":
            pooling = pooling_name(pooling_modes(config))
            size = config.get("embedding_dimension") or config.get("word_embedding_dimension")
            dim = size * (pooling.count("+") + 1) if size else None
        elif kind == "Dense":
            dim = config.get("out_features")
        elif kind not in {"Transformer", "CLIPModel", "Normalize", "Dropout", "LayerNorm"}:
            return None, pooling
    return dim, pooling


def _read(file: Path, kind: type[Any]) -> Any:
    if not file.is_file():
        return kind()
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file.name}: {error}") from None
    if not isinstance(content, kind):
        raise TypeError(f"{file.name} is no {kind.__name__}")
    return content
