"""The FAQ: entries in a table, questions to it, and what it learns from questions with answers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lancedb.embeddings import get_registry
from lancedb.expr import col, lit
from lancedb.pydantic import LanceModel

from examples.semantic_faq.calibration import Calibration, Outcome, fitted
from examples.semantic_faq.reading import rows
from lancedb_embedders import ConfigurationError, InputError, tables

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4)  # of the answer, of which `fit` takes the best
NEAREST = 20  # questions whose answers are looked at

Asked = Sequence[tuple[str, str]]  # questions, and the id of the entry that answers each


@dataclass(frozen=True)
class Entry:
    id: str
    question: str
    answer: str
    category: str = ""


# An entry, and the similarity of a question to its question and to its answer.
_Near = tuple[Entry, float, float]


@dataclass(frozen=True)
class Reply:
    entry: Entry | None  # None: "I don't know"
    confidence: float  # probability that the nearest entry is right; once fitted
    nearest: list[tuple[Entry, float]]  # entries with their similarity, the best first


class SemanticFaq:
    """Answers questions from a table of entries, which is made where it is not there yet."""

    def __init__(self, db: Any, name: str = "faq") -> None:
        self.db, self.name = db, name
        there = set(db.list_tables().tables)
        self.table = (
            db.open_table(name) if name in there else db.create_table(name, schema=_model())
        )
        self.calibration = Calibration()
        if f"{name}_calibration" in there:
            row = db.open_table(f"{name}_calibration").to_arrow().to_pylist()[0]
            self.calibration = Calibration(**row)
        self._function = self.table.embedding_functions["vector"].function

    def load(self, path: str | os.PathLike[str], category: str = "category") -> int:
        """Add the entries of a CSV, TSV or JSON-lines file, or of a BEIR folder's corpus.

        Columns are ``question`` and ``answer`` (or ``title`` and ``text``), and there may be ``id``
        (or ``_id``) and a category, in the column of that name.
        """
        entries = []
        for number, row in enumerate(rows(Path(path))):
            question, answer = (row.get(a) or row.get(b) for a, b in _COLUMNS)
            key = str(row.get("id") or row.get("_id") or f"{Path(path).name}:{number}")
            entries.append(Entry(key, question, answer, (row.get(category) or "").strip()))  # type: ignore[arg-type]
        self.add(entries)
        return len(entries)

    def add(self, entries: Iterable[Entry]) -> None:
        """Add entries; all or none."""
        entries = list(entries)
        seen = set(self._column("id"))
        for number, entry in enumerate(entries):
            if entry.id in seen:
                raise InputError(
                    f"row {number}: there is an entry {entry.id!r}; correct() changes it", [number]
                )
            seen.add(entry.id)
            _check(number, **asdict(entry))
        if entries:
            self.table.add([asdict(entry) for entry in entries])

    def correct(self, id: str, **changes: str) -> None:  # noqa: A002
        """Change question, answer or category of an entry; changed texts get new vectors."""
        known = ("question", "answer", "category")
        unknown = changes.keys() - set(known)
        if unknown or not changes:
            raise ConfigurationError(f"expected some of {', '.join(known)}, got {sorted(unknown)}")
        self._check_id(id)
        _check(0, **changes)
        this = self.table.search().where(col("id") == lit(id)).select(["id", *known]).to_list()[0]
        tables.upsert(self.table, [{**this, **changes}], "id")

    def delete(self, id: str) -> None:  # noqa: A002
        """Remove an entry."""
        self._check_id(id)
        self.table.delete(col("id") == lit(id))

    def ask(self, question: str, category: str | None = None) -> Reply:
        """Return the entry that answers a question, of one category if given."""
        wanted = None
        if category is not None:
            known = sorted(set(self._column("category")))
            if category not in known:
                raise ConfigurationError(
                    f"there is no category {category!r}; there are: {', '.join(map(repr, known))}"
                )
            # An expression and not SQL put together: no value can be anything but a value.
            wanted = col("category") == lit(category)
        nearest = _ranked(self._near([question], wanted)[0], self.calibration.answer_weight)
        if not nearest:
            return Reply(None, 0.0, [])
        confidence = self.calibration.confidence(*_evidence(nearest))
        known_well = confidence >= self.calibration.threshold
        return Reply(nearest[0][0] if known_well else None, confidence, nearest)

    def fit(
        self, asked: Asked, *, precision: float | None = 0.8, unanswerable: float = 0.5
    ) -> Calibration:
        """Learn confidence and threshold from questions whose entries are known, and keep them.

        The threshold is the lowest with which that share of the answers is right, if of all
        questions the share `unanswerable` has no entry. None: the one of the best F1.
        """
        for name, share in (("precision", precision), ("unanswerable", unanswerable)):
            if share is not None and not 0 < share < 1:
                raise ConfigurationError(f"{name} is a share between 0 and 1, not {share}")
        if not asked:
            raise ConfigurationError("there are no questions to learn from")
        found = self._looked_up(asked)
        by_weight = {weight: _outcomes(found, weight) for weight in WEIGHTS}
        self.calibration = fitted(by_weight, precision, unanswerable)
        kept = f"{self.name}_calibration"
        if kept in self.db.list_tables().tables:
            self.db.drop_table(kept)
        self.db.create_table(kept, [asdict(self.calibration)])
        return self.calibration

    def outcomes(self, asked: Asked) -> list[Outcome]:
        """Ask each question with its entry there, and with its entry left out."""
        return _outcomes(self._looked_up(asked), self.calibration.answer_weight)

    def _looked_up(self, asked: Asked) -> list[tuple[list[_Near], str, bool]]:
        known = set(self._column("id"))
        for number, (_, key) in enumerate(asked):
            if key not in known:
                raise InputError(f"question {number}: there is no entry {key!r}", [number])
        looked_up: list[tuple[list[_Near], str, bool]] = []
        found = self._near([question for question, _ in asked], None)
        for (_, key), near in zip(asked, found, strict=True):
            looked_up.append((near, key, True))
            looked_up.append(([one for one in near if one[0].id != key], key, False))
        return looked_up

    def _near(self, questions: list[str], wanted: Any) -> list[list[_Near]]:
        """Return entries with each question's similarity to theirs, and to their answers."""
        for number, question in enumerate(questions):
            if not isinstance(question, str) or not question.strip():
                raise InputError(f"expected a question, got {question!r}", [number])
        vectors = np.asarray(self._function.compute_query_embeddings(questions))
        search = self.table.search(vectors, vector_column_name="vector").distance_type("cosine")
        if wanted is not None:
            search = search.where(wanted)
        fields = ["id", "question", "answer", "category"]
        found = search.limit(NEAREST).select([*fields, "answer_vector", "_distance"]).to_list()
        near: list[list[_Near]] = [[] for _ in questions]
        for row in found:
            at = row.get("query_index", 0)  # for a single vector LanceDB leaves it out
            entry = Entry(*(row[field] for field in fields))
            to_answer = float(vectors[at] @ row["answer_vector"])
            near[at].append((entry, 1 - row["_distance"], to_answer))
        return near

    def _column(self, name: str) -> list[str]:
        values: list[str] = self.table.search().select([name]).to_arrow()[name].to_pylist()
        return values

    def _check_id(self, key: str) -> None:
        if not self.table.search().where(col("id") == lit(key)).select(["id"]).to_list():
            raise InputError(f"there is no entry {key!r}")


