"""What goes into a torch model: token ids, padded or in bags, or text as it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.local.engine import Role
from lancedb_embedders.local.tokens import Tokenizer, Tokens, finite, padded
from lancedb_embedders.local.torch_dual import DualCollate, PythonTokens, dual_length, is_dual

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Collate = Callable[[Sequence[Any]], dict[str, Any]]


class ModelInput(Protocol):
    """Turns texts into what a model's forward pass takes."""

    #: Tokens it cuts at by itself; None if it does not.
    max_length: int | None

    @property
    def tokenizer(self) -> Tokenizer | None:
        """What makes the token ids; None where the model does so by itself."""

    def tokenize(
        self, texts: Sequence[str], prompt: str, role: Role, max_length: int | None
    ) -> Tokens:
        """Put `prompt` before each text, tokenize and cut."""

    def features(self, items: Sequence[Any], prompt: str, role: Role) -> dict[str, Any]:
        """Return the tensors of one batch of what `tokenize` gave."""

    def overhead(self, prompt: str) -> int:
        """Return how many tokens `prompt` and the special tokens take."""


class TokenIds:
    """Token ids from the Rust tokenizer: the fast way, and the usual one."""

    def __init__(self, tokenizer: Tokenizer, collate: Collate, max_length: int | None) -> None:
        self.tokenizer = tokenizer
        self._collate = collate
        self.max_length = max_length

    def tokenize(
        self,
        texts: Sequence[str],
        prompt: str,
        role: Role,  # noqa: ARG002
        max_length: int | None,
    ) -> Tokens:
        """Tokenize; see `ModelInput`."""
        return self.tokenizer.encode([prompt + text for text in texts], max_length)

    def features(
        self,
        items: Sequence[Any],
        prompt: str,
        role: Role,  # noqa: ARG002
    ) -> dict[str, Any]:
        """Pad or lay end to end; see `ModelInput`."""
        features = self._collate(items)
        if prompt:  # some models leave it out of the mean
            features["prompt_length"] = self.tokenizer.count_prompt(prompt)
        return features

    def overhead(self, prompt: str) -> int:
        """Count; see `ModelInput`."""
        return self.tokenizer.overhead(prompt)


class PaddedIds(TokenIds):
    """Token ids below each other, for a transformer that takes no more than them and a mask."""

    def __init__(self, tokenizer: Tokenizer, pad: int, left: bool, max_length: int | None) -> None:
        super().__init__(tokenizer, self._pad, max_length)
        self.pad = pad
        self.left = left

    def _pad(self, items: Sequence[Any]) -> dict[str, Any]:
        import torch

        ids, mask = padded(items, self.pad, self.left)
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}


class RawText:
    """Text for a model that tokenizes and cuts by itself, like a router.

    Its tokens are counted for the length and the loss alone, where its tokenizer is known.
    """

    tokenizer = None

    def __init__(
        self,
        model: SentenceTransformer,
        counters: Mapping[str, tuple[Tokenizer, int | None]],
        max_length: int | None,
    ) -> None:
        self._model = model
        self._counters = counters
        self._lock = threading.Lock()  # tokenizers of transformers keep state while they pad
        self.max_length = max_length

    def tokenize(
        self, texts: Sequence[str], prompt: str, role: Role, max_length: int | None
    ) -> Tokens:
        """Count tokens and leave the texts as they are; see `ModelInput`."""
        if max_length != self.max_length:
            raise ConfigurationError(
                f"max_length={max_length} cannot be set for this model; it takes {self.max_length} "
                "tokens"
            )
        prompted = [prompt + text for text in texts]
        if role in self._counters:
            tokenizer, limit = self._counters[role]
            counted = tokenizer.encode(prompted, limit)
            return Tokens(list(texts), counted.lengths, counted.lost)
        lengths = np.array([1 + len(text) // 4 for text in prompted], dtype=np.int64)
        return Tokens(list(texts), lengths, np.zeros(len(texts), dtype=np.int64))

    def features(self, items: Sequence[Any], prompt: str, role: Role) -> dict[str, Any]:
        """Let the model tokenize; see `ModelInput`."""
        with self._lock:
            return self._model.preprocess(list(items), prompt=prompt or None, task=role)

    def overhead(self, prompt: str) -> int:
        """Count, for the role in which it is more; see `ModelInput`."""
        counts = [tokenizer.overhead(prompt) for tokenizer, _ in self._counters.values()]
        return max(counts, default=0)


def model_input(model: SentenceTransformer) -> ModelInput:
    """Choose how a loaded model is fed."""
    from sentence_transformers.base.modules import Router, Transformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    first: Any = model[0]
    if type(first) is StaticEmbedding:
        cut = first.tokenizer.truncation or {}
        words = Tokenizer.copied(first.tokenizer, False, cut.get("direction") == "left")
        return TokenIds(words, _as_bags, cut.get("max_length"))
    tokenizer = _rust_tokenizer(first)
    if is_dual(first):
        if tokenizer is None:
            return PythonTokens(first)
        return TokenIds(tokenizer, DualCollate(first), dual_length(first))
    own = finite(model.max_seq_length)
    if tokenizer is not None and type(first) is Transformer and _takes_ids(first):
        pad, left = first.tokenizer.pad_token_id or 0, first.tokenizer.padding_side == "left"
        return PaddedIds(tokenizer, pad, left, own)
    parts: dict[str, Any] = {"query": first, "document": first}
    if isinstance(first, Router):
        routes: Any = first.sub_modules
        parts = {role: routes[role][0] for role in parts if role in routes}
    counters = {}
    for role, part in parts.items():
        counter = _rust_tokenizer(part)
        if counter is not None:
            counters[role] = counter, finite(part.max_seq_length)
    return RawText(model, counters, own)


def _rust_tokenizer(module: Any) -> Tokenizer | None:
    from tokenizers import Tokenizer as Backend

    tokenizer = getattr(module, "tokenizer", None)
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not isinstance(backend, Backend):
        return None
    return Tokenizer.copied(backend, left=getattr(tokenizer, "truncation_side", "right") == "left")


def _takes_ids(transformer: Any) -> bool:
    return (
        transformer.modality_config.get("text", {}).get("method") == "forward"
        and not any(transformer.tokenizer("a").get("token_type_ids", ()))
        and not transformer.processing_kwargs
        and transformer.query_length is None
        and transformer.document_length is None
        and transformer.query_expansion is None
        and not transformer.can_flatten_inputs
    )


def _as_bags(items: Sequence[Any]) -> dict[str, Any]:
    import torch

    lengths = [len(item) for item in items]
    return {
        "input_ids": torch.from_numpy(np.concatenate(items).astype(np.int64)),
        "offsets": torch.from_numpy(np.cumsum([0, *lengths[:-1]])),
    }
