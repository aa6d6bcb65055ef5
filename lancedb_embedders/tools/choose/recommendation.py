"""What `choose_model` and `recommend_model` return."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from lancedb_embedders.catalog import ModelCard
from lancedb_embedders.embedder import Embedder
from lancedb_embedders.stored import registered
from lancedb_embedders.tools.choose.index_advice import IndexAdvice, Storage
from lancedb_embedders.tools.result import Result, printable, rows_table


@dataclass(frozen=True)
class Alternative:
    """A model that was not chosen.

    Attributes
    ----------
    model, function : str
        Its name, and the registry name of its function.
    why : str
        Why it is not the first, or what excludes it.
    """

    model: str
    function: str
    why: str


@dataclass(frozen=True)
class RoughCost:
    """What embedding the rows once comes to, from their number alone.

    Attributes
    ----------
    rows, tokens_per_row, tokens : int
        What it was counted for.
    usd, batch_usd : float or None
        US dollars, 0.0 on this machine, and at the provider's price for batches, if it has one.
    hours : float or None
        Hours on this machine, where that was measured.
    query_ms : float or None
        Milliseconds that a query takes: measured, or by the model's size; None: not known.
    note : str
        How the figures came about.
    """

    rows: int
    tokens_per_row: int
    tokens: int
    usd: float | None
    batch_usd: float | None
    hours: float | None
    query_ms: float | None
    note: str


@dataclass(frozen=True)
class Recommendation(Result):
    """A model for a use case, and why.

    Attributes
    ----------
    use_case, priority : str
        What was asked.
    model, function : str
        Name of the model, and the registry name of its function.
    card : ModelCard
        What the catalogue knows of it, each figure with its source.
    options : dict
        What the function is created with.
    reasons : tuple of str
        Why it is this model.
    alternatives : tuple of Alternative
        Others that fit, in order, and why each was not first.
    excluded : tuple of Alternative
        The rest of the catalogue, and what excludes each.
    storage : Storage
        What the raw vectors weigh.
    index : IndexAdvice
        The index to build at this size.
    cost : RoughCost
        Money, and time where it was measured.
    """

    use_case: str
    priority: str
    model: str
    function: str
    card: ModelCard
    options: dict[str, Any]
    reasons: tuple[str, ...]
    alternatives: tuple[Alternative, ...]
    excluded: tuple[Alternative, ...]
    storage: Storage
    index: IndexAdvice
    cost: RoughCost

    def create(self, **options: Any) -> Embedder:
        """Return the function, ready for a schema; `options` are added to those recommended."""
        made: Embedder = registered()[self.function].create(**{**self.options, **options})
        return made

    @property
    def code(self) -> str:
        """Python that makes the function, and the index if one is advised."""
        lines = ["from lancedb.embeddings import get_registry", "import lancedb_embedders", ""]
        if self.index.kind is not None:
            lines.insert(1, f"from lancedb.index import {self.index.config_class}")
        lines.append(f'function = get_registry().get("{self.function}").create(')
        lines += [f"    {name}={json.dumps(value)}," for name, value in self.options.items()]
        lines.append(")")
        if self.index.kind is not None:
            lines += ["# once the rows are in:", self.index.code]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a dict that `json.dumps` takes."""
        return {
            **super().to_dict(),
            "card": self.card.model_dump(mode="json"),
            "code": self.code,
        }

    def table(self) -> Any:
        """Return model, reasons, alternatives, storage, index and cost."""
        from rich.console import Group
        from rich.text import Text

        storage, cost = self.storage, self.cost
        binary = "" if storage.binary_gb is None else f", {_gb(storage.binary_gb)} binary"
        facts = [
            ("model", self.model),
            ("function", self.function),
            (
                f"{storage.rows:,} vectors",
                f"{_gb(storage.float32_gb)} float32, {_gb(storage.float16_gb)} float16{binary}",
            ),
            ("index", f"{self.index.kind or 'none'}: {self.index.why}"),
            ("cost", f"{_money(cost.usd)}; {cost.note}"),
        ]
        others = rows_table(
            None,
            [("alternative", "left"), ("why not first", "left")],
            [(one.model, one.why) for one in self.alternatives],
        )
        figures = rows_table(
            f"{self.use_case}, {self.priority}", [("", "left"), ("", "left")], facts
        )
        figures.show_header = False
        reasons = [Text(printable(f"- {reason}")) for reason in self.reasons]
        code = [Text(), Text(printable(self.code))]
        return Group(figures, *reasons, *([others] if self.alternatives else []), *code)


def _gb(size: float) -> str:
    return f"{size:.3g} GB"


def _money(usd: float | None) -> str:
    return "no price known" if usd is None else f"${usd:,.2f}"
