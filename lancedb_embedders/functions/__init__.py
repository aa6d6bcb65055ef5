"""The functions that LanceDB's registry knows: importing this package registers them all."""

from lancedb_embedders.functions.long_document import LongDocumentEmbeddings
from lancedb_embedders.functions.multilingual import MultilingualEmbeddings
from lancedb_embedders.functions.sbert import SbertEmbeddings

__all__ = ["LongDocumentEmbeddings", "MultilingualEmbeddings", "SbertEmbeddings"]
