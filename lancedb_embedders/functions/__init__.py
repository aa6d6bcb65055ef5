"""The functions that LanceDB's registry knows: importing this package registers them all."""

from lancedb_embedders.functions.cached_cohere import CachedCohereEmbeddings
from lancedb_embedders.functions.cached_google import CachedGoogleEmbeddings
from lancedb_embedders.functions.cached_huggingface import CachedHuggingFaceEmbeddings
from lancedb_embedders.functions.cached_openai import CachedOpenAIEmbeddings
from lancedb_embedders.functions.cached_voyage import CachedVoyageEmbeddings
from lancedb_embedders.functions.clip import ClipEmbeddings
from lancedb_embedders.functions.long_document import LongDocumentEmbeddings
from lancedb_embedders.functions.multilingual import MultilingualEmbeddings
from lancedb_embedders.functions.sbert import SbertEmbeddings

__all__ = [
    "CachedCohereEmbeddings",
    "CachedGoogleEmbeddings",
    "CachedHuggingFaceEmbeddings",
    "CachedOpenAIEmbeddings",
    "CachedVoyageEmbeddings",
    "ClipEmbeddings",
    "LongDocumentEmbeddings",
    "MultilingualEmbeddings",
    "SbertEmbeddings",
]
