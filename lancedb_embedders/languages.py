"""Languages by their BCP 47 codes, and the scripts that they are written in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lancedb_embedders.errors import ConfigurationError

# ISO 15924 names some scripts for what is really several, or a variant of one.
_PARTS = {
    "Hans": ("Hani",),
    "Hant": ("Hani",),
    "Jpan": ("Hani", "Hira", "Kana"),
    "Kore": ("Hang", "Hani"),
}
#: What cards say of a model whose languages nobody lists.
UNLISTED = frozenset({"mul", "multilingual", "und"})


def supported(language: str, known: Sequence[str], name: str = "the model") -> bool:
    """Tell whether `language` is among those that are known.

    Regions are told apart by their script alone: a model of ``"pt"`` knows ``"pt-BR"``, one of
    ``"zh-CN"`` does not know ``"zh-TW"``.

    Parameters
    ----------
    language : str
        BCP 47 code, like ``"de"``, ``"pt-BR"`` or ``"zh-Hant"``.
    known : sequence of str
        BCP 47 codes.
    name : str
        Of the model, for messages.

    Raises
    ------
    ConfigurationError
        `language` is no code of a language, or no language is known.

    Examples
    --------
    >>> supported("de-AT", ["en", "de"]), supported("cmn-Hant", ["zh-CN"])
    (True, False)
    """
    import langcodes

    if not known:
        raise ConfigurationError(
            f"the languages of {name} are not known: neither the catalogue nor the README.md of "
            "its folder lists them"
        )
    try:
        asked = langcodes.Language.get(language).prefer_macrolanguage()
    except ValueError:
        asked = None
    if asked is None or asked.language is None or not asked.is_valid():
        raise ConfigurationError(
            f'{language!r} is no code of a language; give one like "de", "pt-BR" or "zh-Hant" '
            "(BCP 47)"
        )
    for code in known:
        entry = langcodes.Language.get(code).prefer_macrolanguage()
        bare = entry.script is None and entry.territory is None
        same_script = bare or entry.maximize().script == asked.maximize().script
        # CLDR's distance is 1 for two codes of one language, like "no" and "nb", and from 4 up
        # for languages whose speakers merely read one another.
        distance = langcodes.tag_distance(asked.language or "und", entry.language or "und")
        if distance <= 1 and same_script:
            return True
    return False


def scripts(known: Iterable[str]) -> tuple[str, ...]:
    """Return the scripts that languages are written in, as codes of ISO 15924.

    Examples
    --------
    >>> scripts(["en", "de", "ja"])
    ('Hani', 'Hira', 'Kana', 'Latn')
    """
    known = set(known)
    if known == {"en"}:  # for the first query of a process langcodes' data take long to load
        return ("Latn",)
    import langcodes

    found = {langcodes.Language.get(code).maximize().script for code in known}
    parts = (_PARTS.get(script, (script,)) for script in found if script)
    return tuple(sorted({part for several in parts for part in several}))
