"""What it would cost to measure hosted models, before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError, CostError, EmbeddingError
from lancedb_embedders.hosted.connection import is_own_server
from lancedb_embedders.hosted.embedder import HostedEmbedder
from lancedb_embedders.hosted.usage import dollars
from lancedb_embedders.tools.benchmark.quality import evaluation_texts


def check_cost(
    entries: Sequence[tuple[str, Embedder | EmbeddingError]],
    texts: list[str],
    queries: list[str],
    evaluation: Any,
    repeats: int,
    max_cost: float | None,
) -> None:
    """Refuse hosted models whose requests would cost more than is allowed.

    Servers of a user's own cost nothing.

    Parameters
    ----------
    entries : sequence of (str, Embedder)
        Models by label.
    texts, queries, evaluation, repeats
        What would be sent; texts and queries `repeats` times.
    max_cost : float or None
        US dollars for all of it; None: nothing is to be spent.

    Raises
    ------
    ConfigurationError
        There are hosted models and no `max_cost`, or one without a price.
    CostError
        They would cost more.
    """
    billed = [
        (label, function)
        for label, function in entries
        if isinstance(function, HostedEmbedder) and not is_own_server(function)
    ]
    if not billed:
        return
    names = ", ".join(label for label, _ in billed)
    costs = [
        _cost(label, function, texts, queries, evaluation, repeats) for label, function in billed
    ]
    if max_cost is None:
        raise ConfigurationError(
            f"{names}: each measurement is paid for, about ${sum(costs):,.6f} here; allow it by "
            "max_cost=... US dollars, or leave out the hosted models"
        )
    if sum(costs) > max_cost:
        raise CostError(
            f"to measure {names} would cost up to ${sum(costs):,.6f}, which is more than "
            f"max_cost={max_cost}. Nothing was sent. Give fewer texts or repeats, or raise max_cost"
        )


def _cost(
    label: str,
    function: HostedEmbedder,
    texts: list[str],
    queries: list[str],
    evaluation: Any,
    repeats: int,
) -> float:
    documents, asked = ([], []) if evaluation is None else evaluation_texts(evaluation)
    once = function.tokens_of(queries[:1], "query").sum()  # before the first turn
    turn = function.tokens_of(texts, "document").sum() + function.tokens_of(queries, "query").sum()
    judged = function.tokens_of(documents, "document").sum()
    judged += function.tokens_of(asked, "query").sum()
    tokens = int(once + repeats * turn + judged)
    cost = dollars(function.name, function.provider, tokens)
    if cost is None:
        raise ConfigurationError(
            f"{label} is hosted, and the catalogue has no price for it: what measuring it costs "
            "cannot be held to max_cost. Leave it out"
        )
    return cost
