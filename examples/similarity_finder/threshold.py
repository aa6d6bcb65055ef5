"""From which similarity on two texts are the same, by pairs of which that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve

from lancedb_embedders import ConfigurationError
from lancedb_embedders.tools.evaluate.datasets import ScoredPair


@dataclass(frozen=True)
class Threshold:
    """A similarity, and what is right of the pairs from it on; shares are from 0 to 1."""

    similarity: float
    precision: float
    recall: float
    f1: float
    average_precision: float  # of all thresholds


def fit_threshold(
    similarities: Sequence[float], same: Sequence[bool], precision: float | None = None
) -> Threshold:
    """Return the threshold of the best F1, or the lowest with a precision on labelled pairs."""
    if len(set(same)) < 2:
        raise ConfigurationError("a threshold needs pairs that are the same and pairs that are not")
    right, found, cuts = precision_recall_curve(same, similarities)
    right, found = right[:-1], found[:-1]  # the last stands for no pair at all
    if precision is None:
        best = int(np.argmax(2 * right * found / np.maximum(right + found, 1e-12)))
    else:
        enough = np.flatnonzero(right >= precision)
        if not len(enough):
            raise ConfigurationError(
                f"no threshold has a precision of {precision}; the best has {right.max():.3f}"
            )
        best = int(enough[0])
    return judge(similarities, same, float(cuts[best]))


def judge(similarities: Sequence[float], same: Sequence[bool], threshold: float) -> Threshold:
    """Return what a threshold gets right of labelled pairs."""
    taken, truth = np.asarray(similarities) >= threshold, np.asarray(same, dtype=bool)
    hits = int((taken & truth).sum())
    precision, recall = hits / max(int(taken.sum()), 1), hits / max(int(truth.sum()), 1)
    f1 = 2 * hits / max(int(taken.sum() + truth.sum()), 1)
    area = float(average_precision_score(truth, similarities))
    return Threshold(threshold, precision, recall, f1, area)


def compare(function: Any, pairs: Sequence[ScoredPair]) -> list[float]:
    """Return the cosine of each pair's texts; a text of several pairs is embedded once."""
    place = {text: i for i, text in enumerate({t: 0 for p in pairs for t in (p.first, p.second)})}
    vectors = np.asarray(function.compute_source_embeddings(list(place)), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ends = np.array([(place[pair.first], place[pair.second]) for pair in pairs])
    cosines: list[float] = np.einsum("ij,ij->i", vectors[ends[:, 0]], vectors[ends[:, 1]]).tolist()
    return cosines
