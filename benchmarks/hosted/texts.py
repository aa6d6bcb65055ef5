"""Texts to embed: windows of the manual that comes with Python."""

from __future__ import annotations

_WORDS = 40  # about 60 tokens
_STEP = 2


def texts(count: int, words: int = _WORDS) -> list[str]:
    """Return so many texts, all different, each numbered and of about 60 tokens."""
    from pydoc_data.topics import topics

    manual = " ".join(topics.values()).split()
    places = range(0, len(manual) - words, _STEP)
    return [
        f"{number}. " + " ".join(manual[start : start + words])
        for number in range(count)
        for start in [places[number % len(places)]]
    ]
