"""Embedding functions for LanceDB: importing this package puts them into its registry.

>>> import lancedb_embedders
>>> from lancedb.embeddings import get_registry
>>> get_registry().get("sbert").create().ndims()
384
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lancedb_embedders import tables, tools
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
from lancedb_embedders.hosted.usage import Usage, usage
from lancedb_embedders.inputs.images import Image
from lancedb_embedders.multivector import MultiVectors
from lancedb_embedders.open_tables import follow_versions
from lancedb_embedders.settings import settings
from lancedb_embedders.tables.chunks import chunk_documents
from lancedb_embedders.version import __version__

if TYPE_CHECKING:
    from lancedb_embedders.tools import (
        CostEstimate,
        QualityMonitor,
        benchmark_models,
        choose_model,
        clean_text,
        estimate_cost,
        evaluate_classification,
        evaluate_retrieval,
        evaluate_sts,
        expand_query,
        find_batch_size,
        fine_tune,
        mine_hard_negatives,
        pairs_from_clicks,
        paraphrase,
        recommend_model,
        truncate_text,
    )

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
    "QualityMonitor",
    "SbertEmbeddings",
    "TableError",
    "TextTooLongError",
    "Usage",
    "VectorCache",
    "VectorError",
    "__version__",
    "benchmark_models",
    "choose_model",
    "chunk_documents",
    "clean_text",
    "embed_offline",
    "estimate_cost",
    "evaluate_classification",
    "evaluate_retrieval",
    "evaluate_sts",
    "expand_query",
    "find_batch_size",
    "fine_tune",
    "mine_hard_negatives",
    "pairs_from_clicks",
    "paraphrase",
    "recommend_model",
    "settings",
    "tables",
    "tools",
    "truncate_text",
    "usage",
]


def __getattr__(name: str) -> Any:
    if name not in tools.TOOLS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(tools, name)
