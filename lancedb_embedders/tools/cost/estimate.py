"""`estimate_cost`: what embedding texts, a table or files would come to, before any is embedded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from lancedb_embedders import catalog
from lancedb_embedders.cache import VectorCache, shared_cache
from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.hosted.embedder import HostedEmbedder
from lancedb_embedders.hosted.usage import dollars, price_of
from lancedb_embedders.local.embedder import LocalTextEmbedder
from lancedb_embedders.local.locate import at_hand
from lancedb_embedders.progress import progress_bar
from lancedb_embedders.settings import settings
from lancedb_embedders.stored import registered
from lancedb_embedders.tables.estimate import seconds_for
from lancedb_embedders.tools.cost.counting import is_here
from lancedb_embedders.tools.cost.tally import Tally
from lancedb_embedders.tools.cost.text_stream import text_stream
from lancedb_embedders.tools.given import function_of, table_function
from lancedb_embedders.tools.result import Result, printable, rows_table

Cache = VectorCache | str | os.PathLike[str] | bool | None


@dataclass(frozen=True)
class CostEstimate(Result):
    """What embedding some texts would come to.

    Attributes
    ----------
    model, function : str
        Name of the model, and of its function in LanceDB's registry.
    rows : int
        Rows that were read, blank ones included.
    texts : int
        Texts that would be embedded: equal ones count once, those in the cache not at all.
    cached : int
        Different texts whose vectors are in the cache that was named.
    too_long : int
        Different texts of more tokens than the model takes.
    tokens : int
        Tokens of `texts`, prompts included, as they would be sent or run.
    exact : bool
        Whether the model's own tokenizer counted them; else `tokens` is an estimate.
    low, high : int
        The fewest tokens that are likely, and the most that are possible; `tokens` if exact.
    usd : float or None
        US dollars at the normal price, 0.0 on this machine; None: no price is known.
    usd_low, usd_high : float or None
        The same for `low` and `high`.
    batch_usd : float or None
        US dollars at the provider's price for batches, if it has one.
    hours : float or None
        Hours on this machine, where that was measured.
    source, date : str or None, datetime.date or None
        Where the price was taken from, and when.
    notes : tuple of str
        How the figures came about, and what to look at.
    """

    model: str
    function: str
    rows: int
    texts: int
    cached: int
    too_long: int
    tokens: int
    exact: bool
    low: int
    high: int
    usd: float | None
    usd_low: float | None
    usd_high: float | None
    batch_usd: float | None
    hours: float | None
    source: str | None
    date: date | None
    notes: tuple[str, ...]

    def table(self) -> Any:
        """Return the figures, one a line, and the notes below."""
        from rich.console import Group
        from rich.text import Text

        between = "" if self.exact else f", {self.low:,} to {self.high:,}"
        lines = [
            ("rows", f"{self.rows:,}"),
            ("texts to embed", f"{self.texts:,}"),
            ("in the cache", f"{self.cached:,}"),
            ("tokens", f"{'' if self.exact else 'about '}{self.tokens:,}{between}"),
            ("cost", _money(self.usd)),
        ]
        if not self.exact and self.usd:
            lines.append(("cost, at most", _money(self.usd_high)))
        if self.batch_usd is not None:
            lines.append(("cost by batches", _money(self.batch_usd)))
        if self.hours is not None:
            lines.append(("time here", f"{self.hours:,.3g} hours"))
        if self.source is not None:
            lines.append(("price from", f"{self.source}, {self.date}"))
        figures = rows_table(
            f"Cost with {self.model} ({self.function})", [("", "left"), ("", "right")], lines
        )
        figures.show_header = False
        return Group(figures, *(Text(printable(f"- {note}")) for note in self.notes))


def estimate_cost(
    texts: Any,
    model: Embedder | str | os.PathLike[str] | None = None,
    *,
    column: str | None = None,
    cache: Cache = None,
    measure: bool = False,
    progress: bool | None = None,
    **options: Any,
) -> CostEstimate:
    """Say what embedding texts would come to; nothing is sent, downloaded or paid.

    Texts are counted as the function takes them: prompts added, cleaned if it cleans, blank ones
    left out, equal ones once, long ones cut or split as its options say.

    Parameters
    ----------
    texts : iterable of str, pyarrow.Array, lancedb.table.Table, path or list of path
        Texts; a table; or files and folders as `pathlib.Path` (Parquet, JSON lines, CSV, text).
        Tables and files are read batch by batch.
    model : Embedder or str or path, optional
        A function, whose own options count; a model of the catalogue, a registry name, or a model
        on this machine. None: the function of the table.
    column : str, optional
        Column of the texts; None: the one that the table embeds, else ``"text"``.
    cache : VectorCache or path or bool, optional
        Cache whose vectors need not be made again, by itself or by its folder; True: that of this
        process (of the function, if it has ``cache_dir``). None: none is looked into.
    measure : bool, default False
        Embed up to 64 of the texts on this machine, to tell the hours of all.
    progress : bool, optional
        Show a progress bar past two seconds; None: only on a terminal.
    **options
        For ``create()``, where a model is named: ``document_prompt``, ``max_length``, ...

    Returns
    -------
    CostEstimate
        Tokens, exact or with bounds, US dollars by the catalogue's price, and the price's source.

    Raises
    ------
    ConfigurationError
        The catalogue has no price for `model` and it is not on this machine, or no such column.
    InputError
        A value that is no text, with its row.

    Notes
    -----
    Prices are those of `lancedb_embedders.catalog`, whose day is in `CostEstimate.date`. Where the
    model's tokenizer is not on this machine, `lancedb_embedders.tools.cost.token_estimate` says how
    tokens are estimated and what the error was measured on.

    Examples
    --------
    >>> estimate = estimate_cost(["Python is great"] * 1000, "text-embedding-3-small")
    >>> estimate.texts, estimate.usd < 0.000001
    (1, True)
    """
    function = _function(texts, model, options)
    stream = text_stream(texts, column)
    tally = Tally(function, _opened(cache, function))
    with progress_bar(stream.rows, "rows", progress, desc="Counting") as bar:
        for values in stream.batches():
            bar.update(tally.add(values))
    notes = tally.notes()
    hours = None
    if measure:
        hours, basis = _hours(function, tally)
        notes.append(basis)
    return _estimate(function, tally, hours, notes)


def _estimate(
    function: Embedder, tally: Tally, hours: float | None, notes: list[str]
) -> CostEstimate:
    name = str(getattr(function, "name", function.registry_name))
    provider = price = None
    if isinstance(function, HostedEmbedder):
        provider = function.provider
        price = price_of(name, provider)

    def cost(tokens: int, batch: bool = False) -> float | None:
        return None if provider is None else dollars(name, provider, tokens, batch)

    usd, usd_low, usd_high = (cost(n) for n in (tally.tokens, tally.low, tally.high))
    if isinstance(function, LocalTextEmbedder):
        usd = usd_low = usd_high = 0.0
    elif usd is None:
        notes.append(f"the catalogue has no price for {name}")
    offers_batches = price is not None and price.batch_usd_per_million_tokens is not None
    return CostEstimate(
        model=name,
        function=str(function.registry_name),
        rows=tally.rows,
        texts=tally.texts,
        cached=tally.cached,
        too_long=tally.too_long,
        tokens=tally.tokens,
        exact=tally.exact,
        low=tally.low,
        high=tally.high,
        usd=usd,
        usd_low=usd_low,
        usd_high=usd_high,
        batch_usd=cost(tally.tokens, batch=True) if offers_batches else None,
        hours=hours,
        source=None if price is None else price.source,
        date=None if price is None else price.date,
        notes=tuple(notes),
    )


def _function(texts: Any, model: Any, options: dict[str, Any]) -> Embedder:
    if model is None:
        if options or not hasattr(texts, "to_lance"):
            raise ConfigurationError("say which model is to embed: a function, or its name")
        return table_function(texts)[0]
    if isinstance(model, Embedder):
        function = function_of(model, **options)
        if getattr(function, "source", "text") != "text":
            raise ConfigurationError(
                'the function takes pictures, which have no tokens; create it with source="text" '
                "to count texts"
            )
        return function
    name = os.fspath(model)
    made, card = registered().get(name), catalog.find(name)
    if made is None and card is None and not _is_model(name):
        raise ConfigurationError(_unknown(name))
    if made is None and card is not None:
        made = registered()[card.function]
    if made is not None and "source" in made.model_fields:
        options = {"source": "text", **options}
    return function_of(name, **options)


def _is_model(name: str) -> bool:
    return Path(name).is_dir() or at_hand(name, None, None, settings.models, False) is not None


def _unknown(name: str) -> str:
    priced = [card.name for card in catalog.cards().values() if card.price is not None]
    return (
        f"there is no price for {name!r} in the catalogue, and no such model on this machine; "
        f"there is a price for: {', '.join(priced)}"
    )


def _opened(cache: Cache, function: Embedder) -> VectorCache | None:
    if cache is None or cache is False:
        return None
    if isinstance(cache, VectorCache):
        return cache
    if cache is True:
        given = function.process_options()
        folder = given.get("cache_dir") or settings.cache_dir
        found = shared_cache(folder, settings.cache_max_size)
        return found if found.path.exists() else None  # or looking would make the file
    folder = Path(cache).expanduser()
    found = shared_cache(folder, settings.cache_max_size)
    if not found.path.exists():
        raise ConfigurationError(f"there is no cache in the folder {folder}")
    return found


def _hours(function: Embedder, tally: Tally) -> tuple[float | None, str]:
    if not isinstance(function, LocalTextEmbedder):
        return None, "time was not measured: the model does not run on this machine"
    if not is_here(function):
        return None, f"time was not measured: {function.name} is not on this machine"
    if not tally.tokens:
        return 0.0, "time: there is nothing to embed"
    seconds, tokens = seconds_for(function, tally.sample), tally.count(tally.sample)
    return seconds / tokens * tally.tokens / 3600, (
        f"time from {len(tally.sample)} of the texts, of {tokens:,} tokens, embedded here in "
        f"{seconds:.3g} seconds"
    )


def _money(usd: float | None) -> str:
    if usd is None:
        return "no price known"
    return "under $0.000001" if 0 < usd < 1e-6 else f"${usd:,.6f}".rstrip("0").rstrip(".")
