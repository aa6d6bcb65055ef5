"""Which provider a request is meant for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tests.providers import google, huggingface
from tests.providers.cohere import Cohere
from tests.providers.google import Google
from tests.providers.huggingface import HuggingFace
from tests.providers.ollama import Ollama
from tests.providers.openai import OpenAI
from tests.providers.voyage import Voyage
from tests.providers.wire import Provider

OPENAI = OpenAI()
VOYAGE = Voyage()

_ROUTES: list[tuple[re.Pattern[str], Provider]] = [
    (re.compile(r"(/v1|/openai/v1|/openai/deployments/[^/]+)?/embeddings"), OPENAI),
    (re.compile(r"/v2/embed"), Cohere()),
    (google.PATH, Google()),
    (huggingface.PATH, HuggingFace()),
    (re.compile(r"/api/embed"), Ollama()),
]


def route(path: str, body: Mapping[str, Any]) -> Provider | None:
    for pattern, provider in _ROUTES:
        if pattern.fullmatch(path):
            return VOYAGE if provider is OPENAI and _is_voyage(body) else provider
    return None


def _is_voyage(body: Mapping[str, Any]) -> bool:
    """Tell the two apart that share a path, by what only one of them knows."""
    return "output_dtype" in body or str(body.get("model")).startswith("voyage-")
