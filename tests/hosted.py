"""What the tests of hosted functions have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel

from tests.providers import ProviderServer, Seen

#: Registry name -> where its API begins on the server of the tests.
PATHS = {
    "cached-openai": "/v1",
    "cached-cohere": "",
    "cached-voyage": "/v1",
    "cached-google": "",
    "cached-huggingface": "",
}

#: Environment variables of keys.
KEY_NAMES = {
    "cached-openai": "OPENAI_API_KEY",
    "cached-cohere": "COHERE_API_KEY",
    "cached-voyage": "VOYAGE_API_KEY",
    "cached-google": "GEMINI_API_KEY",
    "cached-huggingface": "HF_TOKEN",
}

every_function = pytest.mark.parametrize("name", PATHS)


def create(provider: ProviderServer, function: str = "cached-openai", **options: Any) -> Any:
    options = {"base_url": provider.url + PATHS[function], "retry_deadline": 8, **options}
    return get_registry().get(function).create(**options)


def embed(function: Any, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    return np.asarray(function.compute_source_embeddings_with_retry(texts))


def numbered(count: int, word: str = "text") -> list[str]:
    return [f"{word} number {i}" for i in range(count)]


def make_table(db: Any, function: Any, name: str = "t") -> Any:
    class Row(LanceModel):
        text: str | None = function.SourceField()
        vector: function.Vector() | None = function.VectorField(default=None)  # type: ignore[valid-type]

    return db.create_table(name, schema=Row)


def add(table: Any, texts: Sequence[str], **options: Any) -> None:
    table.add([{"text": text} for text in texts], **options)


def sizes(provider: ProviderServer) -> list[int]:
    """Return how many texts each answered request had, in any order."""
    return sorted(len(seen.texts) for seen in provider.seen if seen.status == 200)


def has(text: str) -> Any:
    """Pick requests that hold a text."""

    def picks(seen: Seen) -> bool:
        return text in seen.texts

    return picks
