"""Messages between this process and its workers: pickles, each with its length before it."""

from __future__ import annotations

import os
import pickle
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from lancedb_embedders.local.declared import Declared
    from lancedb_embedders.local.tokens import Tokenizer

_LENGTH = struct.Struct("<Q")

#: Token ids as one array and their lengths, or texts: of many small arrays a pickle is slow.
Packed = tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]] | list[str]


@dataclass(frozen=True)
class Loaded:
    """What a worker tells of the model that it loaded; see `Engine`."""

    facts: Declared
    batch_tokens: int
    tokenizer: Tokenizer | None


def environment() -> dict[str, str]:
    """Return one in which a process imports what this one would, and nothing from its folder."""
    places = [os.path.abspath(place) for place in sys.path]  # noqa: PTH100, keeps links
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places), "PYTHONSAFEPATH": "1"}


def own_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Take standard input and output over, so that no library reads or prints there."""
    requests, replies = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return os.fdopen(requests, "rb"), os.fdopen(replies, "wb")


def send(stream: IO[bytes], message: Any) -> None:
    """Write a message."""
    content = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(_LENGTH.pack(len(content)))
    stream.write(content)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """Read a message.

    Raises
    ------
    EOFError
        The other side is gone.
    """
    (length,) = _LENGTH.unpack(_read(stream, _LENGTH.size))
    return pickle.loads(_read(stream, length))


def pack(items: Sequence[Any]) -> Packed:
    """Return items of a batch as they are sent."""
    if not items or isinstance(items[0], str):
        return list(items)
    lengths = np.array([len(item) for item in items], dtype=np.int64)
    return np.concatenate(items).astype(np.int32, copy=False), lengths


def unpack(packed: Packed) -> list[Any]:
    """Return the items again."""
    if isinstance(packed, list):
        return packed
    ids, lengths = packed
    return np.split(ids, lengths.cumsum()[:-1])


def _read(stream: IO[bytes], size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError
    return content