_COLUMNS = (("question", "title"), ("answer", "text"))


def _model() -> type[LanceModel]:
    # Answers may be longer than a model's window; vectors of both are in one space.
    short = get_registry().get("sbert").create()
    whole = get_registry().get("long-document").create()

    class Row(LanceModel):
        id: str
        category: str
        question: str = short.SourceField()
        vector: short.Vector() = short.VectorField()  # type: ignore[valid-type]
        answer: str = whole.SourceField()
        answer_vector: whole.Vector() = whole.VectorField()  # type: ignore[valid-type]

    return Row


def _check(number: int, **values: Any) -> None:
    for name, value in values.items():
        if not isinstance(value, str) or not (name == "category" or value.strip()):
            raise InputError(f"row {number}: {name} is to be a text, not {value!r}", [number])


def _ranked(near: list[_Near], weight: float) -> list[tuple[Entry, float]]:
    weighed = [(entry, (1 - weight) * own + weight * answer) for entry, own, answer in near]
    return sorted(weighed, key=lambda one: one[1], reverse=True)


def _evidence(nearest: list[tuple[Entry, float]]) -> tuple[float, float]:
    best, *others = (similarity for _, similarity in nearest)
    return best, best - others[0] if others else 0.0


def _outcomes(looked_up: list[tuple[list[_Near], str, bool]], weight: float) -> list[Outcome]:
    made = []
    for near, key, answerable in looked_up:
        nearest = _ranked(near, weight)
        if nearest:
            right = nearest[0][0].id == key
            made.append(Outcome(*_evidence(nearest), right, answerable))
    return made
