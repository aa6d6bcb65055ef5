"""What requests came to, in tokens and US dollars, and what they would come to."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from lancedb_embedders import catalog
from lancedb_embedders.errors import ConfigurationError


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


@dataclass(frozen=True)
class CostEstimate:
    """What embedding some texts would cost.

    Attributes
    ----------
    model : str
        Name of the model.
    texts : int
        Texts that would be paid for: equal ones count once.
    tokens : int
        Their tokens: exact, or an upper bound.
    exact : bool
        Whether the tokens were counted by the model's own tokenizer; otherwise UTF-8 bytes were
        counted, of which English has about four a token.
    usd, batch_usd : float or None
        US dollars at the normal price, and at the provider's for batches, if it has one.
    source, date : str, datetime.date
        Where the price was taken from, and when.
    """

    model: str
    texts: int
    tokens: int
    exact: bool
    usd: float
    batch_usd: float | None
    source: str
    date: date


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


def estimate_cost(texts: Iterable[str], model: str) -> CostEstimate:
    """Say what embedding texts would cost, before anything is sent.

    Parameters
    ----------
    texts : iterable of str
        Texts, as they would be added; equal ones are paid once.
    model : str
        Name of a hosted model in the catalogue.

    Raises
    ------
    ConfigurationError
        The catalogue has no price for `model`.

    Examples
    --------
    >>> estimate = estimate_cost(["Python is great"] * 1000, "text-embedding-3-small")
    >>> estimate.texts, estimate.usd < 0.000001
    (1, True)
    """
    from lancedb_embedders.hosted.tokens import counter

    card = catalog.find(model)
    if card is None or card.price is None:
        priced = [known.name for known in catalog.cards().values() if known.price is not None]
        raise ConfigurationError(
            f"there is no price for {model!r} in the catalogue; there is one for: "
            f"{', '.join(priced)}"
        )
    prompt = card.document_prompt
    different = list(dict.fromkeys(prompt + text for text in texts if text and text.strip()))
    counting = counter(card.encoding, card.tokenizer)
    tokens = int(counting.count(different).sum()) if different else 0
    usd = dollars(card.name, card.provider, tokens)
    assert usd is not None
    batch = card.price.batch_usd_per_million_tokens is not None
    return CostEstimate(
        model=card.name,
        texts=len(different),
        tokens=tokens,
        exact=counting.exact,
        usd=usd,
        batch_usd=dollars(card.name, card.provider, tokens, batch=True) if batch else None,
        source=card.price.source,
        date=card.price.date,
    )
