"""What work on a table came to, and what it would come to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Report:
    """What was done to a vector column.

    Attributes
    ----------
    vector : str
        The column.
    rows : int
        Rows that were looked at by this call.
    embedded : int
        Rows that got a vector by this call.
    resumed : int
        Rows that an earlier call had finished.
    blank : int
        Rows with nothing to embed, which have no vector.
    version : int
        Version of the table that the call left.
    changed : bool
        Whether the call made a new version.
    indexes : tuple of str
        Vector indexes that were built again.
    seconds : float
        Time that it took.
    """

    vector: str
    rows: int = 0
    embedded: int = 0
    resumed: int = 0
    blank: int = 0
    version: int = 0
    changed: bool = False
    indexes: tuple[str, ...] = ()
    seconds: float = 0.0

    def __str__(self) -> str:
        said = [f"{self.vector}: {self.embedded:,} rows embedded in {self.seconds:,.1f} s"]
        if self.resumed:
            said.append(f"{self.resumed:,} were finished before")
        if self.blank:
            said.append(f"{self.blank:,} have nothing to embed, and no vector")
        if self.indexes:
            said.append(f"index built again: {', '.join(self.indexes)}")
        said.append(f"version {self.version}" + ("" if self.changed else ", unchanged"))
        return "; ".join(said)


@dataclass(frozen=True)
class Estimate:
    """What work on a table would come to; nothing was written, sent or paid.

    Attributes
    ----------
    rows : int
        Rows that would be embedded.
    resumed : int
        Rows that an earlier call has finished.
    tokens : int or None
        Tokens in them, from a random sample; None: the function has no tokenizer here.
    seconds : float or None
        Time on this machine, or with the workers asked for, from embedding the sample, or from the
        limits of the provider; None: not known.
    usd : float or None
        US dollars by the catalogue's price, 0 for models on this machine; None: no price is known.
    sample : int
        Rows in the sample.
    basis : tuple of str
        What the figures rest on, sources and dates of prices among it.
    """

    rows: int
    resumed: int
    tokens: int | None
    seconds: float | None
    usd: float | None
    sample: int
    basis: tuple[str, ...] = ()

    @property
    def hours(self) -> float | None:
        """The time in hours."""
        return None if self.seconds is None else self.seconds / 3600

    def __str__(self) -> str:
        tokens = "unknown" if self.tokens is None else f"about {self.tokens:,}"
        took = "unknown" if self.seconds is None else str(timedelta(seconds=round(self.seconds)))
        money = "unknown" if self.usd is None else f"${self.usd:,.2f}"
        lines = [f"rows {self.rows:,}; tokens {tokens}; time {took}; cost {money}"]
        if self.resumed:
            lines.append(f"{self.resumed:,} more rows are finished already")
        return "\n".join([*lines, *self.basis])
