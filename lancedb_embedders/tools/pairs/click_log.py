"""A log of what was shown to users, and what of it they clicked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lancedb_embedders.errors import ConfigurationError, InputError
from lancedb_embedders.inputs.text import is_blank
from lancedb_embedders.tools.fine_tuning.data import rows_of

_NAMES = {
    "query": ("query", "q"),
    "document": ("document", "document_id", "doc", "doc_id", "text", "id"),
    "position": ("position", "rank"),
    "clicked": ("clicked", "click", "is_click"),
    "session": ("session", "session_id", "impression_id", "time", "timestamp"),
}
_TRUTH = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}


@dataclass(frozen=True)
class Impression:
    """A document that was shown for a query.

    Attributes
    ----------
    query, document : str
        Texts.
    position : int
        In the list of results, from 1.
    clicked : bool
        Whether it was.
    session : object
        Tells lists of results apart; None: not known.
    """

    query: str
    document: str
    position: int
    clicked: bool
    session: Any = None


def impressions(
    log: Any, documents: Mapping[Any, str] | None, left_out: Counter[str]
) -> list[Impression]:
    """Return the rows of a log; what has no text is counted in `left_out`.

    Raises
    ------
    InputError
        A position or a click that is none, or a row that lacks one; names the row.
    ConfigurationError
        There are no such columns.
    """
    found = []
    for number, record in enumerate(rows_of(log, "a log of clicks")):
        row = _fields(record, number)
        query, document = row["query"], row["document"]
        if documents is not None:
            if document not in documents:
                left_out["rows whose document has no text in documents"] += 1
                continue
            document = documents[document]
        if not isinstance(query, str) or not isinstance(document, str):
            raise InputError(
                f"log, row {number}: expected a query and a document of text, got "
                f"{type(query).__name__} and {type(document).__name__}; texts of ids go into "
                "documents={...}",
                [number],
            )
        if is_blank(query) or is_blank(document):
            left_out["rows with a blank query or document"] += 1
            continue
        position = _position(row["position"], number)
        clicked = _clicked(row["clicked"], number)
        found.append(Impression(query, document, position, clicked, row.get("session")))
    return found


def lists_of(rows: Sequence[Impression]) -> Iterator[list[Impression]]:
    """Give the rows that were shown together, list by list."""
    by_session: dict[Any, list[Impression]] = {}
    current: list[Impression] = []
    for row in rows:
        if row.session is not None:
            by_session.setdefault((row.query, row.session), []).append(row)
            continue
        last = current[-1] if current else None
        if last is not None and (last.query != row.query or last.position >= row.position):
            yield current
            current = []
        current.append(row)
    if current:
        yield current
    yield from by_session.values()


def _fields(record: Any, number: int) -> dict[str, Any]:
    if isinstance(record, Impression):
        return vars(record)
    if isinstance(record, Mapping):
        row = {}
        for field, names in _NAMES.items():
            name = next((name for name in names if name in record), None)
            if name is not None:
                row[field] = record[name]
            elif field != "session":
                raise ConfigurationError(
                    f"log, row {number}: there is no {field} ({' or '.join(names)}); there are: "
                    f"{', '.join(map(str, record))}"
                )
        return row
    if isinstance(record, (tuple, list)) and len(record) in (4, 5):
        return dict(zip(_NAMES, record, strict=False))
    raise InputError(
        f"log, row {number}: expected query, document, position, clicked and perhaps a session",
        [number],
    )


def _position(value: Any, number: int) -> int:
    try:
        position = int(value)
        if position != float(value) or position < 1:
            raise ValueError
    except (TypeError, ValueError):
        raise InputError(
            f"log, row {number}: position {value!r} is none; they count from 1", [number]
        ) from None
    return position


def _clicked(value: Any, number: int) -> bool:
    known = _TRUTH.get(str(value).strip().lower())
    if known is None:
        raise InputError(
            f"log, row {number}: clicked is {value!r}; it must be true or false", [number]
        )
    return known
