"""Vectors on disk, found again by what they were made of."""

from lancedb_embedders.cache.shared import default_folder, shared_cache
from lancedb_embedders.cache.upkeep import CacheStats, SpaceStats
from lancedb_embedders.cache.vectors import Found, VectorCache, text_key

__all__ = [
    "CacheStats",
    "Found",
    "SpaceStats",
    "VectorCache",
    "default_folder",
    "shared_cache",
    "text_key",
]
