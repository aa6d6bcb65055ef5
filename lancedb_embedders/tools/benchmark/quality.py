"""Sets for evaluation, and one figure on them."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lancedb_embedders.errors import ConfigurationError

if TYPE_CHECKING:
    from lancedb_embedders.embedder import Embedder


def evaluation_set(given: Any) -> tuple[str, Any]:
    """Return the name of a set for evaluation, and the set.

    Parameters
    ----------
    given : str, os.PathLike, RetrievalSet or list of ScoredPair
        A folder in the form of BEIR, a file of scored pairs, or what is read of these; see
        `lancedb_embedders.tools.evaluate.datasets`.

    Raises
    ------
    ConfigurationError
        It is none of these.
    InputError
        A file has a row that is wrong.
    """
    from lancedb_embedders.tools.evaluate.datasets import (
        RetrievalSet,
        ScoredPair,
        read_beir,
        read_pairs,
    )

    if isinstance(given, (str, os.PathLike)):
        path = Path(given)
        return path.name, read_beir(path) if path.is_dir() else read_pairs(path)
    if isinstance(given, RetrievalSet):
        return given.name or "retrieval", given
    pairs = list(given) if isinstance(given, (list, tuple)) else []
    if pairs and all(isinstance(pair, ScoredPair) for pair in pairs):
        return "pairs", pairs
    raise ConfigurationError(
        "evaluation is the folder of a retrieval set, a file of scored pairs, a RetrievalSet, or a "
        f"list of ScoredPair; got {type(given).__name__}"
    )


def evaluation_texts(evaluation: Any) -> tuple[list[str], list[str]]:
    """Return all that is embedded of a set: documents, and queries."""
    if isinstance(evaluation, list):
        return [text for pair in evaluation for text in (pair.first, pair.second)], []
    return list(evaluation.corpus.values()), list(evaluation.queries.values())


def measured_quality(function: Embedder, evaluation: Any) -> tuple[str, float]:
    """Return the name of a metric and its value, 0 to 100.

    Of pairs it is Spearman's correlation of cosine and score, of retrieval nDCG@10.
    """
    from lancedb_embedders.tools.evaluate import evaluate_retrieval, evaluate_sts

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(evaluation, list):
            return "Spearman", evaluate_sts(function, evaluation).spearman
        return "nDCG@10", evaluate_retrieval(function, evaluation).ndcg_at_10
