"""Models that fit, in order: by one benchmark that they share, by size, or by both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lancedb_embedders.catalog import ModelCard, Score
from lancedb_embedders.tools.choose.choices import Benchmark
from lancedb_embedders.tools.choose.workload import is_static, work

# A benchmark that fewer models have decides only if no other has more.
_ENOUGH = 3


@dataclass(frozen=True)
class Ranking:
    """Models in order, and what decided.

    Attributes
    ----------
    cards : list of ModelCard
        The first is the answer.
    benchmark : (str, str) or None
        Benchmark and metric that models were compared by; None: they share none.
    benchmarks : tuple of (str, str)
        All that tell something of the use case.
    """

    cards: list[ModelCard]
    benchmark: Benchmark | None
    benchmarks: tuple[Benchmark, ...]

    def score(self, card: ModelCard) -> Score | None:
        """Return a model's score on the benchmark that decided."""
        return None if self.benchmark is None else score_on(card, self.benchmark)

    def scores(self, card: ModelCard) -> list[Score]:
        """Return a model's scores on all benchmarks that tell."""
        found = [score_on(card, benchmark) for benchmark in self.benchmarks]
        return [score for score in found if score is not None]


def score_on(card: ModelCard, benchmark: Benchmark) -> Score | None:
    """Return a model's score on one benchmark and metric."""
    return next((s for s in card.scores if (s.benchmark, s.metric) == benchmark), None)


def ranked(cards: Sequence[ModelCard], benchmarks: tuple[Benchmark, ...], priority: str) -> Ranking:
    """Put models in order.

    Models that run code of their repository come last, then hosted ones unless quality is asked,
    then those without a published score that tells. Of the others, ``"speed"`` takes the least
    work, ``"quality"`` the highest score on the benchmark that decides (where there is none, the
    smallest transformer), ``"balanced"`` the largest difference of score and logarithm of work,
    both from 0 to 1 among the models.

    Parameters
    ----------
    cards : sequence of ModelCard
        Those that fit.
    benchmarks : tuple of (str, str)
        Which tell something, the most telling first.
    priority : {"speed", "balanced", "quality"}
        What counts.
    """
    deciding = _deciding(cards, benchmarks)
    ranking = Ranking(list(cards), deciding, benchmarks)
    gains = _gains(ranking) if priority == "balanced" else {}

    def key(card: ModelCard) -> tuple[object, ...]:
        score = ranking.score(card)
        behind = (
            card.trust_remote_code,
            card.provider != "local" and priority != "quality",
            not ranking.scores(card),
        )
        points = math.inf if score is None else -score.value
        order: tuple[float, ...] = (points, is_static(card), work(card))
        if priority == "speed":
            order = (work(card), points)
        elif priority == "balanced":
            order = (-gains.get(card.name, -math.inf), work(card), points)
        usd = 0.0 if card.price is None else card.price.usd_per_million_tokens
        return (*behind, *order, usd, card.name)

    return Ranking(sorted(cards, key=key), deciding, benchmarks)


def _deciding(cards: Sequence[ModelCard], benchmarks: tuple[Benchmark, ...]) -> Benchmark | None:
    covered = {b: sum(score_on(card, b) is not None for card in cards) for b in benchmarks}
    enough = [benchmark for benchmark, count in covered.items() if count >= _ENOUGH]
    if enough:
        return enough[0]
    most = max(covered, key=lambda benchmark: covered[benchmark], default=None)
    return most if most is not None and covered[most] else None


def _gains(ranking: Ranking) -> dict[str, float]:
    compared = {
        card.name: (score.value, math.log(work(card)))
        for card in ranking.cards
        if not card.trust_remote_code
        and (score := ranking.score(card)) is not None
        and math.isfinite(work(card))
    }
    if not compared:
        return {}
    lowest, highest = (
        [pick(values[i] for values in compared.values()) for i in (0, 1)] for pick in (min, max)
    )

    def scaled(value: float, i: int) -> float:
        span = highest[i] - lowest[i]
        return (value - lowest[i]) / span if span else 0.0

    # Rounded, so that a tie is one whatever the last bit.
    return {name: round(scaled(q, 0) - scaled(w, 1), 9) for name, (q, w) in compared.items()}
