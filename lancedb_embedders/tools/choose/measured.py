"""How long a recommended model takes on this machine, if it is here."""

from __future__ import annotations

import random
from dataclasses import dataclass

from lancedb_embedders.embedder import Embedder
from lancedb_embedders.local.embedder import LocalTextEmbedder
from lancedb_embedders.tables.estimate import seconds_for
from lancedb_embedders.tools.cost.counting import counting_of, is_here
from lancedb_embedders.tools.cost.timing import SAMPLE, time_query

_SENTENCES = (
    "The library opens at nine and closes after the last reader has left.",
    "A table keeps its rows in the order in which they were written.",
    "Rain fell for three days, and the river rose above the old bridge.",
    "Whoever measures twice is seldom surprised by the result.",
    "The committee asked for a second report on the cost of the new roof.",
    "Small engines run quietly when the oil is changed in time.",
)
_QUERY = "how do I change the oil of a small engine?"


@dataclass(frozen=True)
class Times:
    """What was measured.

    Attributes
    ----------
    seconds_per_row, query_ms : float or None
        Seconds a row, milliseconds a query; None: not measured.
    note : str
        How, or why not.
    """

    seconds_per_row: float | None
    query_ms: float | None
    note: str


def measured_times(function: Embedder, tokens_per_row: int) -> Times:
    """Embed made-up texts of about so many tokens, and a few queries.

    Parameters
    ----------
    function : Embedder
        The function to time; nothing is downloaded for it.
    tokens_per_row : int
        Tokens of a text.
    """
    if not isinstance(function, LocalTextEmbedder):
        return Times(None, None, "time was not measured: the model does not run on this machine")
    name = function.name
    if getattr(function, "source", "text") == "image":
        return Times(None, None, "time was not measured: that of pictures depends on their files")
    if not is_here(function):
        return Times(None, None, f"time was not measured: {name} is not on this machine")
    texts = _texts(tokens_per_row)
    seconds = seconds_for(function, texts)
    batch = function.batch_of(texts, "document")
    tokens = int(counting_of(function).count(batch).counts.tokens.sum())
    return Times(
        seconds / len(texts),
        time_query(function, _QUERY),
        f"time from {len(texts)} made-up texts, of {tokens / len(texts):,.0f} tokens as {name} "
        f"takes them, embedded here in {seconds:.3g} seconds",
    )


def _texts(tokens: int) -> list[str]:
    # Such sentences have about 15 tokens each.
    chance, sentences = random.Random(0), max(1, round(tokens / 15))
    count = max(8, min(SAMPLE, 16_384 // tokens))  # long texts need not be many
    return [
        f"{number}. " + " ".join(chance.choice(_SENTENCES) for _ in range(sentences))
        for number in range(count)
    ]
