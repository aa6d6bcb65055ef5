"""`choose_model` and `recommend_model`: a model of the catalogue for what it is to be used for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, cast

from lancedb_embedders.catalog import ModelCard, cards
from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.stored import registered
from lancedb_embedders.tools.choose.choices import (
    Wishes,
    benchmarks_for,
    price_of_rows,
    sifted,
    use_case_named,
)
from lancedb_embedders.tools.choose.index_advice import Priority, Stored, advise_index, storage_of
from lancedb_embedders.tools.choose.measured import measured_times
from lancedb_embedders.tools.choose.ranking import ranked
from lancedb_embedders.tools.choose.reasons import reasons_for, why_not_first
from lancedb_embedders.tools.choose.recommendation import Alternative, Recommendation, RoughCost
from lancedb_embedders.tools.choose.workload import query_milliseconds

#: What counts in the choice among models that fit.
PRIORITIES = ("speed", "balanced", "quality")

_PRIVACY = ("any", "local")
# Assumed where it is not said: rows of a paragraph, or of about seven pages.
_ROWS = 100_000
_TOKENS_PER_ROW = 256
_TOKENS_PER_DOCUMENT = 4096
_MOST_ALTERNATIVES = 5


def choose_model(
    use_case: str = "general",
    priority: str = "balanced",
    *,
    privacy: str = "any",
    languages: Iterable[str] | None = None,
    commercial: bool = True,
) -> Recommendation:
    """Choose a model by use case and priority; `recommend_model` takes more wishes.

    Parameters
    ----------
    use_case : str
        ``"general"``, ``"qa"``, ``"retrieval"``, ``"multilingual"``, ``"multimodal"`` (pictures and
        texts), ``"long documents"`` or ``"code"``.
    priority : {"speed", "balanced", "quality"}
        ``"quality"`` takes the highest published score, hosted models included; the others prefer
        models that run on this machine, the smallest of them, or the best for its size.
    privacy, languages, commercial
        As in `recommend_model`.

    Returns
    -------
    Recommendation
        Its ``create()`` makes the function.

    Raises
    ------
    ConfigurationError
        An unknown value, or wishes that no model of the catalogue meets.

    Examples
    --------
    >>> choose_model("multimodal", "speed").function
    'clip'
    """
    return recommend_model(
        use_case, priority=priority, privacy=privacy, languages=languages, commercial=commercial
    )


def recommend_model(
    use_case: str = "general",
    *,
    priority: str = "balanced",
    budget: float | None = None,
    latency: float | None = None,
    privacy: str = "any",
    dataset_size: int | None = None,
    tokens_per_row: int | None = None,
    languages: Iterable[str] | None = None,
    commercial: bool = True,
    stored: Stored = "float32",
    filtered: bool = False,
    measure: bool = False,
) -> Recommendation:
    """Recommend a model, its storage, the index to build, and what embedding costs.

    Parameters
    ----------
    use_case, priority : str
        As in `choose_model`.
    budget : float, optional
        US dollars that embedding all rows once may cost; needs `dataset_size`.
    latency : float, optional
        Milliseconds that embedding a query may take. Hosted models are left out then: how fast
        they answer is not in the catalogue.
    privacy : {"any", "local"}
        ``"local"``: texts must not leave this machine.
    dataset_size : int, optional
        Rows of the table; None: 100,000 are assumed.
    tokens_per_row : int, optional
        Tokens of a row on average, which the model must take at once (but not of long documents,
        which are cut into windows); None: 256 are assumed for the cost, 4,096 of long documents.
    languages : iterable of str, optional
        BCP 47 codes; the model must know all of them. None: English. Of models that list no
        languages by name only English is taken for known.
    commercial : bool, default True
        Leave out models whose licence forbids commercial use or is stated nowhere.
    stored : {"float32", "float16", "binary"}
        How the vectors will be stored, for the index.
    filtered : bool, default False
        Whether most searches will have a ``where(...)``, for the index.
    measure : bool, default False
        Embed some texts and queries on this machine, if the model is here.

    Returns
    -------
    Recommendation
        Model, function, reasons, alternatives, storage, index and cost.

    Raises
    ------
    ConfigurationError
        An unknown or unfit value; or no model meets all wishes, and then the message says which
        wish excludes how many models, and which one to relax.

    Notes
    -----
    Every answer follows from the cards in `lancedb_embedders.catalog` by the rules of
    `lancedb_embedders.tools.choose.ranking` and `lancedb_embedders.tools.choose.choices`. Scores
    are compared within one benchmark only: the most telling one of the use case that three of the
    models have.
    A published score says little of other texts: measure the first few on your own with
    `evaluate_retrieval`.

    Examples
    --------
    >>> found = recommend_model("retrieval", languages=["de", "fr"], dataset_size=2_000_000)
    >>> found.function, found.index.kind, found.cost.usd
    ('multilingual', 'IVF_HNSW_SQ', 0.0)
    """
    name = use_case_named(use_case)
    long = name == "long documents"
    wishes = Wishes(
        use_case=name,
        privacy=_one_of("privacy", privacy, _PRIVACY),
        languages=_codes(languages),
        budget=_number("budget", budget, least=0),
        latency=_number("latency", latency),
        rows=_count("dataset_size", dataset_size) or _ROWS,
        tokens_per_row=_count("tokens_per_row", tokens_per_row)
        or (_TOKENS_PER_DOCUMENT if long else _TOKENS_PER_ROW),
        whole_rows=tokens_per_row is not None and not long,
        commercial=commercial,
    )
    _one_of("priority", priority, PRIORITIES)
    if budget is not None and dataset_size is None:
        raise ConfigurationError("budget=... is for all rows: say how many by dataset_size=...")
    fits, refused = sifted(wishes)
    ranking = ranked(fits, benchmarks_for(wishes), priority)
    first, *others = ranking.cards
    function, options = _function_for(first, name)
    return Recommendation(
        use_case=name,
        priority=priority,
        model=first.name,
        function=function,
        card=first,
        options=options,
        reasons=tuple(reasons_for(ranking, wishes, priority)),
        alternatives=tuple(
            Alternative(card.name, _function_for(card, name)[0], why_not_first(card, ranking))
            for card in others[:_MOST_ALTERNATIVES]
        ),
        excluded=tuple(
            Alternative(other, cards()[other].function, "; ".join(one.reason for one in against))
            for other, against in refused.items()
        ),
        storage=storage_of(wishes.rows, first.dims),
        index=advise_index(
            wishes.rows,
            first.dims,
            stored=stored,
            priority=cast("Priority", priority),
            filtered=filtered,
        ),
        cost=_cost(first, function, options, wishes, measure),
    )


def _function_for(card: ModelCard, use_case: str) -> tuple[str, dict[str, Any]]:
    """Return the function that serves a model best in a use case, and its options."""
    options: dict[str, Any] = {"name": card.name}
    if use_case != "long documents":
        return card.function, options
    if card.provider == "local":
        return "long-document", options
    return card.function, {**options, "on_overflow": "chunk"}


def _cost(
    card: ModelCard, function: str, options: dict[str, Any], wishes: Wishes, measure: bool
) -> RoughCost:
    tokens = wishes.rows * wishes.tokens_per_row
    notes = [f"for {wishes.rows:,} rows of {wishes.tokens_per_row:,} tokens"]
    batch_usd = None
    if card.price is not None:
        notes.append(
            f"at ${card.price.usd_per_million_tokens:g} a million ({card.price.source}, "
            f"{card.price.date})"
        )
        if card.price.batch_usd_per_million_tokens is not None:
            batch_usd = tokens * card.price.batch_usd_per_million_tokens / 1e6
    hours, query_ms = None, query_milliseconds(card)
    if measure:
        times = measured_times(registered()[function].create(**options), wishes.tokens_per_row)
        notes.append(times.note)
        if times.seconds_per_row is not None:
            hours = times.seconds_per_row * wishes.rows / 3600
            query_ms = times.query_ms
    return RoughCost(
        rows=wishes.rows,
        tokens_per_row=wishes.tokens_per_row,
        tokens=tokens,
        usd=price_of_rows(card, wishes.rows, wishes.tokens_per_row),
        batch_usd=batch_usd,
        hours=hours,
        query_ms=query_ms,
        note=", ".join(notes),
    )


def _one_of(name: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise ConfigurationError(f"{name}={value!r} is not known; there are: {', '.join(known)}")
    return value


def _codes(languages: Iterable[str] | None) -> tuple[str, ...]:
    if isinstance(languages, str):
        raise ConfigurationError(f"languages={languages!r} is one string; give a list of codes")
    return tuple(dict.fromkeys(languages or ()))


def _number(name: str, value: float | None, least: float | None = None) -> float | None:
    if value is None:
        return None
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not fits or (value <= 0 if least is None else value < least):
        raise ConfigurationError(f"{name}={value!r} does not fit: it is a number above 0")
    return float(value)


def _count(name: str, value: int | None) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ConfigurationError(f"{name}={value!r} does not fit: it is a whole number from 1 up")
    return value
