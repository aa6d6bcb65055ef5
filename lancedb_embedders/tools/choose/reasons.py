"""Why a model was chosen, and why others were not, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lancedb_embedders.catalog import ModelCard, Score
from lancedb_embedders.languages import UNLISTED
from lancedb_embedders.tools.choose.choices import Wishes, is_english
from lancedb_embedders.tools.choose.ranking import Ranking
from lancedb_embedders.tools.choose.workload import is_static, query_milliseconds, work

_RULES = {
    "speed": "speed: the least computing for each text, as far as the cards tell",
    "balanced": "balanced: the most score for its size, score and logarithm of the size weighed "
    "alike",
    "quality": "quality: the highest published score",
}


def reasons_for(ranking: Ranking, wishes: Wishes, priority: str) -> Iterator[str]:
    """Yield the reasons for the first model of a ranking."""
    card = ranking.cards[0]
    rule = _RULES[priority]
    if ranking.benchmark is None and priority != "speed":
        rule = f"{priority}, by size and price alone"
    yield f"{rule}, among {len(ranking.cards)} models that fit"
    yield from _about_scores(card, ranking)
    yield from _about_languages(ranking, wishes)
    if priority != "quality" and card.provider != "local":
        yield "no model of the catalogue that fits runs on this machine"
    yield _about_size(card)
    yield f"vectors of {card.dims:,} dimensions{_cuts(card)}; {_takes(card)} at once"
    if card.provider == "local":
        yield "it runs on this machine: texts stay here, and nothing is paid for them"
    else:
        yield f"it is hosted by {card.provider}: texts are sent there; {_price(card)}"
    yield f"languages: {_languages(card, wishes)}"
    yield f"licence: {card.licence} ({card.source}, {card.date})"
    if card.trust_remote_code:
        yield (
            "its repository brings code of its own, which runs only with "
            "LANCEDB_EMBEDDERS_TRUST_REMOTE_CODE=1"
        )
    if wishes.latency is not None:
        yield (
            f"a query takes about {query_milliseconds(card):,.0f} ms, reckoned by its size from "
            "all-MiniLM-L6-v2 on two cores"
        )
    if wishes.use_case == "long documents":
        yield "longer documents are embedded by windows, and nothing of them is cut off"


def why_not_first(card: ModelCard, ranking: Ranking) -> str:
    """Return what puts a model behind the first one."""
    first = ranking.cards[0]
    found = []
    if card.trust_remote_code and not first.trust_remote_code:
        found.append("it runs code of its repository")
    if card.provider != "local" and first.provider == "local":
        found.append(f"it is hosted by {card.provider}: {_price(card)}")
    own, best = ranking.score(card), ranking.score(first)
    if own is not None and best is not None:
        found.append(_compared(own, best))
    elif ranking.benchmark is not None and own is None:
        found.append(f"no published score on {_named(ranking.benchmark)} to compare it by")
    if math.isfinite(work(card)) and math.isfinite(work(first)) and work(card) != work(first):
        found.append(_weighed(work(card) / work(first)))
    if card.price is not None and first.price is not None:
        found.append(
            f"${card.price.usd_per_million_tokens:g} a million tokens to "
            f"${first.price.usd_per_million_tokens:g}"
        )
    return "; ".join(found) or "equal in all that was compared; by name it comes later"


def _about_scores(card: ModelCard, ranking: Ranking) -> Iterator[str]:
    if ranking.benchmark is None:
        yield (
            "no published score compares these models; measure the first few on your own texts "
            "with evaluate_retrieval"
        )
        return
    own = ranking.score(card)
    others = [score.value for one in ranking.cards if (score := ranking.score(one)) is not None]
    if own is None:
        yield (
            f"it has no published score on {_named(ranking.benchmark)}, by which "
            f"{len(others)} of the models were compared"
        )
    else:
        place = 1 + sum(value > own.value for value in others)
        yield f"{_cited(own)}; place {place} of the {len(others)} models that have one"
    for score in ranking.scores(card):
        if score is not own:
            yield _cited(score)


def _about_languages(ranking: Ranking, wishes: Wishes) -> Iterator[str]:
    foreign = [language for language in wishes.languages if not is_english(language)]
    if foreign and ranking.benchmark is not None and "Multilingual" not in ranking.benchmark[0]:
        yield (
            f"{ranking.benchmark[0]} is in English, and tells less of {', '.join(foreign)}; too "
            "few of the models share a score in other languages"
        )


def _cited(score: Score) -> str:
    return f"{score.value:g} on {score.benchmark}, {score.metric} ({score.source}, {score.date})"


def _named(benchmark: tuple[str, str]) -> str:
    return f"{benchmark[0]}, {benchmark[1]}"


def _compared(own: Score, best: Score) -> str:
    return f"{own.value:g} to {best.value:g} on {own.benchmark}, {own.metric}"


def _weighed(ratio: float) -> str:
    return f"{ratio:.2g} times the computing"


def _about_size(card: ModelCard) -> str:
    if is_static(card):
        return f"a table of token vectors, no transformer: {card.parameters or 0:,} weights"
    if card.parameters is None:
        return "its number of weights is not published"
    return f"{card.parameters:,} weights"


def _cuts(card: ModelCard) -> str:
    if not card.truncate_dims:
        return ""
    return f", which may be cut to {', '.join(map(str, card.truncate_dims))}"


def _takes(card: ModelCard) -> str:
    return "any number of tokens" if card.context is None else f"{card.context:,} tokens"


def _languages(card: ModelCard, wishes: Wishes) -> str:
    if UNLISTED & set(card.languages):
        count = f"about {card.languages_count}" if card.languages_count else "many"
        known = f"{count}, which its page does not list"
    elif len(card.languages) == 1:
        known = card.languages[0]
    else:
        known = f"{len(card.languages)} listed"
    asked = f"{', '.join(wishes.languages)} among them" if wishes.languages else "English assumed"
    return f"{known}; {asked}"


def _price(card: ModelCard) -> str:
    if card.price is None:
        return "its price is not known"
    price = card.price
    return f"${price.usd_per_million_tokens:g} a million tokens ({price.source}, {price.date})"
