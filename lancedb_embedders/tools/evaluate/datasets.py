"""Evaluation data in the forms that it usually comes in: BEIR folders, pairs, labelled texts."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lancedb_embedders.errors import ConfigurationError, EmbeddingWarning, InputError
from lancedb_embedders.inputs.text import is_blank
from lancedb_embedders.tools.evaluate.files import opened, records

#: Usual names of a pair's columns, of which the first that is there counts.
SCORES = ("score", "similarity_score", "similarity")
FIRSTS = ("sentence1", "text1", "question1", "first")
SECONDS = ("sentence2", "text2", "question2", "second")
_JUDGEMENTS = (*SCORES, "label", "similar", "entails", "is_duplicate")
_FIRSTS = (*FIRSTS, "query", "question", "anchor")
_SECONDS = (*SECONDS, "document", "faq", "positive")
_LABELS = ("label", "intent", "category", "class", "topic")
_TEXTS = ("text", "sentence", "question", "query")
_TRUTH = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}


@dataclass(frozen=True)
class ScoredPair:
    """Two texts, and how alike people find them; a higher score is more alike."""

    score: float
    first: str
    second: str


@dataclass(frozen=True)
class Labelled:
    """A text and the class that it belongs to."""

    label: str
    text: str


@dataclass(frozen=True)
class RetrievalSet:
    """Documents, queries, and which documents are right for which query.

    Attributes
    ----------
    corpus, queries : dict of str to str
        Texts by id.
    qrels : dict of str to dict of str to int
        Query id -> document id -> grade; 1 and above is relevant.
    name : str
        What to call it.
    """

    corpus: Mapping[str, str] = field(repr=False)
    queries: Mapping[str, str] = field(repr=False)
    qrels: Mapping[str, Mapping[str, int]] = field(repr=False)
    name: str = ""


def read_pairs(
    path: str | Path,
    *,
    score: str | None = None,
    first: str | None = None,
    second: str | None = None,
) -> list[ScoredPair]:
    """Read scored pairs of texts.

    Parameters
    ----------
    path : str or pathlib.Path
        TSV (tabs, no quoting), CSV, or JSON lines; with ``.gz`` at the end, compressed. TSV and CSV
        have a line of headings.
    score, first, second : str, optional
        Columns; None: the one that has a usual name, like ``score``, ``sentence1``, ``sentence2``.
        ``true`` and ``false`` count as 1 and 0.

    Raises
    ------
    ConfigurationError
        There is no such file, or no such column; the error lists those that there are.
    InputError
        A score that is no number, or a blank text; names the row, counted from 0.
    """
    path = Path(path)
    found = []
    columns: tuple[str, str, str] | None = None
    for row, record in enumerate(records(path)):
        if columns is None:
            columns = (
                _column(path, record, score, _JUDGEMENTS, "score"),
                _column(path, record, first, _FIRSTS, "first text"),
                _column(path, record, second, _SECONDS, "second text"),
            )
        found.append(
            ScoredPair(
                _score(path, row, record.get(columns[0])),
                _text(path, row, record, columns[1]),
                _text(path, row, record, columns[2]),
            )
        )
    return _some(found, path)


def read_labelled(
    path: str | Path, *, label: str | None = None, text: str | None = None
) -> list[Labelled]:
    """Read texts with their classes; forms, columns and errors as in `read_pairs`.

    Parameters
    ----------
    path : str or pathlib.Path
        TSV, CSV or JSON lines.
    label, text : str, optional
        Columns; None: the ones that have a usual name, like ``label`` and ``text``.
    """
    path = Path(path)
    found = []
    columns: tuple[str, str] | None = None
    for row, record in enumerate(records(path)):
        if columns is None:
            columns = (
                _column(path, record, label, _LABELS, "label"),
                _column(path, record, text, _TEXTS, "text"),
            )
        name = record.get(columns[0])
        if name is None or is_blank(str(name)):
            raise InputError(f"{path}, row {row}: column {columns[0]!r} is empty", [row])
        found.append(Labelled(str(name), _text(path, row, record, columns[1])))
    return _some(found, path)


def read_beir(folder: str | Path, split: str | None = None) -> RetrievalSet:
    """Read a retrieval set in the form of BEIR.

    Parameters
    ----------
    folder : str or pathlib.Path
        Has ``corpus.jsonl`` (``_id``, ``title``, ``text``), ``queries.jsonl`` (``_id``, ``text``),
        and ``qrels.tsv`` or ``qrels/<split>.tsv`` (query, document, grade; with headings or in the
        form of TREC). Files may end in ``.gz``. A document's text is its title, a space, its text.
    split : str, optional
        Which queries: ``qrels/<split>.tsv`` or ``qrels.<split>.tsv`` (and ``queries.<split>.jsonl``
        if there); None: the only one, or ``test``.

    Raises
    ------
    ConfigurationError
        A file or split is missing; the error lists what there is.
    InputError
        A row that cannot be read, with file and row.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigurationError(f"there is no folder {folder}")
    known = _splits(folder)
    if not known:
        raise ConfigurationError(
            f"{folder} has no qrels: there must be qrels.tsv or qrels/<split>.tsv"
        )
    if split is None:
        split = next(iter(known)) if len(known) == 1 else "test"
    if split not in known:
        raise ConfigurationError(
            f"{folder} has no split {split!r}; name one by split=...: {', '.join(known)}"
        )
    corpus = _by_id(_one(folder, "corpus.jsonl"))
    own = [
        f for f in (folder / f"queries.{split}.jsonl{end}" for end in ("", ".gz")) if f.is_file()
    ]
    queries = _by_id(own[0] if own else _one(folder, "queries.jsonl"))
    qrels = _qrels(known[split])
    lost = [query for query in qrels if query not in queries]
    if lost:
        raise ConfigurationError(
            f"{known[split]}: query {lost[0]!r} is judged and is not among the queries"
            + (f", and {len(lost) - 1:,} more" if len(lost) > 1 else "")
        )
    gone = sum(document not in corpus for grades in qrels.values() for document in grades)
    if gone:
        warnings.warn(
            f"{known[split]}: {gone:,} judged documents are not in the corpus; they count as not "
            "found",
            EmbeddingWarning,
            stacklevel=2,
        )
    judged = {query: queries[query] for query in qrels}
    return RetrievalSet(corpus, judged, qrels, folder.name)


