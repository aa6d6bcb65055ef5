"""Vectors measured by themselves: similarity of pairs, and a linear probe."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lancedb_embedders import output
from lancedb_embedders.batch import Role
from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError, InputError
from lancedb_embedders.inputs.text import is_blank
from lancedb_embedders.tools.evaluate.datasets import (
    Labelled,
    ScoredPair,
    read_labelled,
    read_pairs,
)
from lancedb_embedders.tools.given import function_of
from lancedb_embedders.tools.result import Result, rows_table

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class StsResult(Result):
    """How well cosines of pairs agree with what people say.

    Attributes
    ----------
    pairs : int
        Pairs that were compared.
    spearman, pearson : float
        Correlation of cosine and score, -100 to 100. Spearman's is what STS is published by.
    """

    pairs: int
    spearman: float
    pearson: float

    def table(self) -> Table:
        """Return the figures as a table."""
        columns = [("pairs", "right"), ("Spearman", "right"), ("Pearson", "right")]
        row = [f"{self.pairs:,}", f"{self.spearman:.2f}", f"{self.pearson:.2f}"]
        return rows_table("Similarity of pairs", columns, [row])


@dataclass(frozen=True)
class ClassificationResult(Result):
    """How well a linear probe tells classes apart by their vectors.

    Attributes
    ----------
    train, test : int
        Texts that the probe learned from, and that it was tried on.
    classes : int
        Classes that it learned.
    accuracy, f1 : float
        Share of test texts that are right, and the mean of F1 over classes; 0 to 100.
    majority : float
        Accuracy of always saying the most frequent class, 0 to 100.
    """

    train: int
    test: int
    classes: int
    accuracy: float
    f1: float
    majority: float

    def table(self) -> Table:
        """Return the figures as a table."""
        headings = ("train", "test", "classes", "accuracy", "macro F1", "majority")
        counts = [f"{count:,}" for count in (self.train, self.test, self.classes)]
        shares = [f"{share:.2f}" for share in (self.accuracy, self.f1, self.majority)]
        return rows_table(
            "Linear probe", [(name, "right") for name in headings], [[*counts, *shares]]
        )


def evaluate_sts(
    function: Embedder | str | os.PathLike[str],
    pairs: str | Path | Iterable[ScoredPair | tuple[float, str, str]],
    *,
    role: Role = "document",
) -> StsResult:
    """Compare the cosines of pairs of texts with scores that people gave them.

    Parameters
    ----------
    function : Embedder or str or os.PathLike
        A function, its registry name, or the name or folder of a model.
    pairs : str, pathlib.Path or iterable of ScoredPair or (float, str, str)
        Scores and texts, or a file of them, see
        `lancedb_embedders.tools.evaluate.datasets.read_pairs`.
    role : {"document", "query"}
        What both texts are embedded as, which decides their prompt.

    Raises
    ------
    InputError
        A pair with a blank text, or a score that is no number; names the row.
    ConfigurationError
        Fewer than two pairs, equal scores throughout, or several vectors a text.

    Examples
    --------
    >>> pairs = [(1.0, "a cat", "a kitten"), (0.5, "a cat", "a dog"), (0.0, "a cat", "two taxes")]
    >>> evaluate_sts("sbert", pairs).spearman
    100.0
    """
    from scipy.stats import pearsonr, spearmanr

    embedder = function_of(function)
    given = read_pairs(pairs) if isinstance(pairs, (str, Path)) else _scored(pairs)
    scores = np.array([pair.score for pair in given])
    if len(given) < 2 or np.ptp(scores) == 0:
        raise ConfigurationError("there must be two pairs at least, with different scores")
    if embedder.multivector:
        raise ConfigurationError(
            f"{embedder.registry_name} gives several vectors a text, which have no one cosine; use "
            "evaluate_retrieval"
        )
    vectors = directions(embedder, [t for p in given for t in (p.first, p.second)], role)
    cosines = np.einsum("ij,ij->i", vectors[0::2], vectors[1::2])
    if np.ptp(cosines) == 0:
        raise ConfigurationError("all pairs have the same cosine: the vectors tell nothing apart")
    return StsResult(
        pairs=len(given),
        spearman=100 * float(spearmanr(cosines, scores).statistic),
        pearson=100 * float(pearsonr(cosines, scores).statistic),
    )


def evaluate_classification(
    function: Embedder | str | os.PathLike[str],
    train: str | Path | Iterable[Labelled | tuple[str, str]],
    test: str | Path | Iterable[Labelled | tuple[str, str]],
    *,
    max_iter: int = 1000,
) -> ClassificationResult:
    """Train a linear probe on vectors, and try it on others.

    The probe is scikit-learn's logistic regression with its default penalty; the same data give the
    same figures.

    Parameters
    ----------
    function : Embedder or str or os.PathLike
        A function, its registry name, or the name or folder of a model.
    train, test : str, pathlib.Path or iterable of Labelled or (str, str)
        Labels and texts, or files of them, see
        `lancedb_embedders.tools.evaluate.datasets.read_labelled`.
    max_iter : int, default 1000
        Iterations that the probe may take.

    Raises
    ------
    InputError
        A blank text; names the row.
    ConfigurationError
        Fewer than two classes to learn, no texts, or several vectors a text.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, f1_score

    embedder = function_of(function)
    learn, tried = _labelled(train, "train"), _labelled(test, "test")
    labels = [one.label for one in learn]
    if len(set(labels)) < 2:
        raise ConfigurationError("train has one class alone; there must be two at least")
    if embedder.multivector:
        raise ConfigurationError(
            f"{embedder.registry_name} gives several vectors a text; a linear probe takes one"
        )
    probe = LogisticRegression(max_iter=max_iter)
    probe.fit(directions(embedder, [one.text for one in learn]), labels)
    expected = [one.label for one in tried]
    predicted = probe.predict(directions(embedder, [one.text for one in tried]))
    most = max(sorted(set(labels)), key=labels.count)
    return ClassificationResult(
        train=len(learn),
        test=len(tried),
        classes=len(set(labels)),
        accuracy=100 * float(accuracy_score(expected, predicted)),
        f1=100 * float(f1_score(expected, predicted, average="macro", zero_division=0.0)),
        majority=100 * expected.count(most) / len(expected),
    )


