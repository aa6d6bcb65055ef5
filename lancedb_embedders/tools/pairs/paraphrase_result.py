"""What `paraphrase` returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lancedb_embedders.tools.fine_tuning.data import TrainingPair
from lancedb_embedders.tools.result import Result, rows_table

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Paraphrased:
    """A text, and what became of it.

    Attributes
    ----------
    text : str
        As it was given.
    paraphrases : tuple of str
        Those that passed all checks.
    similarities : tuple of float or None
        Cosine of each with the text; None: no function was given.
    rejected : tuple of (str, str)
        What came back and was not taken, and why.
    error : str or None
        Why there are fewer than were asked for; None: there are as many.
    """

    text: str
    paraphrases: tuple[str, ...]
    similarities: tuple[float, ...] | None
    rejected: tuple[tuple[str, str], ...]
    error: str | None


@dataclass(frozen=True)
class ParaphraseResult(Result):
    """Paraphrases of texts, and what they came to.

    Attributes
    ----------
    model : str
        What wrote them.
    texts : tuple of Paraphrased
        One for each text that was given, in order; equal texts were asked for once.
    requests : int
        Questions that were answered.
    prompt_tokens, completion_tokens : int
        As the server counts them; 0 where it does not.
    usd : float or None
        By the prices that were given; None: none were.
    """

    model: str
    texts: tuple[Paraphrased, ...]
    requests: int
    prompt_tokens: int
    completion_tokens: int
    usd: float | None

    @property
    def incomplete(self) -> tuple[Paraphrased, ...]:
        """Texts with fewer paraphrases than were asked for."""
        return tuple(one for one in self.texts if one.error is not None)

    def pairs(self) -> list[TrainingPair]:
        """Return a pair for each text and paraphrase, as `fine_tune` takes them."""
        return [
            TrainingPair(one.text, other)
            for one in dict.fromkeys(self.texts)
            for other in one.paraphrases
        ]

    def table(self) -> Table:
        """Return the counts, and what was not taken, as a table."""
        rejected = [why for one in self.texts for _, why in one.rejected]
        tokens = f"{self.prompt_tokens:,} in, {self.completion_tokens:,} out"
        rows = [
            ["model", self.model],
            ["texts", f"{len(self.texts):,}"],
            ["paraphrases", f"{sum(len(one.paraphrases) for one in self.texts):,}"],
            ["texts with too few", f"{len(self.incomplete):,}"],
            ["rejected", f"{len(rejected):,}"],
            ["requests", f"{self.requests:,}"],
            ["tokens", tokens],
            ["cost", "no price given" if self.usd is None else f"${self.usd:,.4f}"],
        ]
        return rows_table("Paraphrases", [("", "left"), ("", "left")], rows)
