"""How many tokens a provider will see in a text, counted without asking anyone.

Exactly where the model's tokenizer is on this machine, else by the number of UTF-8 bytes, which no
tokenizer in use exceeds.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

#: What special tokens at start and end may add.
SPECIAL = 2

_TIKTOKEN_FILE = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"


def byte_bounds(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return how many tokens each text has at the most: its UTF-8 bytes, and special tokens."""
    return np.fromiter(
        # Of ASCII, the length is known without encoding it.
        ((len(t) if t.isascii() else len(t.encode())) + SPECIAL for t in texts),
        dtype=np.int64,
        count=len(texts),
    )


class Counter(ABC):
    """Counts tokens as one tokenizer does.

    Attributes
    ----------
    exact : bool
        Whether it is the model's own tokenizer, and not an upper bound.
    """

    exact: bool = True

    @abstractmethod
    def count(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return the number of tokens of each text, special tokens included."""

    @abstractmethod
    def ends(self, text: str) -> npt.NDArray[np.int64]:
        """Return behind which byte of the text's UTF-8 each token ends; special ones left out."""

    def cut(self, text: str, limit: int) -> str:
        """Return the longest beginning of `text` that has at most `limit` tokens."""
        return self.pieces(text, limit, first_only=True)[0] if self.exceeds(text, limit) else text

    def exceeds(self, text: str, limit: int) -> bool:
        """Tell whether `text` has more than `limit` tokens."""
        return bool(byte_bounds([text])[0] > limit and self.count([text])[0] > limit)

    def pieces(self, text: str, limit: int, first_only: bool = False) -> list[str]:
        """Cut `text` into pieces of at most `limit` tokens each; nothing is lost.

        Parameters
        ----------
        text : str
            Any text.
        limit : int
            Tokens of a piece, special tokens included.
        first_only : bool, default False
            Whether the first piece is all that is wanted.
        """
        data = text.encode()
        ends = self.ends(text)
        found: list[str] = []
        start, first = 0, 0
        while start < len(data):
            size = max(1, limit - SPECIAL)
            while True:
                last = min(first + size, len(ends)) - 1
                stop = _boundary(data, max(int(ends[last]), start + 1), start)
                piece = data[start:stop].decode()
                # A piece by itself may come to more tokens than it had within the text.
                if size == 1 or not self.exceeds(piece, limit):
                    break
                size = max(1, size - max(1, size // 50))
            found.append(piece)
            if first_only:
                break
            start = stop
            first = int(np.searchsorted(ends, start, side="right"))
        return found or [text]


def _boundary(data: bytes, stop: int, start: int) -> int:
    """Return the last boundary between characters up to `stop`; the next one if there is none."""
    back = stop
    while back > start and back < len(data) and data[back] & 0xC0 == 0x80:
        back -= 1
    if back > start:
        return back
    while stop < len(data) and data[stop] & 0xC0 == 0x80:
        stop += 1
    return stop


class ByteCounter(Counter):
    """Takes each byte for a token: an upper bound, where no tokenizer is at hand."""

    exact = False

    def count(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """See `Counter.count`."""
        return byte_bounds(texts)

    def ends(self, text: str) -> npt.NDArray[np.int64]:
        """See `Counter.ends`."""
        return np.arange(1, len(text.encode()) + 1)


class _OpenAICounter(Counter):
    def __init__(self, load: Callable[[], Any]) -> None:
        self._load = load

    @cached_property
    def _encoding(self) -> Any:
        # Loading takes longer than a query; most texts are cleared by their bytes.
        return self._load()

    def count(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        # One by one: bpe-openai's batches are a thread pool with a future a text, 3 times slower.
        encode = self._encoding.encode_ordinary
        return np.fromiter((len(encode(t)) for t in texts), dtype=np.int64, count=len(texts))

    def ends(self, text: str) -> npt.NDArray[np.int64]:
        single = self._encoding.decode_single_token_bytes
        sizes = [len(single(token)) for token in self._encoding.encode_ordinary(text)]
        return np.cumsum(sizes, dtype=np.int64)


class _HubCounter(Counter):
    def __init__(self, file: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(file))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def count(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        found = self._tokenizer.encode_batch_fast(list(texts))
        return np.fromiter((len(e.ids) for e in found), dtype=np.int64, count=len(texts))

    def ends(self, text: str) -> npt.NDArray[np.int64]:
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        characters = np.array([end for _, end in offsets], dtype=np.int64)
        sizes = np.fromiter((len(c.encode()) for c in text), dtype=np.int64, count=len(text))
        bytes_before = np.concatenate([[0], np.cumsum(sizes)])
        ends: npt.NDArray[np.int64] = bytes_before[characters]
        if len(ends) == 0 or ends[-1] < bytes_before[-1]:  # what has no token goes with the last
            ends = np.append(ends, bytes_before[-1])
        return ends


@lru_cache(maxsize=8)
def counter(encoding: str | None = None, repository: str | None = None) -> Counter:
    """Return what counts tokens for a model.

    Parameters
    ----------
    encoding : str, optional
        Name of an encoding of OpenAI's. tiktoken is used where its tables are on this machine, else
        the package bpe-openai, which carries them.
    repository : str, optional
        On the hub, with a ``tokenizer.json``; used if it is in the hub's cache on this machine.
    """
    if encoding is not None:
        if _has_tiktoken(encoding):
            return _OpenAICounter(lambda: _tiktoken(encoding))
        if find_spec("bpe_openai") is not None:
            return _OpenAICounter(lambda: _bpe_openai(encoding))
    if repository is not None:
        file = _cached_tokenizer(repository)
        if file is not None:
            return _HubCounter(file)
    return ByteCounter()


def _has_tiktoken(encoding: str) -> bool:
    # tiktoken itself would download what is not there.
    name = hashlib.sha1(_TIKTOKEN_FILE.format(encoding).encode()).hexdigest()
    folder = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    default = Path(tempfile.gettempdir()) / "data-gym-cache"
    return find_spec("tiktoken") is not None and (Path(folder or default) / name).is_file()


def _tiktoken(encoding: str) -> Any:
    import tiktoken

    return tiktoken.get_encoding(encoding)


def _bpe_openai(encoding: str) -> Any:
    import bpe_openai

    return bpe_openai.get_encoding(encoding)


def _cached_tokenizer(repository: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    if "/" not in repository:
        return None
    file = try_to_load_from_cache(repository, "tokenizer.json")
    return Path(file) if isinstance(file, str) else None
