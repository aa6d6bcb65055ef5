"""Which of the texts that are near to a query are negatives for it."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lancedb_embedders.errors import ConfigurationError


@dataclass(frozen=True)
class Rules:
    """Which candidates are negatives; fields as in `mine_hard_negatives`."""

    num_negatives: int
    relative_margin: float | None
    margin: float | None
    max_score: float | None
    min_score: float | None
    range_min: int
    range_max: int

    def check(self) -> None:
        """Raise unless the rules fit together."""
        if self.num_negatives < 1:
            raise ConfigurationError(f"num_negatives={self.num_negatives} must be 1 or more")
        if self.range_min < 0 or self.range_max - self.range_min < self.num_negatives:
            raise ConfigurationError(
                f"range_min={self.range_min} to range_max={self.range_max} has no room for "
                f"{self.num_negatives} negatives"
            )
        if self.relative_margin is not None and not 0 <= self.relative_margin <= 1:
            raise ConfigurationError(f"relative_margin={self.relative_margin} is a share, 0 to 1")
        for name in ("margin", "max_score", "min_score"):
            value = getattr(self, name)
            if value is not None and not -1 <= value <= 2:
                raise ConfigurationError(f"{name}={value} is none of cosines, which are -1 to 1")

    def chosen(
        self,
        texts: Iterable[str],
        cosines: npt.NDArray[np.float64],
        positive: float,
        known: set[str],
        left_out: Counter[str],
    ) -> list[tuple[str, float]]:
        """Return the hardest texts that are negatives by these rules, with their cosine.

        Parameters
        ----------
        texts : iterable of str
            The nearest to the query, the nearest first.
        cosines : numpy.ndarray
            Theirs with the query.
        positive : float
            That of the positive with the query.
        known : set of str
            Keys of texts that are right for the query, or negatives already.
        left_out : collections.Counter
            Is told why others were left out.
        """
        most = [1.0 if self.max_score is None else self.max_score]
        if self.relative_margin is not None:
            most.append(positive - abs(positive) * self.relative_margin)
        if self.margin is not None:
            most.append(positive - self.margin)
        found: list[tuple[str, float]] = []
        seen = set(known)
        rank = 0
        for text, cosine in zip(texts, cosines.tolist(), strict=True):
            if key_of(text) in seen:
                left_out["right for the query, or there already"] += 1
                continue
            seen.add(key_of(text))
            rank += 1
            if rank <= self.range_min or rank > self.range_max:
                continue
            if cosine > min(most):
                left_out["too near: it may be right as well"] += 1
            elif self.min_score is not None and cosine < self.min_score:
                left_out["farther than min_score"] += 1
            else:
                found.append((text, cosine))
                if len(found) == self.num_negatives:
                    break
        return found


def key_of(text: str) -> str:
    """Return what equal texts have in common, however they are written."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())
