"""Rows to train on, in whatever form they come: scored pairs, or queries with what is right."""

from __future__ import annotations

import dataclasses
import math
import os
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from lancedb_embedders.errors import ConfigurationError, InputError
from lancedb_embedders.inputs.text import is_blank
from lancedb_embedders.tools.evaluate.datasets import (
    FIRSTS,
    SCORES,
    SECONDS,
    Labelled,
    ScoredPair,
)
from lancedb_embedders.tools.evaluate.files import records

_QUERIES = ("query", "anchor", "question", *FIRSTS)
_POSITIVES = ("positive", "document", "answer", "passage", *SECONDS)
_NEGATIVE = re.compile(r"negatives?(_?\d+)?$")


@dataclass(frozen=True)
class TrainingPair:
    """A query, a text that is right for it, and texts that are wrong.

    Attributes
    ----------
    query, positive : str
        What belongs together.
    negatives : tuple of str
        What does not belong to the query; best are those that are easily taken for right.
    """

    query: str
    positive: str
    negatives: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainingSet:
    """Rows of one kind.

    Attributes
    ----------
    kind : {"scored", "ranking"}
        Pairs with a score; or queries with what is right and, perhaps, what is wrong.
    rows : tuple of ScoredPair or of TrainingPair
        At least one.
    """

    kind: Literal["scored", "ranking"]
    rows: tuple[Any, ...]

    def texts(self) -> Iterator[str]:
        """Return all texts, equal ones as often as they are there."""
        for row in self.rows:
            if isinstance(row, ScoredPair):
                yield from (row.first, row.second)
            else:
                yield from (row.query, row.positive, *row.negatives)


def training_set(given: Any) -> TrainingSet:
    """Return rows to train on.

    Parameters
    ----------
    given : iterable, pandas.DataFrame, pyarrow.Table, lancedb.table.Table, str or os.PathLike
        Rows, a table of them, or a file (TSV, CSV, JSON lines). A row is a `ScoredPair`, a
        `TrainingPair`, a tuple or a mapping. A tuple holds two texts and a number, or a query, a
        positive and any count of negatives. A mapping, or a table's columns, have usual names:
        ``sentence1``, ``sentence2`` and ``score``; or ``query`` (``anchor``), ``positive``
        (``document``, ``answer``) and ``negative``, ``negative_1`` ..., or a list of ``negatives``.

    Raises
    ------
    InputError
        A row that is none of these, that has a blank text, or is of another kind than the first;
        the error names it, counted from 0.
    ConfigurationError
        There are no rows, or no such columns.

    Examples
    --------
    >>> training_set([("How do I sign in?", "Logging in", "Logging out")]).rows[0].negatives
    ('Logging out',)
    """
    rows: list[Any] = []
    for number, record in enumerate(rows_of(given)):
        row = _row(record, number)
        if rows and type(row) is not type(rows[0]):
            was = "scored" if isinstance(rows[0], ScoredPair) else "not scored"
            raise InputError(
                f"training data, row {number}: the rows before are {was}, and this one is of the "
                "other kind; train on one kind at a time",
                [number],
            )
        rows.append(row)
    if not rows:
        raise ConfigurationError("there are no rows to train on")
    return TrainingSet("scored" if isinstance(rows[0], ScoredPair) else "ranking", tuple(rows))


def pairs_from_labels(
    labelled: Iterable[Labelled], per_text: int = 1, seed: int = 0
) -> list[TrainingPair]:
    """Return pairs of texts that have the same label.

    Parameters
    ----------
    labelled : iterable of Labelled
        Texts and their classes; equal texts of a class count once.
    per_text : int
        Pairs for each text, with other texts of its class; fewer where there are not so many.
    seed : int
        Of the choice.

    Raises
    ------
    ConfigurationError
        No class has two texts.

    Examples
    --------
    >>> pairs_from_labels([Labelled("greet", "hello"), Labelled("greet", "hi"), Labelled("x", "?")])
    [TrainingPair(query='hello', positive='hi', negatives=()), \
TrainingPair(query='hi', positive='hello', negatives=())]
    """
    if per_text < 1:
        raise ConfigurationError(f"per_text={per_text} gives no pairs; it is 1 or more")
    classes: dict[str, dict[str, None]] = {}
    for one in labelled:
        classes.setdefault(one.label, {})[one.text] = None
    chosen = random.Random(seed)
    pairs = [
        TrainingPair(text, other)
        for texts in map(list, classes.values())
        for position, text in enumerate(texts)
        for others in [texts[:position] + texts[position + 1 :]]
        for other in chosen.sample(others, min(per_text, len(others)))
    ]
    if not pairs:
        raise ConfigurationError("no label has two texts, so there is nothing to pair")
    return pairs


