"""Whether batches of a local model were made smaller under way, for want of memory."""

from __future__ import annotations

from typing import Any

from lancedb_embedders.embedder import Embedder
from lancedb_embedders.local.embedder import LocalTextEmbedder


class Shrinking:
    """Sees whether batches shrink while it is entered, and has the engine forget that after.

    An engine on torch remembers what once did not fit, which later, smaller budgets must not
    suffer from; and it says nothing of batches that are halved and still above its own default.

    Parameters
    ----------
    function : Embedder
        Of this process.
    tokens : int
        Budget of tokens a batch that it is run with.

    Attributes
    ----------
    seen : bool
        Whether batches shrank; known once it is left.
    """

    def __init__(self, function: Embedder, tokens: int) -> None:
        self.seen = False
        self._engine: Any = None
        if isinstance(function, LocalTextEmbedder):
            self._engine = function.prepared_model("document")[0].engine
        self._budget = getattr(self._engine, "_budget", None)  # torch in this process
        self._tokens = tokens

    def __enter__(self) -> Shrinking:
        if self._budget is not None:
            self._kept = self._budget.tokens, self._budget._was_lowered
            self._budget.tokens, self._budget._was_lowered = self._tokens, False
        elif self._engine is not None:  # torch in other processes tells what is left
            self._tokens = self._engine.batch_tokens
        return self

    def __exit__(self, *error: object) -> None:
        if self._budget is not None:
            self.seen = self._budget.tokens < self._tokens
            self._budget.tokens, self._budget._was_lowered = self._kept
            self._engine.batch_tokens = self._budget.tokens
        elif self._engine is not None:
            self.seen = self._engine.batch_tokens < self._tokens
