"""Embedding functions for LanceDB: importing this package puts them into its registry.

>>> import lancedb_embedders
>>> from lancedb.embeddings import get_registry
>>> get_registry().get("sbert").create().ndims()
384
"""

from lancedb_embedders import tables
from lancedb_embedders.batch import Batch, Partial
from lancedb_embedders.cache import VectorCache
from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import (
    CacheError,
    ConfigurationError,
    CostError,
    EmbeddingError,
    EmbeddingWarning,
    ImageError,
    InputError,
    MissingExtraError,
    ModelDriftError,
    ModelLoadError,
    ModelNotFoundError,
    ProviderError,
    TableError,
    TextTooLongError,
    VectorError,
)
from lancedb_embedders.functions import (
    CachedCohereEmbeddings,
    CachedGoogleEmbeddings,
    CachedHuggingFaceEmbeddings,
    CachedOpenAIEmbeddings,
    CachedVoyageEmbeddings,
    ClipEmbeddings,
    LongDocumentEmbeddings,
    MultilingualEmbeddings,
    SbertEmbeddings,
)
from lancedb_embedders.hosted.offline import OfflineReport, embed_offline
from lancedb_embedders.hosted.usage import CostEstimate, Usage, estimate_cost, usage
from lancedb_embedders.inputs.images import Image
from lancedb_embedders.multivector import MultiVectors
from lancedb_embedders.open_tables import follow_versions
from lancedb_embedders.settings import settings
from lancedb_embedders.tables.chunks import chunk_documents
from lancedb_embedders.version import __version__

follow_versions()

__all__ = [
    "Batch",
    "CacheError",
    "CachedCohereEmbeddings",
    "CachedGoogleEmbeddings",
    "CachedHuggingFaceEmbeddings",
    "CachedOpenAIEmbeddings",
    "CachedVoyageEmbeddings",
    "ClipEmbeddings",
    "ConfigurationError",
    "CostError",
    "CostEstimate",
    "Embedder",
    "EmbeddingError",
    "EmbeddingWarning",
    "Image",
    "ImageError",
    "InputError",
    "LongDocumentEmbeddings",
    "MissingExtraError",
    "ModelDriftError",
    "ModelLoadError",
    "ModelNotFoundError",
    "MultiVectors",
    "MultilingualEmbeddings",
    "OfflineReport",
    "Partial",
    "ProviderError",
    "SbertEmbeddings",
    "TableError",
    "TextTooLongError",
    "Usage",
    "VectorCache",
    "VectorError",
    "__version__",
    "chunk_documents",
    "embed_offline",
    "estimate_cost",
    "settings",
    "tables",
    "usage",
]
