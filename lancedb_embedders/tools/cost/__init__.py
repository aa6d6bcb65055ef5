"""What embedding would come to, before anything is spent."""

from lancedb_embedders.tools.cost.estimate import CostEstimate, estimate_cost

__all__ = ["CostEstimate", "estimate_cost"]
