"""What requests came to, in tokens and US dollars."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from lancedb_embedders import catalog


@dataclass(frozen=True)
class Usage:
    """What was sent to a provider, and what it came to.

    Attributes
    ----------
    requests : int
        Requests that were answered.
    texts : int
        Texts that vectors were paid for.
    cached : int
        Texts whose vectors were in the cache.
    tokens : int
        Tokens, as the provider reports them; where it does not, as they were counted here.
    usd : float or None
        US dollars by the catalogue's price; None: there is no price for the model.
    """

    requests: int = 0
    texts: int = 0
    cached: int = 0
    tokens: int = 0
    usd: float | None = 0.0

    def __add__(self, other: Usage) -> Usage:
        """Return both together."""
        return Usage(
            self.requests + other.requests,
            self.texts + other.texts,
            self.cached + other.cached,
            self.tokens + other.tokens,
            None if self.usd is None or other.usd is None else self.usd + other.usd,
        )

    def __str__(self) -> str:
        money = "no price known" if self.usd is None else f"${self.usd:,.6f}"
        return (
            f"{self.texts:,} texts in {self.requests:,} requests, {self.cached:,} from the cache, "
            f"{self.tokens:,} tokens, {money}"
        )


class Ledger:
    """Adds up usage, from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._total = Usage()

    def add(self, usage: Usage) -> None:
        """Add to the total."""
        with self._lock:
            self._total += usage

    @property
    def total(self) -> Usage:
        """All that was added."""
        return self._total


_process: dict[tuple[str, str], Ledger] = {}
_lock = threading.Lock()


def process_ledger(function: str, model: str) -> Ledger:
    """Return the process's one ledger of a function and model."""
    with _lock:
        return _process.setdefault((function, model), Ledger())


def usage() -> dict[tuple[str, str], Usage]:
    """Return what this process has used: (function, model) -> `Usage`."""
    with _lock:
        return {key: ledger.total for key, ledger in _process.items()}


def price_of(model: str, provider: str | None = None) -> catalog.Price | None:
    """Return the catalogue's price of a hosted model, or None."""
    card = catalog.find(model)
    if card is None or (provider is not None and card.provider != provider):
        return None
    return card.price


def dollars(model: str, provider: str, tokens: int, batch: bool = False) -> float | None:
    """Return what tokens cost, in US dollars; None without a price."""
    price = price_of(model, provider)
    if price is None:
        return None
    rate = price.batch_usd_per_million_tokens if batch else None
    return tokens * (price.usd_per_million_tokens if rate is None else rate) / 1e6
