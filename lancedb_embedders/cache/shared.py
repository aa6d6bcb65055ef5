"""The one cache of a folder that a process has."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import platformdirs

from lancedb_embedders.cache.vectors import FILE_NAME, VectorCache


def default_folder() -> Path:
    """Return the folder of this user's caches."""
    return platformdirs.user_cache_path("lancedb-embedders", appauthor=False)


def shared_cache(folder: Path | None = None, max_size: int | None = None) -> VectorCache:
    """Return the process's one `VectorCache` of a folder; None is the user's cache folder."""
    return _shared(((folder or default_folder()) / FILE_NAME).absolute(), max_size)


@lru_cache(maxsize=8)
def _shared(path: Path, max_size: int | None) -> VectorCache:
    return VectorCache(path, max_size)
