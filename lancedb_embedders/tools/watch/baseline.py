"""What a function gives for ordinary text: the measure of what is too little."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from lancedb_embedders import observers
from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import EmbeddingError
from lancedb_embedders.settings import settings
from lancedb_embedders.tools.watch.rows import Float32, rows_of
from lancedb_embedders.tools.watch.spread import Spread, spread_of

# Samples of the baseline for each size of a batch.
_DRAWS = 40


@dataclass(frozen=True)
class Expected:
    """What as many ordinary texts as a batch has would give.

    Attributes
    ----------
    effective_rank, distance : float
        The lowest of 40 random samples of the baseline, which is about the 2.5 % quantile.
    variances : numpy.ndarray
        Of each dimension, the median over the samples.
    """

    effective_rank: float
    distance: float
    variances: npt.NDArray[np.float64]


class Baseline:
    """Vectors of a few hundred ordinary sentences on many topics.

    Parameters
    ----------
    vectors : numpy.ndarray
        float32, shape ``(n, dim)``.
    norms : numpy.ndarray
        Lengths of the single vectors, float64.
    """

    def __init__(self, vectors: Float32, norms: npt.NDArray[np.float64]) -> None:
        self.vectors = vectors
        self.norms = norms
        self._expected: dict[int, Expected] = {}

    def expected(self, size: int) -> Expected:
        """Return what `size` ordinary texts give, from samples without replacement."""
        if size not in self._expected:
            chance = np.random.default_rng(0)
            draws: list[Spread] = [
                spread_of(chance.choice(self.vectors, size, replace=False, axis=0))
                for _ in range(_DRAWS)
            ]
            self._expected[size] = Expected(
                effective_rank=min(draw.effective_rank for draw in draws),
                distance=min(draw.distance for draw in draws),
                variances=np.median([draw.variances for draw in draws], axis=0),
            )
        return self._expected[size]


@lru_cache(maxsize=16)
def baseline_of(function: Embedder) -> Baseline:
    """Embed the sentences that this package brings with a function, once a process.

    A hosted function is asked for them, about 4,500 tokens, and caches what it gets.

    Raises
    ------
    EmbeddingError
        The function cannot embed them.
    """
    texts = sentences()
    with (
        warnings.catch_warnings(),
        settings.override(progress=False),
        observers.quiet(),
    ):
        warnings.simplefilter("ignore")
        try:
            rows = rows_of(_plain(function).compute_source_embeddings(texts))
        except EmbeddingError:
            # Functions whose rows are no texts take them in a search.
            rows = rows_of([function.compute_query_embeddings(text)[0] for text in texts])
    return Baseline(rows.vectors, rows.norms)


def sentences() -> list[str]:
    """Return the sentences, which were written for this and are free to use."""
    text = files(__package__).joinpath("sentences.txt").read_text(encoding="utf-8")
    return text.splitlines()


def _plain(function: Embedder) -> Embedder:
    """Return the function for texts, where its rows are fields that a template joins."""
    if function.template is None:
        return function
    stored = {k: v for k, v in function.safe_model_dump().items() if k != "template"}
    return type(function).create(**stored)