def _splits(folder: Path) -> dict[str, Path]:
    found = {}
    for file in sorted(folder.glob("qrels*.tsv*")):
        middle = file.name.removesuffix(".gz").removesuffix(".tsv").removeprefix("qrels")
        found[middle.removeprefix(".") or "test"] = file
    for file in sorted((folder / "qrels").glob("*.tsv*")):
        found[file.name.removesuffix(".gz").removesuffix(".tsv")] = file
    return found


def _one(folder: Path, name: str) -> Path:
    for file in (folder / name, folder / f"{name}.gz"):
        if file.is_file():
            return file
    raise ConfigurationError(f"{folder} has no {name}")


def _by_id(file: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for row, record in enumerate(records(file)):
        key = record.get("_id", record.get("id"))
        if key is None:
            raise InputError(f"{file}, row {row}: there is no _id", [row])
        if str(key) in found:
            raise InputError(f"{file}, row {row}: _id {str(key)!r} is there twice", [row])
        parts = (str(record.get(part) or "") for part in ("title", "text"))
        found[str(key)] = " ".join(part for part in parts if part).strip()
    return found


def _qrels(file: Path) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    with opened(file) as lines:
        for row, line in enumerate(lines):
            parts = line.split()
            if not parts or (row == 0 and not _is_int(parts[-1])):
                continue  # headings
            if len(parts) not in (3, 4) or not _is_int(parts[-1]):
                raise InputError(
                    f"{file}, row {row}: expected query, document and grade, got {line.strip()!r}",
                    [row],
                )
            found.setdefault(parts[0], {})[parts[-2]] = int(parts[-1])
    if not found:
        raise ConfigurationError(f"{file} judges nothing")
    return found


def _is_int(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _column(
    path: Path, record: Mapping[str, Any], given: str | None, usual: Sequence[str], what: str
) -> str:
    for name in usual if given is None else (given,):
        if name in record:
            return name
    there = ", ".join(str(name) for name in record)
    missing = f"column {given!r}" if given else f"column for the {what}, which has a usual name"
    raise ConfigurationError(f"{path} has no {missing}; it has: {there}")


def _score(path: Path, row: int, value: Any) -> float:
    try:
        score = _TRUTH.get(str(value).strip().lower())
        score = float(value) if score is None else score
    except (TypeError, ValueError):
        score = math.nan
    if not math.isfinite(score):
        raise InputError(f"{path}, row {row}: {value!r} is no score", [row])
    return score


def _text(path: Path, row: int, record: Mapping[str, Any], column: str) -> str:
    text = record.get(column)
    if not isinstance(text, str) or is_blank(text):
        raise InputError(f"{path}, row {row}: column {column!r} holds no text", [row])
    return text


def _some(found: list[Any], path: Path) -> list[Any]:
    if not found:
        raise ConfigurationError(f"{path} has no rows")
    return found
