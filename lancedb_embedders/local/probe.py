"""A short signature of a model: what its vector of one fixed text looks like."""

from __future__ import annotations

import base64

import numpy as np

from lancedb_embedders.output import Float32

#: Scripts, digits, code, accents and an emoji, so that a changed tokenizer shows as well.
PROBE_TEXT = (
    "Drift probe 4711: naïve café, Übergröße; быстрая лиса, 敏捷的棕色狐狸, ثعلب سريع. "
    "def f(x): return x ** 2  # 🦊"
)
#: Other engines and precisions of one model stay above, other models far below.
MIN_COSINE = 0.99

MAX_DIMS = 512


def signature(vector: Float32) -> str:
    """Return a vector in 8 bits a dimension, at most 512 of them, as base64 text."""
    head = vector[:MAX_DIMS].astype(np.float32)
    scale = float(np.abs(head).max()) or 1.0
    return base64.b64encode(np.round(head / scale * 127).astype(np.int8).tobytes()).decode()


def similarity(stored: str, vector: Float32) -> float:
    """Return the cosine of a stored signature and a vector; -1 if they differ in size."""
    try:
        known = np.frombuffer(base64.b64decode(stored, validate=True), dtype=np.int8)
    except ValueError:
        return -1.0
    head = vector[:MAX_DIMS].astype(np.float64)
    if known.shape != head.shape:
        return -1.0
    norms = float(np.linalg.norm(known.astype(np.float64)) * np.linalg.norm(head))
    return float(known.astype(np.float64) @ head) / norms if norms else -1.0
