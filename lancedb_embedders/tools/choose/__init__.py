"""Which model of the catalogue, and why."""

from lancedb_embedders.tools.choose.recommend import choose_model, recommend_model
from lancedb_embedders.tools.choose.recommendation import Recommendation

__all__ = ["Recommendation", "choose_model", "recommend_model"]
