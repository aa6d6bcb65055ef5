"""Whether batches of a local model were made smaller under way, for want of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lancedb_embedders.embedder import Embedder
from lancedb_embedders.local.embedder import LocalTextEmbedder


@contextmanager
def watch_batches(function: Embedder, tokens: int) -> Iterator[Callable[[], bool]]:
    """Give what tells, while it is entered, whether batches shrank since.

    An engine on torch remembers what once did not fit, which later, smaller budgets must not
    suffer from: what it learns in here is forgotten after.

    Parameters
    ----------
    function : Embedder
        Of this process.
    tokens : int
        Budget of tokens a batch that it is run with.
    """
    if not isinstance(function, LocalTextEmbedder):
        yield lambda: False
        return
    engine = function.prepared_model("document")[0].engine
    budget = getattr(engine, "budget", None)  # of torch in this process
    if budget is not None:
        with budget.trial(tokens):
            yield lambda: bool(budget.was_lowered)
        return
    before = engine.batch_tokens  # torch in other processes tells what is left of it
    yield lambda: engine.batch_tokens < before
