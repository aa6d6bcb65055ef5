"""What to train on: from clicks, from what a model takes for right, from other words."""

from lancedb_embedders.tools.pairs.clicks import pairs_from_clicks
from lancedb_embedders.tools.pairs.negatives import mine_hard_negatives
from lancedb_embedders.tools.pairs.paraphrasing import paraphrase

__all__ = ["mine_hard_negatives", "pairs_from_clicks", "paraphrase"]
