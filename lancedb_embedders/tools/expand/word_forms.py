"""Which words are forms of others, as LanceDB's full-text search sees them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from lancedb_embedders.errors import ConfigurationError

_WORD = re.compile(r"[^\W_]+")


def words_of(text: str) -> set[str]:
    """Return the words of a text in lower case.

    Examples
    --------
    >>> sorted(words_of("High-speed flow, of speed 2"))
    ['2', 'flow', 'high', 'of', 'speed']
    """
    return set(_WORD.findall(text.lower()))


class WordForms:
    """The words of terms, of which those can be found that have the stem of a given word.

    They are a full-text index in memory: what counts as the same word is what LanceDB's
    full-text search of that language takes for the same (Snowball stemmers).

    Parameters
    ----------
    terms : iterable of str
        Whose words they are.
    language : str
        As LanceDB names it, like ``"English"`` or ``"German"``.

    Raises
    ------
    ConfigurationError
        LanceDB has no stemmer for the language.

    Examples
    --------
    >>> forms = WordForms(["jet engines", "heating", "heart"])
    >>> sorted(forms.of("heated engine"))
    ['engine', 'engines', 'heated', 'heating']
    """

    def __init__(self, terms: Iterable[str], language: str = "English") -> None:
        import lancedb
        from lancedb.index import FTS

        words = sorted({word for term in terms for word in words_of(term)})
        self._table: Any = lancedb.connect("memory://").create_table(
            "words", [{"word": word} for word in words or [""]]
        )
        self._rows = self._table.count_rows()
        # No stop words are left out: "can" in a query is the "can" of the terms.
        index = FTS(language=language, remove_stop_words=False)
        try:
            self._table.create_index("word", config=index)
        except (ValueError, RuntimeError) as error:
            raise ConfigurationError(
                f"LanceDB has no stemmer for language={language!r}: {str(error).splitlines()[0]}"
            ) from None

    def of(self, text: str) -> set[str]:
        """Return the words of `text`, and all known words that are forms of them."""
        import lancedb.query

        own = words_of(text)
        if not own:
            return set()
        kinds: Any = lancedb.query  # dataclasses of pydantic, whose defaults mypy does not see
        query = kinds.MatchQuery(" ".join(sorted(own)), "word")
        hits = self._table.search(query).select(["word", "_score"]).limit(self._rows)
        return own | set(hits.to_arrow()["word"].to_pylist())
