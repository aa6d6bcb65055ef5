"""`sbert`: text through any sentence-transformers model."""

from __future__ import annotations

from lancedb_embedders.local.embedder import LocalTextEmbedder


class SbertEmbeddings(LocalTextEmbedder, registry_name="sbert"):
    """Text embeddings by any sentence-transformers model, normalized unless told otherwise.

    All options are those of `LocalTextEmbedder` and `Embedder`; every one has a default.

    Examples
    --------
    >>> from lancedb.embeddings import get_registry
    >>> import lancedb_embedders
    >>> sbert = get_registry().get("sbert").create(truncate_dim=256)
    >>> sbert.ndims()
    256
    """

    name: str = "all-MiniLM-L6-v2"
