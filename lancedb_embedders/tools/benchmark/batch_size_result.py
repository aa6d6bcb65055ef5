"""What a search for the batch size found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lancedb_embedders.settings import ENV_PREFIX
from lancedb_embedders.tools.benchmark.spread import Spread
from lancedb_embedders.tools.result import Result, printable, rows_table

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class BudgetFigures:
    """What was measured of one budget.

    Attributes
    ----------
    batch_tokens : int
        Tokens a batch, padding included.
    texts_per_second : Spread or None
        Of all its turns; None: memory ran out before there was any.
    out_of_memory : bool
        Whether memory ran out, or the engine had to make smaller batches.
    """

    batch_tokens: int
    texts_per_second: Spread | None
    out_of_memory: bool


@dataclass(frozen=True)
class BatchSize(Result):
    """The budget of tokens a batch that suits a model, texts and this machine.

    Attributes
    ----------
    model : str
        Name of the model.
    engine, device : str
        What ran it, and where.
    batch_tokens : int
        The smallest budget that is nearly as fast as the fastest.
    budgets : tuple of BudgetFigures
        All that were tried, by size.
    texts, repeats : int
        Different texts, and turns of each budget that was promising.
    end : str
        Why no larger budget was tried.
    written : bool
        Whether it is a setting of this process now.
    note : str or None
        What else to know.
    """

    model: str
    engine: str
    device: str
    batch_tokens: int
    budgets: tuple[BudgetFigures, ...]
    texts: int
    repeats: int
    end: str
    written: bool = False
    note: str | None = None

    @property
    def environment(self) -> str:
        """The line that makes it the setting of other processes."""
        return f"{ENV_PREFIX}BATCH_TOKENS={self.batch_tokens}"

    def table(self) -> RenderableType:
        """Return the budgets as a table, and the line to set the best."""
        from rich.console import Group
        from rich.text import Text

        rows = []
        for one in self.budgets:
            speed = "" if one.texts_per_second is None else str(one.texts_per_second)
            remark = "out of memory" if one.out_of_memory else ""
            if one.batch_tokens == self.batch_tokens:
                remark = "best"
            rows.append([f"{one.batch_tokens:,}", speed, remark])
        columns = [("tokens a batch", "right"), ("texts/s", "right"), ("", "left")]
        title = f"{self.model} on {', '.join(dict.fromkeys((self.engine, self.device)))}"
        lines = [
            f"{self.texts:,} different texts, {self.repeats} turns of each promising budget.",
            f"Larger ones were not tried: {self.end}.",
            self.environment,
            *(["It is the setting of this process now."] if self.written else []),
            *([] if self.note is None else [self.note]),
        ]
        return Group(rows_table(title, columns, rows), *(Text(printable(line)) for line in lines))
