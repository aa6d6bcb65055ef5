"""The process of LangChain's ``CacheBackedEmbeddings``, in an environment of its own."""

from __future__ import annotations

import importlib
from typing import Any

from benchmarks.hosted.job import MODEL, Job, main, measured

_BATCH = 2048


def measure(job: Job) -> dict[str, Any]:
    """Embed the texts through a store of files."""
    # Not installed where this file is checked.
    openai = importlib.import_module("langchain_openai")
    embeddings = importlib.import_module("langchain_classic.embeddings")
    storage = importlib.import_module("langchain_classic.storage")
    cached = embeddings.CacheBackedEmbeddings.from_bytes_store(
        openai.OpenAIEmbeddings(
            model=MODEL,
            base_url=f"{job.url}/v1",
            chunk_size=_BATCH,
            # Otherwise it downloads the tables of a tokenizer.
            check_embedding_ctx_length=False,
        ),
        storage.LocalFileStore(job.store),
        namespace=MODEL,
        key_encoder="blake2b",
    )
    texts = job.texts()
    found: list[Any] = []
    figures = measured(lambda: found.append(cached.embed_documents(texts)))
    if (len(found[0]), len(found[0][0])) != (job.rows, 1536):
        raise RuntimeError(f"{len(found[0])} vectors")
    return figures


if __name__ == "__main__":
    main(measure)
