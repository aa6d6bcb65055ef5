"""Models measured on a user's own texts."""

from lancedb_embedders.tools.benchmark.batch_size import find_batch_size
from lancedb_embedders.tools.benchmark.compare import benchmark_models

__all__ = ["benchmark_models", "find_batch_size"]
