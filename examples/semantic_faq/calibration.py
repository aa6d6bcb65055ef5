"""From how alike question and entry are to the probability that the entry is right."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from lancedb_embedders import ConfigurationError


@dataclass(frozen=True)
class Calibration:
    """What `fit` learned; as it is here, the similarity itself is the confidence."""

    answer_weight: float = 0.2
    similarity: float = 0.0  # what a similarity of 1 adds to the log odds
    lead: float = 0.0  # the same of what it is above the second best
    intercept: float = 0.0
    threshold: float = 0.7

    def confidence(self, similarity: float, lead: float) -> float:
        if not self.similarity:
            return min(max(similarity, 0.0), 1.0)
        odds = self.similarity * similarity + self.lead * lead + self.intercept
        return 1 / (1 + math.exp(-odds))


@dataclass(frozen=True)
class Outcome:
    """What a question came to whose entry is known."""

    similarity: float
    lead: float
    right: bool
    answerable: bool


# Log loss, what was learned, and the confidence of each outcome.
_Tried = tuple[float, Calibration, npt.NDArray[np.float64]]


def shares(outcomes: Sequence[Outcome], unanswerable: float) -> npt.NDArray[np.float64]:
    """Return what each outcome counts where such a share of all questions can't be answered."""
    can = np.array([outcome.answerable for outcome in outcomes])
    counts = can.mean() or 1.0, 1 - can.mean() or 1.0
    return np.where(can, (1 - unanswerable) / counts[0], unanswerable / counts[1]) / len(can)


def fitted(
    by_weight: Mapping[float, Sequence[Outcome]], precision: float | None, unanswerable: float
) -> Calibration:
    """Learn from the outcomes that each weight of the answer leads to, and take the best weight.

    Raises `ConfigurationError` where nothing can be learned, or the precision can't be had.
    """
    tried = [_fitted(weight, outcomes, unanswerable) for weight, outcomes in by_weight.items()]
    _, learned, confident = min(tried, key=lambda one: one[0])
    outcomes = by_weight[learned.answer_weight]
    counts = shares(outcomes, unanswerable)
    order = np.argsort(-confident)
    answered, sure = np.cumsum(counts[order]), confident[order]
    if precision is None:
        right = np.array([outcome.right for outcome in outcomes])[order]
        at = int(np.argmax(2 * np.cumsum(counts[order] * right) / (answered + 1 - unanswerable)))
    else:
        # By what is expected and not by what was seen: the best of many thresholds is so by luck.
        enough = np.flatnonzero(np.cumsum(counts[order] * sure) / answered >= precision)
        if not len(enough):
            raise ConfigurationError(
                f"no threshold has a precision of {precision}; the best has {sure[0]:.2f}"
            )
        at = int(enough[-1])
    return replace(learned, threshold=float(sure[at]))


def _fitted(weight: float, outcomes: Sequence[Outcome], unanswerable: float) -> _Tried:
    right = np.array([outcome.right for outcome in outcomes])
    if right.all() or not right.any():
        raise ConfigurationError("to fit, some questions must find their entry, and some not")
    features = np.array([[outcome.similarity, outcome.lead] for outcome in outcomes])
    counts = shares(outcomes, unanswerable)
    model = LogisticRegression(C=100).fit(features, right, counts * len(counts))
    (similarity, lead), intercept = model.coef_[0].tolist(), float(model.intercept_[0])
    confident = model.predict_proba(features)[:, 1]
    loss = float(log_loss(right, confident, sample_weight=counts))
    return loss, Calibration(weight, similarity, lead, intercept), confident


def calibration_error(
    confidences: npt.ArrayLike,
    right: npt.ArrayLike,
    counts: npt.NDArray[np.float64] | None = None,
    bins: int = 10,
) -> float:
    """Return the expected calibration error: how far confidence is from the share that is right."""
    sure = np.asarray(confidences)
    each = np.full(len(sure), 1 / len(sure)) if counts is None else counts
    groups = np.minimum((sure * bins).astype(int), bins - 1)
    over = each * (sure - np.asarray(right, dtype=float))
    return float(sum(abs(over[groups == group].sum()) for group in range(bins)))
