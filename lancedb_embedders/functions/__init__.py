"""The functions that LanceDB's registry knows: importing this package registers them all."""

from lancedb_embedders.functions.sbert import SbertEmbeddings

__all__ = ["SbertEmbeddings"]
