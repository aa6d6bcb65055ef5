"""Whether what a language model gave back is a paraphrase: what can be told without another one."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from lancedb_embedders.inputs.text import is_blank

_FENCE = re.compile(r"^\s*```(?:json)?\s*(.*?)\s*```\s*$", re.DOTALL)
# As models open what they will not do, in English, German, French and Spanish.
_REFUSAL = re.compile(
    r"^\W*((i'?m|i am) (sorry|unable|not able)|sorry,? (but )?i|i (can'?t|cannot|won'?t) "
    r"(help|assist|paraphrase|provide|do|rewrite|comply|fulfil)|as an ai\b|es tut mir leid, "
    r"(aber )?ich kann|je (suis désolée?|ne peux pas)|lo siento, (pero )?no puedo)",
    re.IGNORECASE,
)
_SHORTEST, _LONGEST, _SPARE = 0.3, 3.0, 25  # of the source's length, and characters beyond
_EAST_ASIAN = {"HIRAGANA", "KATAKANA", "CJK", "HANGUL"}


class MalformedError(ValueError):
    """An answer that is not of the form that was asked for."""


def read_answer(text: str) -> list[object]:
    """Return the paraphrases in a model's answer, of whatever type they are.

    Raises
    ------
    MalformedError
        Says what is wrong.
    """
    fenced = _FENCE.match(text)
    try:
        found = json.loads(fenced[1] if fenced else text)
    except ValueError:
        raise MalformedError("no JSON") from None
    if isinstance(found, dict):
        found = found.get("paraphrases")
    if not isinstance(found, list):
        raise MalformedError('no list of "paraphrases"')
    return found


def is_refusal(text: str) -> bool:
    """Tell whether a text says that its writer will not do what was asked."""
    return _REFUSAL.match(text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")) is not None


def problem_of(candidate: object, source: str, others: Iterable[str]) -> str | None:
    """Return what speaks against a paraphrase, or None.

    Parameters
    ----------
    candidate : object
        What came back.
    source : str
        What was to be said in other words.
    others : iterable of str
        Paraphrases that are there already.
    """
    if not isinstance(candidate, str) or is_blank(candidate):
        return "no text"
    if key_of(candidate) == key_of(source):
        return "equal to the source"
    if key_of(candidate) in set(map(key_of, others)):
        return "equal to another one"
    if is_refusal(candidate) and not is_refusal(source):
        return "a refusal"
    low, high = _SHORTEST * len(source) - _SPARE, _LONGEST * len(source) + _SPARE
    if not low <= len(candidate) <= high:
        return f"length {len(candidate)}, where the source has {len(source)}"
    ours, theirs = _script(source), _script(candidate)
    if ours is not None and theirs is not None and ours != theirs:
        return f"written in {theirs.capitalize()}, where the source is in {ours.capitalize()}"
    return None


def key_of(text: str) -> str:
    """Return what texts have in common that differ in case, spaces and punctuation only."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = "".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in folded)
    return " ".join(words.split()) or folded.strip()


def _script(text: str) -> str | None:
    names = Counter(unicodedata.name(c, "UNKNOWN").split()[0] for c in text if c.isalpha())
    if not names:
        return None
    most = names.most_common(1)[0][0].partition("-")[0]
    return "EAST ASIAN" if most in _EAST_ASIAN else most
