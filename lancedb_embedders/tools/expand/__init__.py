"""Queries expanded by terms that mean the same."""

from lancedb_embedders.tools.expand.expansion import Expansion, expand_query

__all__ = ["Expansion", "expand_query"]
