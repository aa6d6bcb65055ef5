"""What `fine_tune` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lancedb_embedders.tools.result import Result, rows_table

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class FineTuneResult(Result):
    """A trained model, and what it came to.

    Attributes
    ----------
    folder : pathlib.Path
        The model's folder: a name for ``sbert`` as it is, or by its last part where
        ``LANCEDB_EMBEDDERS_MODELS`` names the folder above it.
    function, model : str
        Registry name of the function, and name of the model that was trained.
    rows : int
        Rows that were learned from.
    loss : str
        Name of the loss.
    metric : str or None
        What was evaluated: ``"spearman"``, ``"ndcg_at_10"`` or ``"accuracy"``.
    before, after : float or None
        The figure, 0 to 100, of the model as it was and as it is in `folder`.
    by_dims : dict of int to (float, float)
        The same two figures, of vectors cut to so many dimensions.
    losses, scores : tuple of (int, float)
        Step and mean loss since the one before; step and figure of the evaluation.
    steps, best_step : int
        Steps that were made, and the one whose weights were kept.
    resumed_at : int
        Step that it went on from; 0: it began anew.
    seconds : float
        That this call took.
    seed : int
        Of the run.
    options : dict
        All others that decide what comes out.
    """

    folder: Path
    function: str
    model: str
    rows: int
    loss: str
    metric: str | None
    before: float | None
    after: float | None
    by_dims: dict[int, tuple[float, float]]
    losses: tuple[tuple[int, float], ...]
    scores: tuple[tuple[int, float], ...]
    steps: int
    best_step: int
    resumed_at: int
    seconds: float
    seed: int
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def improved(self) -> bool | None:
        """Whether the figure rose; None without an evaluation."""
        if self.before is None or self.after is None:
            return None
        return self.after > self.before

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> FineTuneResult:
        """Return the result that `to_dict` was called on."""
        curves = {name: tuple(map(tuple, stored[name])) for name in ("losses", "scores")}
        by_dims = {int(dims): tuple(both) for dims, both in stored["by_dims"].items()}
        values = {**stored, **curves, "by_dims": by_dims, "folder": Path(stored["folder"])}
        return cls(**values)

    def table(self) -> Table:
        """Return what it came to as a table."""
        rows = [
            ["model", self.model],
            ["rows", f"{self.rows:,}"],
            ["loss", self.loss],
            ["steps", f"{self.steps:,}, kept: {self.best_step:,}"],
            ["seed", str(self.seed)],
        ]
        if self.metric is not None:
            figures = {"": (self.before, self.after)}
            figures |= {f", {dims} dims": both for dims, both in self.by_dims.items()}
            for suffix, (before, after) in figures.items():
                rows.append([f"{self.metric}{suffix}", f"{before:.2f} -> {after:.2f}"])
        rows += [["took", f"{self.seconds:,.1f} s"], ["folder", str(self.folder)]]
        return rows_table("Fine-tuning", [("", "left"), ("", "left")], rows)