def prepared(rows: TrainingSet, prepare: Callable[[str], str]) -> TrainingSet:
    """Return rows with each text as a function would put it to its model."""
    changed: list[Any] = []
    for row in rows.rows:
        if isinstance(row, ScoredPair):
            changed.append(ScoredPair(row.score, prepare(row.first), prepare(row.second)))
        else:
            negatives = tuple(map(prepare, row.negatives))
            changed.append(TrainingPair(prepare(row.query), prepare(row.positive), negatives))
    return TrainingSet(rows.kind, tuple(changed))


def rows_of(given: Any, what: str = "training data") -> Iterable[Any]:
    """Return the rows of a list, a table or a file, as they are there."""
    if isinstance(given, (str, os.PathLike)):
        return records(Path(given).expanduser())
    if isinstance(given, TrainingSet):
        return given.rows
    table = given.to_arrow() if hasattr(given, "to_arrow") else given  # LanceDB, Polars
    if isinstance(table, (pa.Table, pa.RecordBatch)):
        arrow: Iterable[Any] = table.to_pylist()
        return arrow
    if hasattr(given, "to_dict") and hasattr(given, "columns"):  # pandas
        rows: Iterable[Any] = given.to_dict("records")
        return rows
    if isinstance(given, Iterable) and not isinstance(given, Mapping):
        return given
    raise ConfigurationError(
        f"expected {what} as rows, a table, or the path of a TSV, CSV or JSON lines file, not "
        f"{type(given).__name__}"
    )


def _row(record: Any, number: int) -> ScoredPair | TrainingPair:
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        record = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    if isinstance(record, Mapping):
        return _from_mapping(record, number)
    if isinstance(record, Sequence) and not isinstance(record, (str, bytes)):
        return _from_sequence(record, number)
    raise InputError(
        f"training data, row {number}: expected two texts or more, got {type(record).__name__}",
        [number],
    )


def _from_mapping(record: Mapping[str, Any], number: int) -> ScoredPair | TrainingPair:
    query, positive = _named(record, _QUERIES), _named(record, _POSITIVES)
    if query is None or positive is None:
        hint = ""
        if "label" in record and "text" in record:
            hint = "; of labelled texts, pairs_from_labels makes pairs"
        raise ConfigurationError(
            f"training data, row {number}: expected sentence1, sentence2 and score, or query, "
            f"positive and negative; there are: {', '.join(map(str, record))}{hint}"
        )
    score = _named(record, SCORES)
    if score is not None:
        first, second = (_text(record[name], number, name) for name in (query, positive))
        return ScoredPair(_score(record[score], number), first, second)
    negatives: list[Any] = []
    for name, value in record.items():
        if _NEGATIVE.match(str(name)):
            negatives += _listed(value, number)
    return _pair(record[query], record[positive], negatives, number)


def _listed(value: Any, number: int) -> list[Any]:
    if isinstance(value, str):
        return [value] if value else []
    # What is missing in a column is None, or NaN where pandas holds it.
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return []
    if isinstance(value, Iterable):
        return list(value)
    return [_text(value, number, "negative")]


def _from_sequence(record: Sequence[Any], number: int) -> ScoredPair | TrainingPair:
    if len(record) < 2:
        raise InputError(
            f"training data, row {number}: expected two texts or more, got {len(record)}", [number]
        )
    first, second, *rest = record
    if len(rest) == 1 and _is_number(rest[0]):
        return ScoredPair(
            _score(rest[0], number), _text(first, number, 0), _text(second, number, 1)
        )
    if len(rest) == 1 and isinstance(rest[0], (list, tuple)):
        rest = list(rest[0])
    return _pair(first, second, rest, number)


def _pair(query: Any, positive: Any, negatives: Iterable[Any], number: int) -> TrainingPair:
    pair = TrainingPair(
        _text(query, number, "query"),
        _text(positive, number, "positive"),
        tuple(_text(negative, number, "negative") for negative in negatives),
    )
    if pair.positive in pair.negatives:
        raise InputError(
            f"training data, row {number}: the positive is among its own negatives", [number]
        )
    return pair


def _named(record: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in record), None)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) or hasattr(value, "dtype")


def _score(value: Any, number: int) -> float:
    try:
        score = float(value)
    except (TypeError, ValueError):
        score = math.nan
    if not math.isfinite(score):
        raise InputError(f"training data, row {number}: {value!r} is no score", [number])
    return score


def _text(value: Any, number: int, what: str | int) -> str:
    if not isinstance(value, str) or is_blank(value):
        shown = "a blank one" if isinstance(value, str) else type(value).__name__
        raise InputError(
            f"training data, row {number}: expected a text for {what!r}, got {shown}", [number]
        )
    return value
