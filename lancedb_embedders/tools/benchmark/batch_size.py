"""How many tokens should go through a local model at once, found by trying."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.hosted.embedder import HostedEmbedder
from lancedb_embedders.local.batches import share
from lancedb_embedders.progress import progress_bar
from lancedb_embedders.settings import settings
from lancedb_embedders.tools.benchmark.batch_size_result import BatchSize, BudgetFigures
from lancedb_embedders.tools.benchmark.measure_process import Measured, MeasureError
from lancedb_embedders.tools.benchmark.spread import Spread
from lancedb_embedders.tools.given import function_of, texts_of

__all__ = ["BatchSize", "BudgetFigures", "find_batch_size"]

#: Tokens a batch that are tried, if nothing else is asked for.
SMALLEST, LARGEST = 256, 2**20

# A larger budget counts as slower below this share of the best; after so many in a row, none larger
# is tried. One turn is easily disturbed: what is not clearly slower gets others.
_SLOWER, _IN_A_ROW = 0.9, 3
_PROMISING = 0.8
_STEP = 64  # budgets between two doublings are multiples of it


def find_batch_size(
    model: Embedder | str | os.PathLike[str],
    texts: Any,
    *,
    column: str | None = None,
    write: bool = False,
    repeats: int = 3,
    smallest: int = SMALLEST,
    largest: int = LARGEST,
    tolerance: float = 0.03,
    progress: bool | None = None,
) -> BatchSize:
    """Find the budget of tokens a batch (`settings.batch_tokens`) that suits a local model here.

    Budgets are doubled until memory runs out, all texts fit into one batch, or it only gets slower;
    then those around the best are measured in turns. The model runs in a process of its own: one
    that takes all memory ends that process, and the search goes on below it.

    Parameters
    ----------
    model : Embedder or str or os.PathLike
        A function, its registry name, or the name or folder of a model.
    texts : iterable of str, pyarrow.Array or lancedb.table.Table
        Texts as they will be embedded, as many as take seconds; equal ones count once.
    column : str, optional
        The table's column; None: the one that it embeds.
    write : bool, default False
        Make the result the setting of this process.
    repeats : int, default 3
        Turns of each promising budget; their medians are compared.
    smallest, largest : int
        Least and most tokens to try.
    tolerance : float, default 0.03
        The smallest budget is taken whose speed is within this share of the best.
    progress : bool, optional
        Show a progress bar; None: only on a terminal.

    Raises
    ------
    ConfigurationError
        The model is hosted, has no such budget, cannot be loaded, or runs out of memory at once.
    InputError
        A text that is none, with its row.

    Examples
    --------
    >>> texts = [f"Number {i} of some texts." for i in range(64)]
    >>> found = find_batch_size("sbert", texts, repeats=1, largest=512)
    >>> found.batch_tokens in [one.batch_tokens for one in found.budgets]
    True
    """
    if repeats < 1 or not 1 <= smallest <= largest or not 0 <= tolerance < 1:
        raise ConfigurationError(
            "repeats must be 1 or more, 1 <= smallest <= largest, and tolerance 0 or more and less "
            f"than 1; got {repeats}, {smallest}, {largest}, {tolerance}"
        )
    function = function_of(model)
    _refuse_others(function)
    rows = list(dict.fromkeys(texts_of(texts, column)))
    with progress_bar(None, "turns", progress, "Measuring") as bar:
        search = _Search(function, rows, bar.update)
        try:
            end = search.climb(smallest, largest)
            search.refine(repeats)
            best = search.best(tolerance)
        finally:
            search.close()
    if write:
        settings.batch_tokens = best
    loaded = search.loaded
    return BatchSize(
        model=str(getattr(function, "name", function.registry_name)),
        engine=loaded.engine,
        device=loaded.device,
        batch_tokens=best,
        budgets=search.figures(),
        texts=len(rows),
        repeats=repeats,
        end=end,
        written=write,
        note=search.note,
    )


@dataclass
class _Budget:
    seconds: list[float] = field(default_factory=list)
    ran_out: bool = False


class _Search:
    """Budgets that were tried, and the process that tries them."""

    def __init__(self, function: Embedder, texts: list[str], tried: Callable[[], Any]) -> None:
        self._function, self._texts, self._tried = function, texts, tried
        self._budgets: dict[int, _Budget] = {}
        self._measured = self._started()
        self.loaded, self.note = self._measured.loaded, self._measured.note

    def climb(self, smallest: int, largest: int) -> str:
        """Double the budget as long as it pays; returns why it ended."""
        tokens, slower = smallest, 0
        whole = self._enough()
        while True:
            self._try(tokens)
            if self._budgets[tokens].ran_out:
                if tokens == smallest:
                    raise ConfigurationError(
                        f"memory runs out with {tokens:,} tokens a batch already: take a smaller "
                        "model or max_length, or try a lower smallest=..."
                    )
                return f"memory runs out at {tokens:,}"
            slower = slower + 1 if self._speed(tokens) < _SLOWER * self._fastest() else 0
            if slower == _IN_A_ROW:
                return "they only get slower"
            if whole is not None and tokens >= whole:
                return f"the texts have {self.loaded.tokens:,} tokens in all; give more to try more"
            if 2 * tokens > largest:
                return f"largest={largest:,}"
            tokens *= 2

    def refine(self, repeats: int) -> None:
        """Measure promising budgets, and those next to the best, in turns."""
        best = max((t for t in self._budgets if self._usable(t)), key=self._speed)
        near = {_STEP * round(best * factor / _STEP) for factor in (2**-0.5, 2**0.5)}
        least, most = min(self._budgets), min([max(self._budgets), *self._ran_out()])
        new = {tokens for tokens in near if least < tokens < most}
        good = _PROMISING * self._fastest()
        chosen = {t for t in self._budgets if self._usable(t) and self._speed(t) >= good} | new
        for turn in range(repeats):
            for tokens in sorted(chosen):
                known = self._budgets.get(tokens)
                if known is None or (len(known.seconds) <= turn and not known.ran_out):
                    self._try(tokens)

    def best(self, tolerance: float) -> int:
        """Return the smallest budget that is nearly as fast as the fastest."""
        usable = [tokens for tokens in self._budgets if self._usable(tokens)]
        enough = (1 - tolerance) * max(map(self._speed, usable))
        return min(tokens for tokens in usable if self._speed(tokens) >= enough)

    def figures(self) -> tuple[BudgetFigures, ...]:
        """Return what was measured, by size."""
        count = len(self._texts)
        return tuple(
            BudgetFigures(
                tokens,
                Spread.of([count / seconds for seconds in one.seconds]) if one.seconds else None,
                one.ran_out,
            )
            for tokens, one in sorted(self._budgets.items())
        )

    def close(self) -> None:
        """End the process."""
        self._measured.close()

    def _try(self, tokens: int) -> None:
        budget = self._budgets.setdefault(tokens, _Budget())
        try:
            seconds, shrunk = self._measured.ask("seconds_with", tokens)
            budget.seconds.append(seconds)
            budget.ran_out |= shrunk
        except MeasureError as error:
            if not error.memory:
                raise ConfigurationError(f"{tokens:,} tokens a batch: {error}") from None
            budget.ran_out = True
            # What allocators hold after that, if the process lives at all, is nothing to go on by.
            self._measured.close()
            self._measured = self._started()
        self._tried()

    def _started(self) -> Measured:
        try:
            return Measured(self._function, self._texts, self._texts[:1])
        except MeasureError as error:
            raise ConfigurationError(str(error)) from None

    def _enough(self) -> int | None:
        """Return the budget above which batches of these texts grow no more."""
        tokens = self.loaded.tokens
        return None if tokens is None else share(tokens, tokens, self.loaded.workers)

    def _usable(self, tokens: int) -> bool:
        return bool(self._budgets[tokens].seconds) and not self._budgets[tokens].ran_out

    def _ran_out(self) -> list[int]:
        return [tokens for tokens, one in self._budgets.items() if one.ran_out]

    def _speed(self, tokens: int) -> float:
        return len(self._texts) / statistics.median(self._budgets[tokens].seconds)

    def _fastest(self) -> float:
        return max(self._speed(tokens) for tokens in self._budgets if self._usable(tokens))


def _refuse_others(function: Embedder) -> None:
    if isinstance(function, HostedEmbedder):
        raise ConfigurationError(
            f"{function.name} is hosted: how much goes into a request is its provider's limit, and "
            "there is no batch size to search"
        )
    if "batch_tokens" not in function.process_options():
        raise ConfigurationError(
            f"{function.registry_name} has no option batch_tokens, so there is nothing to search"
        )
