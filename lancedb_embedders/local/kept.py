"""Vectors of local models in the cache: what was embedded once is not embedded again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lancedb_embedders.batch import Batch
from lancedb_embedders.cache import VectorCache, text_key
from lancedb_embedders.multivector import MultiVectors
from lancedb_embedders.output import Float32

_VERSION = 1
_AT_ONCE = 4096  # texts that are embedded before their vectors are put away
# Options that change what becomes of a model's vectors, or of texts before they reach it.
_OUTSIDE = frozenset({"quantization", "clean", "template", "source", "on_bad_image"})


def describe(identity: str, signature: str, role: str) -> str:
    """Return the name in the cache of a function's vectors.

    Parameters
    ----------
    identity : str
        All options that affect vectors, as JSON.
    signature : str
        What the model gives for a fixed text.
    role : str
        ``"document"`` or ``"query"``.
    """
    options = {k: v for k, v in json.loads(identity).items() if k not in _OUTSIDE}
    facts = {
        "version": _VERSION,
        "provider": "local",
        "options": options,
        "signature": signature,
        "role": role,
    }
    return json.dumps(facts, sort_keys=True, separators=(",", ":"))


def embed_kept(
    batch: Batch,
    cache: VectorCache,
    space: str,
    compute: Callable[[Batch], Float32 | MultiVectors],
    cut: Callable[[Batch], Sequence[int]],
) -> Float32 | MultiVectors:
    """Embed a batch, as far as its vectors are not in the cache, and put them there.

    Parameters
    ----------
    batch : Batch
        Texts to embed.
    cache : VectorCache
        Where vectors are kept.
    space : str
        See `describe`.
    compute : callable
        Embeds what is missing.
    cut : callable
        Returns the positions of texts that are cut off with a warning: they are not kept, or the
        warning would come once only.
    """
    keys = [text_key(text) for text in batch.inputs]
    found = cache.find(space, keys)
    vectors: dict[int, Float32] = dict(found.several)
    for i in np.flatnonzero(found.known).tolist():
        vectors.setdefault(i, found.vectors[i])
    missing = np.flatnonzero(~found.known)
    several = bool(found.several)
    for start in range(0, len(missing), _AT_ONCE):
        positions = missing[start : start + _AT_ONCE]
        part = batch.without(np.setdiff1d(np.arange(len(keys)), positions).tolist())
        embedded = compute(part)
        several = several or isinstance(embedded, MultiVectors)
        rows = _rows(embedded)
        vectors.update(zip(positions.tolist(), rows, strict=True))
        left_out = set(cut(part))
        kept = [i for i in range(len(rows)) if i not in left_out]
        cache.put_keys(space, [keys[positions[i]] for i in kept], [rows[i] for i in kept])
    ordered = [vectors[i] for i in range(len(keys))]
    return _joined(ordered) if several else np.stack(ordered)


def _rows(embedded: Float32 | MultiVectors) -> list[Any]:
    if isinstance(embedded, MultiVectors):
        return embedded.split(embedded.vectors)
    return list(embedded)


def _joined(rows: Sequence[Float32]) -> MultiVectors:
    tall = [np.atleast_2d(row) for row in rows]
    counts = np.array([len(row) for row in tall], dtype=np.int64)
    return MultiVectors(np.concatenate(tall), counts)


class KeptPictures:
    """Vectors of pictures in the cache, by what is in their files and not by where those are.

    Parameters
    ----------
    cache : VectorCache
        Where vectors are kept.
    space : str
        See `describe`.
    """

    def __init__(self, cache: VectorCache, space: str) -> None:
        self._cache = cache
        self._space = space

    def find(self, key: bytes) -> Float32 | None:
        """Return the vector of a picture by its digest, or None."""
        found = self._cache.find(self._space, [key])
        return found.vectors[0] if found.known[0] else None

    def put(self, keys: Sequence[bytes], vectors: Float32) -> None:
        """Keep vectors by the digests of their pictures."""
        self._cache.put_keys(self._space, keys, vectors)