def directions(
    function: Embedder, texts: list[str], role: Role = "document"
) -> npt.NDArray[np.float64]:
    """Embed texts, and return the `lancedb_embedders.output.directions` of their vectors."""
    compute = (
        function.compute_query_embeddings if role == "query" else function.compute_source_embeddings
    )
    return output.directions(np.asarray(compute(texts)), function.quantization)


def _scored(pairs: Iterable[ScoredPair | tuple[float, str, str]]) -> list[ScoredPair]:
    found = []
    for row, pair in enumerate(pairs):
        if isinstance(pair, ScoredPair):
            one = pair
        elif isinstance(pair, (tuple, list)) and len(pair) == 3:
            one = ScoredPair(*pair)
        else:
            raise InputError(
                f"row {row}: expected a score and two texts, got {type(pair).__name__}", [row]
            )
        _check_texts(row, one.first, one.second)
        if not isinstance(one.score, (int, float, np.number)) or not np.isfinite(one.score):
            raise InputError(f"row {row}: {one.score!r} is no score", [row])
        found.append(one)
    return found


def _labelled(
    given: str | Path | Iterable[Labelled | tuple[str, str]], what: str
) -> list[Labelled]:
    if isinstance(given, (str, Path)):
        return read_labelled(given)
    found = []
    for row, one in enumerate(given):
        if isinstance(one, Labelled):
            found.append(one)
        elif isinstance(one, (tuple, list)) and len(one) == 2:
            found.append(Labelled(str(one[0]), one[1]))
        else:
            raise InputError(
                f"{what}, row {row}: expected a label and a text, got {type(one).__name__}", [row]
            )
        _check_texts(row, found[-1].text)
    if not found:
        raise ConfigurationError(f"{what} has no texts")
    return found


def _check_texts(row: int, *texts: Any) -> None:
    for text in texts:
        if not isinstance(text, str) or is_blank(text):
            raise InputError(f"row {row}: expected a text, got {text!r}", [row])
