"""How long a local model takes, by embedding a few texts with it."""

from __future__ import annotations

import time
import warnings

from lancedb_embedders.embedder import Embedder
from lancedb_embedders.settings import settings

#: Texts that are enough to tell.
SAMPLE = 64

_QUERIES = 5


def time_query(function: Embedder, text: str) -> float:
    """Return the milliseconds that embedding one query takes: the median of five."""
    took = []
    with warnings.catch_warnings(), settings.override(progress=False, cache=False):
        warnings.simplefilter("ignore")
        for number in range(_QUERIES + 1):
            began = time.perf_counter()
            function.compute_query_embeddings(f"{text} {number}")
            took.append(time.perf_counter() - began)
    return sorted(took[1:])[_QUERIES // 2] * 1000  # the first one loads the model
