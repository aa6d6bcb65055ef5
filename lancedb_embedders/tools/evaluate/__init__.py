"""How good vectors are."""

from lancedb_embedders.tools.evaluate.measures import (
    ClassificationResult,
    StsResult,
    evaluate_classification,
    evaluate_sts,
)
from lancedb_embedders.tools.evaluate.retrieval import RetrievalResult, evaluate_retrieval

__all__ = [
    "ClassificationResult",
    "RetrievalResult",
    "StsResult",
    "evaluate_classification",
    "evaluate_retrieval",
    "evaluate_sts",
]
