"""How many texts are longer than a model takes, counted by its own tokenizer."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from typing import Any

from lancedb_embedders.embedder import Embedder
from lancedb_embedders.functions.long_document import LongDocumentEmbeddings
from lancedb_embedders.hosted.embedder import HostedEmbedder
from lancedb_embedders.hosted.overflow import too_long
from lancedb_embedders.local.embedder import LocalTextEmbedder
from lancedb_embedders.tools.watch.limits import Limits
from lancedb_embedders.tools.watch.report import Finding

#: Texts that are tokenized, at most.
COUNTED = 500
# Characters a token that are looked at first.
_BEGINNING = 8


def truncated(
    function: Embedder | None, texts: Sequence[Any] | None, seed: int
) -> tuple[int, int] | None:
    """Return how many of some texts are longer than the model takes, and of how many.

    Parameters
    ----------
    function : Embedder or None
        What embeds them.
    texts : sequence or None
        Texts, or None where there is none; 500 random ones are counted at most.
    seed : int
        Of the random choice.

    Returns
    -------
    tuple of (int, int) or None
        None: nothing here knows how long a text may be, or they are no texts.
    """
    given = [text for text in texts or () if text is not None]
    if function is None or not given or not all(isinstance(text, str) for text in given):
        return None
    # Windows take all of a text.
    if isinstance(function, LongDocumentEmbeddings) and function.reduce != "first":
        return 0, len(given)
    chosen = random.Random(seed).sample(given, min(len(given), COUNTED))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(function, LocalTextEmbedder):
            model, encoding = function.prepared_model("document")
            prepared = [function.prepare(text) for text in chosen]
            # Of most long texts the beginning is too long already.
            begun = [text[: _BEGINNING * (encoding.max_length or 0)] for text in prepared]
            certain = set(model.overflows(begun, encoding))
            left = [
                text
                for i, text in enumerate(prepared)
                if i not in certain and len(text) > len(begun[i])
            ]
            return len(certain) + len(model.overflows(left, encoding)), len(chosen)
        limit = function.max_length if isinstance(function, HostedEmbedder) else None
        if isinstance(function, HostedEmbedder) and limit is not None:
            prompt = function.prompt_of("document")
            prepared = [prompt + function.prepare(text) for text in chosen]
            return len(too_long(prepared, limit, function.counter())), len(chosen)
    return None


def truncated_finding(counted: tuple[int, int] | None, limits: Limits) -> list[Finding]:
    """Return what is to be said of texts that are cut, if that many are too many."""
    if counted is None or limits.truncated is None or counted[0] / counted[1] <= limits.truncated:
        return []
    share = counted[0] / counted[1]
    return [
        Finding(
            "truncated",
            "warning",
            f"{counted[0]:,} of {counted[1]:,} texts are longer than the model takes: what is "
            "behind is not found. Use the function long-document, a model of a longer context, or "
            "tables.chunk_documents",
            {"share": share},
        )
    ]
