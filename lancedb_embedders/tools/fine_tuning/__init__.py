"""A model of texts, trained further on one's own."""

from lancedb_embedders.tools.fine_tuning.data import TrainingPair, pairs_from_labels, training_set
from lancedb_embedders.tools.fine_tuning.result import FineTuneResult
from lancedb_embedders.tools.fine_tuning.tuning import fine_tune

__all__ = ["FineTuneResult", "TrainingPair", "fine_tune", "pairs_from_labels", "training_set"]
