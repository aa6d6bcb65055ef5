"""Which models of the catalogue fit a use case and a user's wishes; what excludes the others.

Everything is decided by the facts on the cards. What a use case asks for is in `USE_CASES`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from lancedb_embedders import catalog
from lancedb_embedders.catalog import ModelCard
from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.languages import UNLISTED, supported
from lancedb_embedders.stored import registered
from lancedb_embedders.tools.choose.workload import query_milliseconds

#: A benchmark and a metric of it: scores compare within one of these only.
Benchmark = tuple[str, str]

_GENERAL = (
    ("MTEB(eng, v2)", "mean"),
    ("MTEB(eng, v1)", "mean"),
    ("STSBenchmark", "test Spearman"),
)
_RETRIEVAL = (("BEIR", "mean nDCG@10"), ("SciFact", "test nDCG@10"))
_QUESTIONS = (("SBERT semantic search (6 datasets)", "mean"), *_RETRIEVAL)
_LANGUAGES = (
    ("MTEB(Multilingual, v2)", "mean (task)"),
    ("MTEB(Multilingual, v2)", "retrieval mean (18 tasks)"),
)


@dataclass(frozen=True)
class UseCase:
    """What a use case asks of a model.

    Attributes
    ----------
    benchmarks : tuple of (str, str)
        Benchmarks that tell how good a model is at it, the most telling first.
    modality : str
        What it has to take.
    context : int
        Tokens that it has to take at once.
    many_languages : bool
        Whether it has to know more than one.
    word : str or None
        What its name says if it was made for this.
    """

    benchmarks: tuple[Benchmark, ...]
    modality: str = "text"
    context: int = 0
    many_languages: bool = False
    word: str | None = None


USE_CASES: Mapping[str, UseCase] = {
    "general": UseCase(_GENERAL),
    "qa": UseCase(_QUESTIONS),
    "retrieval": UseCase(_RETRIEVAL),
    "multilingual": UseCase(_LANGUAGES, many_languages=True),
    "multimodal": UseCase((("ImageNet zero-shot", "top-1 accuracy"),), modality="image"),
    "long documents": UseCase(_RETRIEVAL, context=2048),
    "code": UseCase((), word="code"),
}


@dataclass(frozen=True)
class Wishes:
    """What a user asks for; see `recommend_model`.

    Attributes
    ----------
    rows, tokens_per_row : int
        As given, or as assumed.
    whole_rows : bool
        Whether a model has to take `tokens_per_row` at once.
    """

    use_case: str
    privacy: str = "any"
    languages: tuple[str, ...] = ()
    budget: float | None = None
    latency: float | None = None
    rows: int = 0
    tokens_per_row: int = 0
    whole_rows: bool = False
    commercial: bool = True


@dataclass(frozen=True)
class Refusal:
    """Why a model does not fit: the wish, as it was given, and the reason."""

    wish: str
    reason: str


def use_case_named(name: str) -> str:
    """Return the name of a use case; hyphens and underscores count as spaces.

    Raises
    ------
    ConfigurationError
        There is no such use case; names those that there are.
    """
    known = str(name).strip().lower().replace("-", " ").replace("_", " ")
    if known not in USE_CASES:
        raise ConfigurationError(
            f"use_case={name!r} is not known; there are: {', '.join(USE_CASES)}"
        )
    return known


def benchmarks_for(wishes: Wishes) -> tuple[Benchmark, ...]:
    """Return the benchmarks that tell, the most telling first."""
    own = USE_CASES[wishes.use_case].benchmarks
    foreign = any(not is_english(language) for language in wishes.languages)
    return tuple(dict.fromkeys((*_LANGUAGES, *own))) if foreign and own else own


def sifted(wishes: Wishes) -> tuple[list[ModelCard], dict[str, list[Refusal]]]:
    """Return the models that fit, and for each of the others what excludes it.

    Raises
    ------
    ConfigurationError
        None fits; says which wish excluded which, and which to relax.
    """
    for language in wishes.languages:
        supported(language, ["en"])  # a code that is none is an error whatever the models
    fits, refused = [], {}
    for card in catalog.cards().values():
        against = refusals(card, wishes)
        if against:
            refused[card.name] = against
        else:
            fits.append(card)
    if not fits:
        raise ConfigurationError(_nothing_fits(refused))
    return fits, refused


def refusals(card: ModelCard, wishes: Wishes) -> list[Refusal]:
    """Return all that speaks against a model; nothing if it fits."""
    use_case = f"use_case={wishes.use_case!r}"
    found = [Refusal(use_case, reason) for reason in _unfit(card, USE_CASES[wishes.use_case])]
    if wishes.privacy == "local" and card.provider != "local":
        found.append(Refusal("privacy='local'", f"texts would be sent to {card.provider}"))
    for language in wishes.languages:
        if not knows(card, language):
            lists = "lists no languages by name" if UNLISTED & set(card.languages) else "lists not"
            found.append(Refusal(f"languages={list(wishes.languages)}", f"{lists} {language}"))
            break
    if wishes.commercial and (why := _not_commercial(card)):
        found.append(Refusal("commercial=True", why))
    if wishes.whole_rows and card.context is not None and card.context < wishes.tokens_per_row:
        reason = f"it takes {card.context:,} tokens at once"
        found.append(Refusal(f"tokens_per_row={wishes.tokens_per_row}", reason))
    if wishes.budget is not None:
        usd = price_of_rows(card, wishes.rows, wishes.tokens_per_row)
        if usd is None or usd > wishes.budget:
            cost = "its price is not known" if usd is None else f"it would cost ${usd:,.2f}"
            found.append(Refusal(f"budget={wishes.budget:g}", cost))
    if wishes.latency is not None:
        took = query_milliseconds(card)
        if took is None or took > wishes.latency:
            time = "how fast it answers is not known" if took is None else f"about {took:,.0f} ms"
            found.append(Refusal(f"latency={wishes.latency:g}", time))
    return found


@lru_cache(maxsize=4096)
def knows(card: ModelCard, language: str) -> bool:
    """Tell whether a card lists a language; English is taken for one of many unlisted ones."""
    if UNLISTED & set(card.languages):
        return is_english(language)
    return supported(language, card.languages, card.name)


def price_of_rows(card: ModelCard, rows: int, tokens_per_row: int) -> float | None:
    """Return the US dollars that embedding rows costs; None: there is no price."""
    if card.provider == "local":
        return 0.0
    if card.price is None:
        return None
    return rows * tokens_per_row * card.price.usd_per_million_tokens / 1e6


def _unfit(card: ModelCard, use_case: UseCase) -> list[str]:
    found = []
    if use_case.modality not in card.modality:
        found.append(f"it takes no {use_case.modality}")
    elif use_case.modality == "image" and not _takes_pictures(card.function):
        found.append(f"its function {card.function} takes texts only")
    elif use_case.modality == "text" and card.function == "clip":
        found.append("it was made for captions of pictures")
    if card.context is not None and card.context < use_case.context:
        found.append(f"it takes {card.context:,} tokens at once, not {use_case.context:,}")
    if use_case.many_languages and set(card.languages) == {"en"}:
        found.append("it knows English only")
    made_for_code = "code" in card.name.lower().split("-")
    if (use_case.word == "code") != made_for_code:
        found.append("it was made for code" if made_for_code else "it was not made for code")
    return found


def _takes_pictures(function: str) -> bool:
    return "source" in registered()[function].model_fields


def _not_commercial(card: ModelCard) -> str | None:
    licence = card.licence.lower()
    if licence == "unstated":
        return "its page states no licence"
    return f"its licence is {card.licence}" if "-nc" in licence else None


def is_english(language: str) -> bool:
    """Tell whether a BCP 47 code is one of English."""
    return language.lower().split("-")[0] in ("en", "eng")


def _nothing_fits(refused: Mapping[str, Sequence[Refusal]]) -> str:
    by_wish: dict[str, list[str]] = {}
    alone: dict[str, list[str]] = {}
    for name, against in refused.items():
        wishes = {refusal.wish for refusal in against}
        for wish in wishes:
            by_wish.setdefault(wish, []).append(name)
        if len(wishes) == 1:
            alone.setdefault(wishes.pop(), []).append(name)
    excluded = "; ".join(
        f"{wish} excludes {len(names)} of {len(refused)} models"
        for wish, names in sorted(by_wish.items())
    )
    relaxed = "; ".join(
        f"without {wish} there would be {', '.join(names[:3])}"
        + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        for wish, names in sorted(alone.items())
    )
    advice = relaxed[:1].upper() + relaxed[1:] if relaxed else "Relax two of them"
    return f"no model of the catalogue fits: {excluded}. {advice}"
