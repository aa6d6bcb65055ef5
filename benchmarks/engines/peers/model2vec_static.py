"""model2vec: one vector a token, made of the same weights; no model runs."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any


def load(model: Path) -> Callable[[list[str]], Any]:
    """Load what was distilled before."""
    static: Any = importlib.import_module("model2vec").StaticModel.from_pretrained(str(model))
    return lambda texts: static.encode(texts, max_length=256, show_progress_bar=False)
