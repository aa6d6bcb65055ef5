"""Every error and warning of this package.

LanceDB wraps whatever is raised while rows are added in a ``RuntimeError`` and drops the
cause, so each message says by itself what was wrong, where, and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence


class EmbeddingError(Exception):
    """Base class of all errors raised by ``lancedb_embedders``."""


class ConfigurationError(EmbeddingError, ValueError):
    """An option, a setting or a combination of them that cannot work."""


class MissingExtraError(EmbeddingError, ImportError):
    """An optional dependency is not installed; the message holds the command that installs it."""


class ModelNotFoundError(EmbeddingError, FileNotFoundError):
    """A model is in none of the places where models are looked up."""


class ModelLoadError(EmbeddingError, RuntimeError):
    """A model was found but cannot be loaded, or not without guessing what is missing in it."""


class ModelDriftError(EmbeddingError, RuntimeError):
    """The model found now is not the one that the table's vectors were made with."""


class VectorError(EmbeddingError, ValueError):
    """A model gave vectors that must not be stored: wrong count, wrong size, NaN or zero."""


class CacheError(EmbeddingError, OSError):
    """The file of cached vectors cannot be used: damaged, not writable, on a network drive."""


class ProviderError(EmbeddingError, RuntimeError):
    """A provider did not give vectors: no key, no quota, no answer, or one that makes no sense."""


class CostError(EmbeddingError, RuntimeError):
    """A write would cost more than `max_cost` allows; nothing was sent."""


class TableError(EmbeddingError, RuntimeError):
    """A table that cannot be worked on as it is, or that others changed under way."""


class InputError(EmbeddingError, ValueError):
    """Rows that cannot be embedded.

    Parameters
    ----------
    message : str
        What is wrong and what to do, rows included.
    rows : sequence of int
        Row numbers, counted from 0 within the batch that LanceDB handed over.
    """

    def __init__(self, message: str, rows: Sequence[int] = ()) -> None:
        super().__init__(message, tuple(rows))
        self.rows = tuple(rows)

    def __str__(self) -> str:
        return str(self.args[0])


class TextTooLongError(InputError):
    """Texts longer than the model takes, with ``on_overflow="error"``."""


class ImageError(InputError):
    """Pictures that cannot be had: not found, not allowed, too large, damaged, or no pictures."""


class EmbeddingWarning(UserWarning):
    """Something a user should know about vectors that were, or were not, made."""


def name_rows(rows: Sequence[int], limit: int = 5) -> str:
    """Return ``"row 3"`` or ``"rows 3, 8, 12 and 40 more"``."""
    shown = ", ".join(str(row) for row in rows[:limit])
    more = f" and {len(rows) - limit:,} more" if len(rows) > limit else ""
    return f"row{'s' if len(rows) > 1 else ''} {shown}{more}"
