"""Whether a text is in a script that a model has never seen."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

# Enough of a text to tell, and little enough to cost nothing.
_LOOKED_AT = 500
# A few letters may be a formula or a name.
_FEWEST = 4


def by_foreign_script(texts: Sequence[str], scripts: Sequence[str]) -> dict[str, list[int]]:
    """Return positions of texts by their script, if it is none of `scripts`.

    Nothing is foreign where no script is known; parameters as in `foreign_script`.
    """
    found: dict[str, list[int]] = {}
    for position, text in enumerate(texts if scripts else ()):
        script = foreign_script(text, scripts)
        if script is not None:
            found.setdefault(script, []).append(position)
    return found


def foreign_script(text: str, scripts: Sequence[str]) -> str | None:
    """Return the script of a text that is mostly in none of `scripts`; None if there is none.

    Parameters
    ----------
    text : str
        Its beginning is looked at.
    scripts : sequence of str
        Codes of ISO 15924.

    Returns
    -------
    str or None
        The script's name as in Unicode's names of characters.

    Examples
    --------
    >>> foreign_script("Сколько стоит билет?", ["Latn"])
    'Cyrillic'
    >>> foreign_script("The letter Ж", ["Latn"]) is None
    True
    """
    if text.isascii() and "Latn" in scripts:
        return None
    letters, foreign = _patterns(tuple(scripts))
    head = text[:_LOOKED_AT]
    found = foreign.findall(head)
    if len(found) < _FEWEST or 2 * len(found) <= len(letters.findall(head)):
        return None
    return _script_name(found[0])


def _script_name(letter: str) -> str:
    name = unicodedata.name(letter, "unknown").split()[0]
    return name if name == "CJK" else name.capitalize()


@lru_cache(maxsize=64)
def _patterns(scripts: tuple[str, ...]) -> tuple[Any, Any]:
    import regex

    # Letters that all scripts share, and marks on others, say nothing.
    letters = r"\p{L}--\p{Common}--\p{Inherited}"
    known = "".join(rf"--\p{{Script_Extensions={script}}}" for script in scripts)
    return regex.compile(f"(?V1)[{letters}]"), regex.compile(f"(?V1)[{letters}{known}]")
