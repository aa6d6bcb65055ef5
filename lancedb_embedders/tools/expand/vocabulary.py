"""The terms of a collection: words, and pairs of words, by the number of texts that have them."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any

import pyarrow as pa

from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.inputs.text import accept_texts, is_blank
from lancedb_embedders.progress import progress_bar
from lancedb_embedders.tools.given import text_column

_BATCH = 1000  # rows that are read at once
#: Terms that are counted at once; beyond it, the rarest are forgotten.
_COUNTED = 500_000
_KEPT = 8  # tables whose terms a process remembers
# Begins with a letter: numbers and formulas are no words that a query could mean.
_WORD = r"(?u)\b[^\W\d_]\w+\b"
#: Below so many rows a term may be in one of them only.
_FEW = 100

_lock = Lock()
_known: OrderedDict[tuple[Any, ...], tuple[str, ...]] = OrderedDict()


def table_terms(
    table: Any,
    column: str | None = None,
    *,
    min_df: int | float | None = None,
    max_df: int | float = 0.5,
    max_terms: int = 10_000,
    progress: bool | None = None,
) -> tuple[str, ...]:
    """Return the terms of a table's texts, those in most texts first.

    Words have two letters or more and are in lower case; pairs are of words that follow each
    other. Words of scikit-learn's English stop list are left out, and pairs that hold one. Rows
    are read in batches and at most 500,000 terms are counted at a time; in a collection that has
    more, the count of a rare term may come out too low (lossy counting; Manku and Motwani 2002).
    A process counts each version of a table once.

    Parameters
    ----------
    table : lancedb.table.Table
        The collection.
    column : str, optional
        Column of texts; None: the one that the table embeds.
    min_df, max_df : int or float
        Texts that have a term, at least and at most: a number, or a share of all as a float.
        `min_df` is by default 2, or 1 in a table of fewer than 100 rows.
    max_terms : int
        The most that are returned.
    progress : bool, optional
        Show a progress bar; None: only on a terminal.

    Raises
    ------
    ConfigurationError
        An option that does not fit, no such column, or no term that meets them.
    InputError
        The column holds no text.
    """
    _check(min_df, max_df, max_terms)
    name = text_column(table, column)
    options = (name, min_df, max_df, max_terms)
    return _remembered(table, options, lambda: _counted(table, *options, progress))


def _check(min_df: int | float | None, max_df: int | float, max_terms: int) -> None:
    for name, value in (("min_df", min_df), ("max_df", max_df)):
        if value is None:
            continue
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        if not (whole or (isinstance(value, float) and 0.0 <= value <= 1.0)):
            raise ConfigurationError(
                f"{name} is a number of texts, 1 or more, or a share of them from 0.0 to 1.0, "
                f"not {value!r}"
            )
    if max_terms < 1:
        raise ConfigurationError(f"max_terms is 1 or more, not {max_terms!r}")


def _remembered(
    table: Any, options: tuple[Any, ...], count: Callable[[], tuple[str, ...]]
) -> tuple[str, ...]:
    uri = getattr(table, "uri", None)
    if uri is None:  # a table elsewhere, of which no version tells whether it is the same
        return count()
    # A table that was dropped and made again has the same versions at other times.
    newest = table.list_versions()[-1]["timestamp"]
    key = (uri, table.version, newest, *options)
    with _lock:
        if key in _known:
            _known.move_to_end(key)
            return _known[key]
    found = count()
    with _lock:
        _known[key] = found
        while len(_known) > _KEPT:
            _known.popitem(last=False)
    return found


def _counted(
    table: Any,
    column: str,
    min_df: int | float | None,
    max_df: int | float,
    max_terms: int,
    progress: bool | None,
) -> tuple[str, ...]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    rows, counts = 0, Counter[str]()
    batches = table.search().select([column]).to_batches(batch_size=_BATCH)
    with progress_bar(table.count_rows(), "rows", progress, desc="Counting terms") as bar:
        for batch in batches:
            rows += _count(batch.column(column), counts)
            _forget_rarest(counts)
            bar.update(len(batch))
    least = (2 if rows >= _FEW else 1) if min_df is None else _texts(min_df, rows)
    most = max(least, _texts(max_df, rows))

    def fits(term: str, count: int) -> bool:
        words = term.split()
        if len(words) == 2 and words[0] == words[1]:
            return False
        common = any(word in ENGLISH_STOP_WORDS for word in words)
        return least <= count <= most and not common

    fitting = [(count, term) for term, count in counts.items() if fits(term, count)]
    if not fitting:
        raise ConfigurationError(
            f"none of the {len(counts):,} terms in column {column!r} is in at least {least:,} and "
            f"at most {most:,} of its {rows:,} texts; lower min_df, raise max_df, or give a list "
            "of terms"
        )
    fitting.sort(key=lambda pair: (-pair[0], pair[1]))
    return tuple(term for _, term in fitting[:max_terms])


def _count(values: pa.Array, counts: Counter[str]) -> int:
    """Add the texts that have each term to `counts`; returns how many texts there are."""
    from sklearn.feature_extraction.text import CountVectorizer

    texts = [text for text in accept_texts(values) if text is not None and not is_blank(text)]
    vectorizer = CountVectorizer(ngram_range=(1, 2), token_pattern=_WORD, binary=True)
    analyze = vectorizer.build_analyzer()
    if any(analyze(text) for text in texts[:_BATCH]):  # it refuses texts without any term
        matrix = vectorizer.fit_transform(texts)
        terms: Iterable[str] = vectorizer.get_feature_names_out()
        in_texts = matrix.sum(axis=0).A1.tolist()
        for term, count in zip(terms, in_texts, strict=True):
            counts[term] += count
    return len(texts)


def _forget_rarest(counts: Counter[str]) -> None:
    least = 1
    while len(counts) > _COUNTED:
        for term in [term for term, count in counts.items() if count <= least]:
            del counts[term]
        least += 1


def _texts(given: int | float, rows: int) -> int:
    return given if isinstance(given, int) else int(given * rows)
