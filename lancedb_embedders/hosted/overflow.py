"""Texts longer than a hosted model takes: refused, cut, or embedded piece by piece."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from lancedb_embedders import output
from lancedb_embedders.batch import Batch
from lancedb_embedders.errors import EmbeddingWarning, TextTooLongError, name_rows
from lancedb_embedders.hosted.tokens import SPECIAL, Counter, byte_bounds
from lancedb_embedders.output import Float32

Overflow = Literal["error", "truncate", "chunk"]


@dataclass(frozen=True)
class Pieces:
    """What is sent for each of some texts.

    Attributes
    ----------
    texts : sequence of str
        What is sent, prompts included; each one different.
    owners : sequence of numpy.ndarray
        For each input the positions in `texts` of its pieces, int64; most have one.
    weights : sequence of numpy.ndarray
        For each input what each piece counts for in its mean: its tokens, float32.
    """

    texts: Sequence[str]
    owners: Sequence[npt.NDArray[np.int64]]
    weights: Sequence[npt.NDArray[np.float32]]
    whole: bool

    def join(self, vectors: Float32) -> Float32:
        """Return one vector an input: of several pieces, the mean by tokens, of length 1."""
        if self.whole:
            return vectors
        joined: Float32 = vectors[[int(own[0]) for own in self.owners]]
        for i, (own, weights) in enumerate(zip(self.owners, self.weights, strict=True)):
            if len(own) > 1:
                # Pieces count by their length alone, not by the length of their vectors.
                mean = weights @ output.normalize(vectors[own]) / weights.sum()
                joined[i] = output.normalize(mean[np.newaxis])[0]
        return joined

    def inputs_of(self, positions: Sequence[int]) -> list[int]:
        """Return the inputs that have a piece among `positions`."""
        if self.whole:
            return list(positions)
        wanted = set(positions)
        return [i for i, own in enumerate(self.owners) if not wanted.isdisjoint(own.tolist())]


def too_long(texts: Sequence[str], limit: int, counter: Counter) -> npt.NDArray[np.int64]:
    """Return the positions of texts of more than `limit` tokens."""
    # Most are cleared by their bytes, and not counted.
    suspects = np.flatnonzero(byte_bounds(texts) > limit)
    if len(suspects) == 0:
        return suspects
    counts = counter.count([texts[i] for i in suspects.tolist()])
    return np.asarray(suspects[counts > limit], dtype=np.int64)


def as_pieces(texts: Sequence[str]) -> Pieces:
    """Return texts that are sent whole."""
    return Pieces(texts, (), (), whole=True)


def cut_pieces(
    texts: Sequence[str],
    prompt: str,
    long: npt.NDArray[np.int64],
    limit: int,
    counter: Counter,
    policy: Overflow,
) -> Pieces:
    """Cut the texts at the positions `long`, each with the prompt before it, to `limit` tokens.

    Parameters
    ----------
    texts : sequence of str
        Without prompt.
    prompt : str
        Goes before each piece.
    long : numpy.ndarray
        Positions of texts that are too long.
    limit : int
        Tokens of a piece, prompt included.
    counter : Counter
        Counts them.
    policy : {"truncate", "chunk"}
        Whether the first piece is sent, or all.
    """
    room = limit
    if prompt:
        room = max(SPECIAL + 1, limit - int(counter.count([prompt])[0]))
    cut = set(long.tolist())
    positions: dict[str, int] = {}
    owners, weights = [], []
    for i, text in enumerate(texts):
        pieces = [text]
        if i in cut:
            pieces = counter.pieces(text, room) if policy == "chunk" else [counter.cut(text, room)]
            pieces = [piece for piece in pieces if piece.strip()] or pieces[:1]
        own = [positions.setdefault(prompt + piece, len(positions)) for piece in pieces]
        owners.append(np.array(own, dtype=np.int64))
        many = len(pieces) > 1
        weights.append((counter.count(pieces) if many else np.ones(1)).astype(np.float32))
    return Pieces(list(positions), owners, weights, whole=False)


def prepare_pieces(
    batch: Batch,
    *,
    prompt: str,
    limit: int | None,
    counter: Counter,
    policy: Overflow,
    cuts_there: bool,
    cuts_silently: bool,
    model: str,
) -> Pieces:
    """Return what is sent for the inputs of a batch.

    Parameters
    ----------
    batch : Batch
        Inputs without prompt.
    prompt : str
        Goes before each.
    limit : int or None
        Tokens that the model takes, prompt included; None: nobody knows, the provider will say.
    counter : Counter
        Counts tokens.
    policy : {"error", "truncate", "chunk"}
        What a longer text does.
    cuts_there, cuts_silently : bool
        Whether the provider cuts long texts if it is told to, or even if it is not.
    model : str
        Name of the model, for messages.

    Raises
    ------
    TextTooLongError
        Texts are too long and ``policy="error"``; names the rows.
    """
    texts = [prompt + text for text in batch.inputs] if prompt else batch.inputs
    long = np.zeros(0, dtype=np.int64) if limit is None else too_long(texts, limit, counter)
    if limit is None or len(long) == 0:
        return as_pieces(texts)
    if policy == "error":
        rows = batch.rows(long.tolist())
        if counter.exact:
            raise TextTooLongError(
                f"{name_rows(rows)}: longer than the {limit:,} tokens that {model} takes. Nothing "
                'was sent. Shorten the text, or set on_overflow="chunk" to embed it piece by '
                'piece, or "truncate" to cut it',
                rows,
            )
        if cuts_silently:
            warnings.warn(
                f"{name_rows(rows)}: may be longer than the {limit:,} tokens that {model} takes; "
                "its tokenizer is not on this machine, and the provider would cut the text without "
                'a word. Split it into rows, or set on_overflow="chunk"',
                EmbeddingWarning,
                stacklevel=2,
            )
        return as_pieces(texts)
    if policy == "truncate" and cuts_there and not counter.exact:
        return as_pieces(texts)
    return cut_pieces(batch.inputs, prompt, long, limit, counter, policy)
