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
from lancedb_embedders.functions import SbertEmbeddings
from lancedb_embedders.settings import settings
from lancedb_embedders.version import __version__

__all__ = [
    "Batch",
    "ConfigurationError",
    "Embedder",
    "EmbeddingError",
    "EmbeddingWarning",
    "InputError",
    "MissingExtraError",
    "ModelDriftError",
    "ModelLoadError",
    "ModelNotFoundError",
    "SbertEmbeddings",
    "TextTooLongError",
    "VectorError",
    "__version__",
    "settings",
]
