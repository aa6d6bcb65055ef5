"""What a function tells of its provider, and what comes back from one request."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lancedb_embedders import output
from lancedb_embedders.errors import ProviderError
from lancedb_embedders.output import Float32


@dataclass(frozen=True)
class Limits:
    """What one request may hold.

    Attributes
    ----------
    inputs : int
        Texts.
    tokens : int or None
        Tokens of all of them; None: not limited.
    input_tokens : int or None
        Tokens of one; None: not known, or cut by the provider.
    """

    inputs: int
    tokens: int | None = None
    input_tokens: int | None = None


@dataclass(frozen=True)
class Answer:
    """What a provider gave for one request.

    Attributes
    ----------
    vectors : numpy.ndarray
        float32, shape ``(texts, dim)``, in the order of the texts.
    tokens : int or None
        Tokens that are billed; None where the provider does not say.
    headers : mapping
        Of the answer, names in lower case.
    """

    vectors: Float32
    tokens: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def answer_of(body: Any, count: int, headers: Mapping[str, str] | None = None) -> Answer:
    """Read an answer of OpenAI's form to `count` texts; Voyage and many servers give it too."""
    try:
        usage = body.get("usage") or {}
        return Answer(
            rows_of(body["data"], count),
            usage.get("total_tokens") or usage.get("prompt_tokens"),
            {name.lower(): value for name, value in (headers or {}).items()},
        )
    except (AttributeError, KeyError, TypeError):
        raise ProviderError("an answer that holds no vectors") from None


def unusable(vectors: Float32) -> dict[int, str]:
    """Return which vectors must not be kept: position -> what is wrong."""
    bad = dict.fromkeys(output.zero_rows(vectors), "it gave a vector of zeros")
    bad.update(dict.fromkeys(output.bad_rows(vectors), "it gave a vector with NaN or infinity"))
    return bad


def rows_of(items: Sequence[Any], count: int) -> Float32:
    """Return vectors from ``[{"index": 0, "embedding": ...}, ...]``, as OpenAI and others answer.

    Parameters
    ----------
    items : sequence of mapping
        ``embedding`` is base64 of little-endian float32, or a list of numbers; items without an
        ``index`` are in order.
    count : int
        Texts that were sent.

    Raises
    ------
    ProviderError
        Not one vector a text, or vectors of different widths.
    """
    if len(items) != count:
        raise ProviderError(f"{len(items)} vectors for {count} texts")
    # Into one array as they come: many at once would take their memory twice.
    rows: Float32 = np.empty((0, 0), dtype=np.float32)
    seen = np.zeros(count, dtype=bool)
    for position, item in enumerate(items):
        index = item.get("index", position)
        if not isinstance(index, int) or not 0 <= index < count or seen[index]:
            raise ProviderError(f"an answer with a vector for text {index!r} of {count}")
        seen[index] = True
        vector = decoded(item.get("embedding"))
        if position == 0:
            rows = np.empty((count, len(vector)), dtype=np.float32)
        elif len(vector) != rows.shape[1]:
            sizes = sorted({rows.shape[1], len(vector)})
            raise ProviderError(f"vectors of different sizes in one answer: {sizes}")
        rows[index] = vector
    return rows


def decoded(embedding: Any) -> Float32:
    """Return one vector from base64 of little-endian float32, or from a list of numbers."""
    try:
        if isinstance(embedding, str):
            return np.frombuffer(base64.b64decode(embedding), dtype="<f4")
        vector = np.asarray(embedding, dtype=np.float32)
    except (ValueError, TypeError):
        raise ProviderError("an answer with something that is no vector") from None
    if vector.ndim != 1 or len(vector) == 0:
        raise ProviderError(f"an answer with an array of shape {vector.shape} for a vector")
    return vector


def stacked(vectors: Sequence[Any]) -> Float32:
    """Return vectors as one array; of different widths they are an error of the provider."""
    widths = {len(vector) for vector in vectors}
    if len(widths) > 1:
        raise ProviderError(f"vectors of different sizes in one answer: {sorted(widths)}")
    return np.asarray(vectors, dtype=np.float32)
