"""What goes into a torch model: token ids, padded, end to end or in bags, or text as it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.local.engine import Role
from lancedb_embedders.local.tokens import Tokenizer, Tokens, finite, padded
from lancedb_embedders.local.torch_attention import masks_itself
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
    """Token ids below each other, for a transformer that takes no more than them and a mask.

    Parameters
    ----------
    tokenizer : Tokenizer
        What makes the ids.
    pad : int
        Token that fills up what is shorter.
    left : bool
        Whether it goes before the ids.
    max_length : int or None
        Tokens that the model cuts at by itself.
    always_mask : bool
        Whether the model wants a mask even where nothing is padded.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        pad: int,
        left: bool,
        max_length: int | None,
        always_mask: bool = True,
    ) -> None:
        super().__init__(tokenizer, self._pad, max_length)
        self.pad = pad
        self.left = left
        self._always_mask = always_mask

    def _pad(self, items: Sequence[Any]) -> dict[str, Any]:
        import torch

        ids, mask = padded(items, self.pad, self.left)
        features = {"input_ids": torch.from_numpy(ids)}
        if self._always_mask or not mask.all():
            features["attention_mask"] = torch.from_numpy(mask)
        return features


class FlatIds(PaddedIds):
    """Token ids end to end, for flash attention, which is told where each text ends.

    Parameters
    ----------
    tokenizer, pad, left, max_length
        As of `PaddedIds`.
    first_position : int
        Position of the first token of a text; some models count from behind their padding token.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        pad: int,
        left: bool,
        max_length: int | None,
        first_position: int,
    ) -> None:
        super().__init__(tokenizer, pad, left, max_length)
        self._first_position = first_position
        self._collate = self._lay

    def _lay(self, items: Sequence[Any]) -> dict[str, Any]:
        lengths = np.array([len(item) for item in items], dtype=np.int64)
        if not lengths.all():  # a text without tokens has no place among others
            return self._pad(items)
        return flat(items, lengths, self._first_position)


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
        if first.can_flatten_inputs:
            return FlatIds(tokenizer, pad, left, own, first._flatten_position_offset)
        return PaddedIds(tokenizer, pad, left, own, always_mask=not masks_itself(first))
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
    )


def flat(
    items: Sequence[Any], lengths: npt.NDArray[np.int64], first_position: int
) -> dict[str, Any]:
    """Lay token ids end to end, and say where each text begins and ends.

    Parameters
    ----------
    items : sequence of array
        Token ids of each input, none of them empty.
    lengths : numpy.ndarray
        How many those are.
    first_position : int
        Position of the first token of each.
    """
    import torch

    borders = np.concatenate([[0], lengths.cumsum()])
    positions = np.arange(borders[-1]) - np.repeat(borders[:-1], lengths) + first_position
    ends = torch.from_numpy(borders.astype(np.int32))
    owners = np.repeat(np.arange(len(items), dtype=np.int32), lengths)
    return {
        "input_ids": torch.from_numpy(np.concatenate(items).astype(np.int64))[None],
        "position_ids": torch.from_numpy(positions)[None],
        "seq_idx": torch.from_numpy(owners)[None],
        "cu_seq_lens_q": ends,
        "cu_seq_lens_k": ends,
        "max_length_q": int(lengths.max()),
        "max_length_k": int(lengths.max()),
    }


def _as_bags(items: Sequence[Any]) -> dict[str, Any]:
    import torch

    lengths = [len(item) for item in items]
    return {
        "input_ids": torch.from_numpy(np.concatenate(items).astype(np.int64)),
        "offsets": torch.from_numpy(np.cumsum([0, *lengths[:-1]])),
    }
