"""What a model is measured by before, while and after it is trained: always the same figure."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.tools.evaluate import (
    evaluate_classification,
    evaluate_retrieval,
    evaluate_sts,
)
from lancedb_embedders.tools.evaluate.datasets import (
    Labelled,
    RetrievalSet,
    ScoredPair,
    read_beir,
    read_labelled,
    read_pairs,
)
from lancedb_embedders.tools.evaluate.files import records
from lancedb_embedders.tools.evaluate.measures import directions
from lancedb_embedders.tools.evaluate.metrics import retrieval_metrics
from lancedb_embedders.tools.fine_tuning.data import TrainingPair, training_set
from lancedb_embedders.tools.fine_tuning.live_model import LiveModel

_DEPTH = 100


@dataclass(frozen=True)
class Evaluation:
    """A figure from 0 to 100 (-100 for a correlation), and what it is computed from.

    Attributes
    ----------
    metric : str
        ``"spearman"``, ``"ndcg_at_10"`` or ``"accuracy"``.
    measure : callable
        Takes a function and returns the figure; higher is better.
    texts : frozenset of str
        Texts that must not have been trained on: pairs, queries, or texts to classify.
    """

    metric: str
    measure: Callable[[Embedder], float]
    texts: frozenset[str]


def evaluation_of(given: Any) -> Evaluation:
    """Return how to measure, by what there is to measure with.

    Parameters
    ----------
    given : object
        Scored pairs (Spearman's correlation); a `RetrievalSet`, the folder of one in the form of
        BEIR, or pairs of query and positive, of which all positives and negatives are the corpus
        (nDCG@10); labelled texts, or a tuple of those to learn from and those to try (accuracy of a
        linear probe); or a file of pairs or of labelled texts. Of labelled texts alone, every
        second one of a class is tried.

    Raises
    ------
    ConfigurationError
        It is none of these.
    """
    if isinstance(given, (str, os.PathLike)):
        given = _read(Path(given).expanduser())
    if isinstance(given, RetrievalSet):
        return _retrieval(given)
    if isinstance(given, tuple) and len(given) == 2 and all(map(_is_labelled, given)):
        return _classification(*map(list, given))
    if isinstance(given, Iterable) and not isinstance(given, Mapping):
        rows = list(given) if isinstance(given, (list, tuple)) else given
        if _is_labelled(rows):
            return _classification(*_halves(list(rows)))
        found = training_set(rows)
        if found.kind == "scored":
            return _sts(list(found.rows))
        return _retrieval(_ranked(found.rows))
    raise ConfigurationError(
        "evaluation is scored pairs, a RetrievalSet, pairs of query and positive, labelled texts, "
        f"or the path of such, not {type(given).__name__}"
    )


def _read(path: Path) -> Any:
    if path.is_dir():
        return read_beir(path)
    columns = next(iter(records(path)), {})
    if "text" in columns or "sentence" in columns:
        return read_labelled(path)
    if "positive" in columns or "document" in columns:
        return list(training_set(path).rows)
    return read_pairs(path)


def _sts(pairs: list[ScoredPair]) -> Evaluation:
    texts = frozenset(text for pair in pairs for text in (pair.first, pair.second))
    return Evaluation("spearman", lambda function: evaluate_sts(function, pairs).spearman, texts)


def _classification(train: list[Labelled], test: list[Labelled]) -> Evaluation:
    return Evaluation(
        "accuracy",
        lambda function: evaluate_classification(function, train, test).accuracy,
        frozenset(one.text for one in test),
    )


def _retrieval(found: RetrievalSet) -> Evaluation:
    def measure(function: Embedder) -> float:
        # No table can hold a function whose weights still change.
        if isinstance(function, LiveModel):
            return retrieval_metrics(_run(function, found), found.qrels)["ndcg_at_10"]
        return evaluate_retrieval(function, found).ndcg_at_10

    queries = frozenset(found.queries[query] for query in found.qrels)
    return Evaluation("ndcg_at_10", measure, queries)


def _run(function: Embedder, found: RetrievalSet) -> dict[str, dict[str, float]]:
    ids = [key for key, text in found.corpus.items() if text.strip()]
    documents = directions(function, [found.corpus[key] for key in ids])
    queries = directions(function, [found.queries[key] for key in found.qrels], "query")
    run = {}
    for query, cosines in zip(found.qrels, queries @ documents.T, strict=True):
        best = np.argsort(-cosines, kind="stable")[:_DEPTH]
        run[query] = {ids[i]: float(cosines[i]) for i in best}
    return run


def _ranked(rows: Sequence[TrainingPair]) -> RetrievalSet:
    documents = dict.fromkeys(text for row in rows for text in (row.positive, *row.negatives))
    ids = {text: f"d{number}" for number, text in enumerate(documents)}
    names: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    for row in rows:
        name = names.setdefault(row.query, f"q{len(names)}")
        qrels.setdefault(name, {})[ids[row.positive]] = 1
    return RetrievalSet(
        {name: text for text, name in ids.items()},
        {name: text for text, name in names.items()},
        qrels,
        "pairs",
    )


def _is_labelled(given: Any) -> bool:
    rows = given if isinstance(given, (list, tuple)) else ()
    return bool(rows) and all(isinstance(row, Labelled) for row in rows)


def _halves(rows: list[Labelled]) -> tuple[list[Labelled], list[Labelled]]:
    halves: tuple[list[Labelled], list[Labelled]] = [], []
    seen: dict[str, int] = {}
    for row in rows:
        position = seen.get(row.label, 0)
        halves[position % 2].append(row)
        seen[row.label] = position + 1
    if not halves[1]:
        raise ConfigurationError("no label has two texts: there is none to try a probe on")
    return halves
