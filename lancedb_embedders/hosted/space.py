"""The name that vectors of one kind have in the cache."""

from __future__ import annotations

import json

# Raised when vectors of before are no longer what would be made now.
_VERSION = 1


def describe(
    *,
    provider: str,
    endpoint: str,
    model: str,
    dim: int | None,
    kind: str | None,
    truncated: bool,
) -> str:
    """Return the canonical description of all that makes vectors, but for the text sent.

    Parameters
    ----------
    provider, endpoint, model : str
        Who is asked, where, and for which model.
    dim : int or None
        Dimensions that are asked for; None: the model's own.
    kind : str or None
        What the provider is told of the texts, like ``"search_query"``.
    truncated : bool
        Whether it is told to cut long texts.
    """
    facts = {
        "version": _VERSION,
        "provider": provider,
        "endpoint": endpoint,
        "model": model,
        "dim": dim,
        "kind": kind,
        "truncated": truncated,
    }
    return json.dumps(facts, sort_keys=True, separators=(",", ":"))
