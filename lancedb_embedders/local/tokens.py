"""Text to token ids: once, in bulk, in Rust; cut to length with the special tokens kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

# Encodings are held for this many texts at a time; they weigh far more than their ids.
_SLICE = 512


@dataclass(frozen=True)
class Tokens:
    """Inputs as a model takes them.

    Attributes
    ----------
    items : list
        Token ids of each input as an int32 array; strings for a model that tokenizes itself.
    lengths : numpy.ndarray
        Tokens of each input, int64, after cutting.
    lost : numpy.ndarray
        Tokens cut off of each input, int64.
    """

    items: list[Any]
    lengths: npt.NDArray[np.int64]
    lost: npt.NDArray[np.int64]


class Tokenizer:
    """A Rust tokenizer with padding and truncation off, safe to use from many threads.

    Parameters
    ----------
    backend : tokenizers.Tokenizer
        Copied, so that whoever else holds it cannot change it.
    special_tokens : bool, default True
        Whether the model wants its start and end tokens around each text.
    left : bool, default False
        Whether a text that is too long loses its beginning instead of its end.
    """

    def __init__(self, backend: Any, special_tokens: bool = True, left: bool = False) -> None:
        self._backend = type(backend).from_str(backend.to_str())
        self._backend.no_padding()
        self._backend.no_truncation()
        self._special_tokens = special_tokens
        self._left = left
        self._prefix, self._suffix = self._special_counts()

    def encode(self, texts: Sequence[str], max_length: int | None) -> Tokens:
        """Tokenize `texts`, each to at most `max_length` tokens, special tokens included."""
        items: list[npt.NDArray[np.int32]] = []
        lost = np.zeros(len(texts), dtype=np.int64)
        for start in range(0, len(texts), _SLICE):
            encodings = self._backend.encode_batch_fast(
                list(texts[start : start + _SLICE]), add_special_tokens=self._special_tokens
            )
            for encoding in encodings:
                ids = np.array(encoding.ids, dtype=np.int32)
                if max_length is not None and len(ids) > max_length:
                    lost[len(items)] = len(ids) - max_length
                    ids = self._cut(ids, max_length)
                items.append(ids)
        lengths = np.fromiter((len(ids) for ids in items), dtype=np.int64, count=len(items))
        return Tokens(items, lengths, lost)

    def count_prompt(self, prompt: str) -> int:
        """Return how many tokens of a text come from `prompt`, the start token included."""
        return self._prefix + len(self._backend.encode(prompt, add_special_tokens=False).ids)

    def overhead(self, prompt: str) -> int:
        """Return how many tokens of a text are `prompt` and special tokens."""
        return self.count_prompt(prompt) + self._suffix

    def has_vocabulary(self) -> bool:
        """Tell whether there is any token beside the special ones."""
        added = {token.content for token in self._backend.get_added_tokens_decoder().values()}
        return any(token not in added for token in self._backend.get_vocab())

    def _cut(self, ids: npt.NDArray[np.int32], max_length: int) -> npt.NDArray[np.int32]:
        end = len(ids) - self._suffix
        if self._left:
            start = end - (max_length - self._prefix - self._suffix)
            return np.concatenate([ids[: self._prefix], ids[start:]])
        return np.concatenate([ids[: max_length - self._suffix], ids[end:]])

    def _special_counts(self) -> tuple[int, int]:
        if not self._special_tokens:
            return 0, 0
        # The template is the same for every text: what surrounds one word surrounds all.
        mask = self._backend.encode("a").special_tokens_mask
        prefix = next((i for i, special in enumerate(mask) if not special), len(mask))
        suffix = next((i for i, special in enumerate(reversed(mask)) if not special), 0)
        return prefix, suffix
