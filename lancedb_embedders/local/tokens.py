"""Text to token ids: once, in bulk, in Rust; cut to length with the special tokens kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

# Encodings are held for this many texts at a time; they weigh far more than their ids.
_SLICE = 512
# Long texts are tokenized in pieces of so many characters, which run in parallel, and no more
# than a group of them at once: what the tokenizer keeps of each character is over 100 bytes.
_PIECE = 50_000
_LONGEST_PIECE = 1_000_000
_GROUP = 1_000_000
# Between two words, where a tokenizer's pieces come out as if nothing had been cut.
_SEAM = re.compile(r"(?<=\w)[ \n](?=[^\W\d_])")
_SAMPLE = "Cut here, at café № 7 (naïve); 東京 и Москва\nwhere text goes on."


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


@dataclass(frozen=True)
class Content:
    """The tokens of one text, special tokens left out.

    Attributes
    ----------
    prompt, ids : numpy.ndarray
        Token ids of the prompt and of the text, int32.
    offsets : numpy.ndarray or None
        For each token of the text its first character and the one behind its last; int64, shape
        ``(tokens, 2)``; None if they were not asked for.
    lead : int
        Tokens that come before those of the text: the prompt's and special ones.
    """

    prompt: npt.NDArray[np.int32]
    ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64] | None
    lead: int


class Tokenizer:
    """A Rust tokenizer with padding and truncation off, safe to use from many threads.

    Parameters
    ----------
    backend : tokenizers.Tokenizer
        Its own from now on: whoever else holds it must not change it. See `copied`.
    special_tokens : bool, default True
        Whether the model wants its start and end tokens around each text.
    left : bool, default False
        Whether a text that is too long loses its beginning instead of its end.
    """

    def __init__(self, backend: Any, special_tokens: bool = True, left: bool = False) -> None:
        self._backend = backend
        self._backend.no_padding()
        self._backend.no_truncation()
        self._special_tokens = special_tokens
        self.left = left
        self._prefix, self._suffix = self._special_ids()

    @classmethod
    def copied(cls, backend: Any, special_tokens: bool = True, left: bool = False) -> Tokenizer:
        """Make one of a copy of what someone else holds."""
        return cls(type(backend).from_str(backend.to_str()), special_tokens, left)

    def save(self, file: Path) -> None:
        """Write it as a ``tokenizer.json``."""
        self._backend.save(str(file))

    def id_of(self, token: str | None) -> int | None:
        """Return the id of a token; None if there is no such token."""
        found: int | None = None if token is None else self._backend.token_to_id(token)
        return found

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
        return len(self._prefix) + len(self._backend.encode(prompt, add_special_tokens=False).ids)

    def overhead(self, prompt: str) -> int:
        """Return how many tokens of a text are `prompt` and special tokens."""
        return self.count_prompt(prompt) + len(self._suffix)

    def contents(self, texts: Sequence[str], prompt: str, offsets: bool) -> list[Content]:
        """Tokenize `texts` whole, with `prompt` before each but kept apart from it.

        Where a token reaches from the prompt into the text, it belongs to the text.
        """
        located = offsets or bool(prompt)
        pieces = [list(self._pieces(prompt + text)) for text in texts]
        encoded = self._encoded((piece for own in pieces for piece in own), located)
        contents = []
        for own in pieces:
            ids, places = zip(*islice(encoded, len(own)), strict=True)
            before, rest, spans = _split(ids, places, len(prompt), located)
            lead = len(self._prefix) + len(before)
            contents.append(Content(before, rest, spans if offsets else None, lead))
        return contents

    def exceeds(self, text: str, prompt: str, limit: int) -> bool:
        """Tell whether `text` has more than `limit` tokens; looks no further than it must."""
        count = -len(self._backend.encode(prompt, add_special_tokens=False).ids)
        for ids, _ in self._encoded(self._pieces(prompt + text), located=False):
            count += len(ids)
            if count > limit:
                return True
        return False

    def wrap(self, content: Content, start: int, stop: int) -> npt.NDArray[np.int32]:
        """Return tokens of a text as a model takes them: prompt and special tokens around."""
        return np.concatenate(
            [self._prefix, content.prompt, content.ids[start:stop], self._suffix]
        ).astype(np.int32, copy=False)

    def has_vocabulary(self) -> bool:
        """Tell whether there is any token beside the special ones."""
        added = {token.content for token in self._backend.get_added_tokens_decoder().values()}
        return any(token not in added for token in self._backend.get_vocab())

    def _cut(self, ids: npt.NDArray[np.int32], max_length: int) -> npt.NDArray[np.int32]:
        prefix, suffix = len(self._prefix), len(self._suffix)
        end = len(ids) - suffix
        if self.left:
            start = end - (max_length - prefix - suffix)
            return np.concatenate([ids[:prefix], ids[start:]])
        return np.concatenate([ids[: max_length - suffix], ids[end:]])

    def _special_ids(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        if not self._special_tokens:
            return np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int32)
        # The template is the same for every text: what surrounds one word surrounds all.
        encoding = self._backend.encode("a")
        ids, special = np.array(encoding.ids, dtype=np.int32), encoding.special_tokens_mask
        prefix = next((i for i, flag in enumerate(special) if not flag), len(special))
        suffix = next((i for i, flag in enumerate(reversed(special)) if not flag), 0)
        return ids[:prefix], ids[len(ids) - suffix :]

    @cached_property
    def _can_be_cut(self) -> bool:
        """Whether the pieces between seams give the same tokens as the whole text."""
        cuts = [0, *(seam.start() for seam in _SEAM.finditer(_SAMPLE)), len(_SAMPLE)]
        pieces = [_SAMPLE[a:b] for a, b in pairwise(cuts)]
        encodings = self._backend.encode_batch(pieces, add_special_tokens=False)
        whole = self._backend.encode(_SAMPLE, add_special_tokens=False)
        ids = [token for encoding in encodings for token in encoding.ids]
        return bool(ids == whole.ids)

    def _pieces(self, text: str) -> Iterator[tuple[int, str]]:
        """Yield the pieces of a text, each with its offset."""
        start = 0
        while self._can_be_cut and len(text) - start > _PIECE:
            # Without a seam, as in a text without spaces, any place must do in the end.
            limit = start + _LONGEST_PIECE
            seam = _SEAM.search(text, start + _PIECE, limit)
            end = seam.start() if seam else limit
            if end >= len(text):
                break
            yield start, text[start:end]
            start = end
        yield start, text[start:]

    def _encoded(
        self, pieces: Iterable[tuple[int, str]], located: bool
    ) -> Iterator[tuple[npt.NDArray[np.int32], npt.NDArray[np.int64] | None]]:
        """Tokenize pieces, many at once but not too many, and yield their ids and offsets."""
        encode = self._backend.encode_batch if located else self._backend.encode_batch_fast
        for group in _groups(pieces):
            found = encode([piece for _, piece in group], add_special_tokens=False)
            for (start, _), encoding in zip(group, found, strict=True):
                ids = np.array(encoding.ids, dtype=np.int32)
                if located:
                    places = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
                    yield ids, places + start
                else:
                    yield ids, None


def padded(
    items: Sequence[Any], pad: int, left: bool, width: int | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Lay token ids below each other.

    Parameters
    ----------
    items : sequence of array
        Token ids of each input.
    pad : int
        Token that fills up what is shorter.
    left : bool
        Whether it goes before the ids.
    width : int, optional
        Tokens of each row; None: those of the longest input.

    Returns
    -------
    ids, mask : numpy.ndarray
        int64, shape ``(len(items), width)``; the mask is 0 where `pad` fills up.
    """
    width = width or max(len(ids) for ids in items)
    ids = np.full((len(items), width), pad, dtype=np.int64)
    mask = np.zeros((len(items), width), dtype=np.int64)
    for row, item in enumerate(items):
        where = slice(width - len(item), width) if left else slice(0, len(item))
        ids[row, where] = item
        mask[row, where] = 1
    return ids, mask


def finite(length: float | None) -> int | None:
    """Return how many tokens an input may have; "no limit" is infinity for some, 10**30 for others.

    Examples
    --------
    >>> finite(512), finite(1e30), finite(None)
    (512, None, None)
    """
    return int(length) if length is not None and 0 < length < 10**9 else None


def _groups(pieces: Iterable[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    group: list[tuple[int, str]] = []
    size = 0
    for start, piece in pieces:
        if group and (size + len(piece) > _GROUP or len(group) == _SLICE):
            yield group
            group, size = [], 0
        group.append((start, piece))
        size += len(piece)
    if group:
        yield group


def _split(
    ids: Sequence[npt.NDArray[np.int32]],
    places: Sequence[npt.NDArray[np.int64] | None],
    prompt: int,
    located: bool,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int64] | None]:
    """Part the tokens of a prompt of so many characters from those of the text behind it."""
    joined = np.concatenate(ids)
    if not located:
        return joined[:0], joined, None
    spans = np.concatenate([place for place in places if place is not None]) - prompt
    own = int(np.searchsorted(np.maximum.accumulate(spans[:, 1]), 0, side="right"))
    return joined[:own], joined[own:], np.maximum(spans[own:], 0)
