"""Embedding functions for LanceDB: importing this package puts them into its registry.

>>> import lancedb_embedders
>>> from lancedb.embeddings import get_registry
>>> get_registry().get("sbert").create().ndims()
384
"""

from lancedb_embedders.embedder import Batch, Embedder
from lancedb_embedders.errors import (
    ConfigurationError,
    EmbeddingError,
    EmbeddingWarning,
    InputError,
    MissingExtraError,
    ModelDriftError,
    ModelLoadError,
    ModelNotFoundError,
    TextTooLongError,
    VectorError,
)
from lancedb_embedders.functions import (
    LongDocumentEmbeddings,
    MultilingualEmbeddings,
    SbertEmbeddings,
)
from lancedb_embedders.multivector import MultiVectors
from lancedb_embedders.settings import settings
from lancedb_embedders.tables.chunks import chunk_documents
from lancedb_embedders.version import __version__

__all__ = [
    "Batch",
    "ConfigurationError",
    "Embedder",
    "EmbeddingError",
    "EmbeddingWarning",
    "InputError",
    "LongDocumentEmbeddings",
    "MissingExtraError",
    "ModelDriftError",
    "ModelLoadError",
    "ModelNotFoundError",
    "MultiVectors",
    "MultilingualEmbeddings",
    "SbertEmbeddings",
    "TextTooLongError",
    "VectorError",
    "__version__",
    "chunk_documents",
    "settings",
]
