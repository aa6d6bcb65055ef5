"""`tables.upsert`: rows merged by key, where only new and changed texts are embedded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from lancedb.pydantic import LanceModel

from lancedb_embedders import (
    CachedOpenAIEmbeddings,
    ConfigurationError,
    EmbeddingWarning,
    InputError,
    observers,
    tables,
)
from tests.counting import vectors_for
from tests.providers import ProviderServer
from tests.table_function import SEEN, LabelledEmbeddings, texts_table, wrong_rows

TEXTS = [f"text number {i}" for i in range(10)]


@pytest.fixture
def function() -> LabelledEmbeddings:
    return LabelledEmbeddings.create()


@pytest.fixture(params=[True, False], ids=["hashes", "no hashes"])
def table(request: pytest.FixtureRequest, db: Any, function: LabelledEmbeddings) -> Any:
    made = texts_table(db, TEXTS, fragments=2)
    tables.attach(made, "text", "vector", function, content_hash=request.param)
    SEEN.clear()
    return made


def test_only_new_and_changed_texts_are_embedded(table: Any, function: LabelledEmbeddings) -> None:
    rows = [
        {"id": 1, "text": TEXTS[1]},
        {"id": 2, "text": "changed"},
        {"id": 50, "text": "new"},
    ]
    report = tables.upsert(table, rows, "id")
    assert (report.inserted, report.updated) == (1, 2)
    assert (report.embedded, report.reused) == (2, 1)
    assert SEEN == ["changed", "new"]
    assert table.count_rows() == 11
    assert wrong_rows(table, function) == []
    assert table.version == report.version


def test_a_vector_that_update_left_behind_is_made_anew(
    db: Any, function: LabelledEmbeddings
) -> None:
    table = texts_table(db, TEXTS)
    tables.attach(table, "text", "vector", function)
    table.update(where="id = 3", values={"text": "changed"})
    SEEN.clear()
    tables.upsert(table, [{"id": 3, "text": "changed"}], "id")
    assert SEEN == ["changed"]
    assert wrong_rows(table, function) == []
    assert tables.check(table).ok


def test_rows_may_come_as_anything_of_arrow_s_models_or_a_generator(
    table: Any, function: LabelledEmbeddings
) -> None:
    class Row(LanceModel):
        id: int
        text: str

    arrow = pa.table({"id": [100, 101], "text": ["a", "b"]})

    def generated() -> Iterator[dict[str, Any]]:
        yield {"id": 106, "text": "g"}

    for rows, count in (
        (arrow, 2),
        (arrow.to_reader(), 0),
        (pd.DataFrame({"id": [102], "text": ["c"]}), 1),
        ([Row(id=103, text="d")], 1),
        (generated(), 1),
        (iter(arrow.to_batches()), 0),
    ):
        assert tables.upsert(table, rows, "id").inserted == count
    assert wrong_rows(table, function) == []


def test_a_model_leaves_out_what_was_not_given(table: Any, function: LabelledEmbeddings) -> None:
    class Row(LanceModel):
        id: int
        text: str
        vector: function.Vector() | None = function.VectorField(default=None)  # type: ignore[valid-type]

    report = tables.upsert(table, [Row(id=1, text="changed"), Row(id=60, text="new")], "id")
    assert (report.inserted, report.updated, report.embedded) == (1, 1, 2)
    assert wrong_rows(table, function) == []


def test_batches_are_merged_one_by_one(table: Any, function: LabelledEmbeddings) -> None:
    rows = [{"id": i, "text": f"new {i}"} for i in range(25)]
    version = table.version
    report = tables.upsert(table, iter(rows), "id", batch_rows=10)
    assert (report.inserted, report.updated, report.embedded) == (15, 10, 25)
    assert report.version == version + 3
    assert wrong_rows(table, function) == []


def test_columns_that_are_left_out_stay(db: Any, function: LabelledEmbeddings) -> None:
    table = db.create_table("t", [{"id": 1, "text": "one", "author": "Ann"}])
    tables.attach(table, "text", "vector", function)
    SEEN.clear()
    tables.upsert(table, [{"id": 1, "author": "Bob"}], "id")
    assert SEEN == []
    tables.upsert(table, [{"id": 1, "text": "uno"}], "id")
    (row,) = table.to_arrow().to_pylist()
    assert (row["author"], row["text"]) == ("Bob", "uno")
    assert wrong_rows(table, function) == []


def test_each_row_may_leave_out_other_columns(table: Any, function: LabelledEmbeddings) -> None:
    table.add_columns({"title": "cast(NULL as string)"})
    table.update(values={"title": "old"})
    SEEN.clear()
    rows = [{"id": 1, "text": "changed"}, {"id": 2, "title": "new"}, {"id": 60, "text": "added"}]
    report = tables.upsert(table, rows, "id")
    assert (report.inserted, report.updated, report.embedded) == (1, 2, 2)
    found = {row["id"]: row for row in table.search().limit(99).to_list()}
    assert (found[1]["text"], found[1]["title"]) == ("changed", "old")
    assert (found[2]["text"], found[2]["title"]) == (TEXTS[2], "new")
    assert (found[60]["text"], found[60]["title"]) == ("added", None)
    assert wrong_rows(table, function) == []


@pytest.fixture
def strict(db: Any, function: LabelledEmbeddings) -> Any:
    """A table that takes nulls in no column but that of the vectors."""

    class Document(LanceModel):
        id: int
        title: str
        text: str = function.SourceField()
        vector: function.Vector() = function.VectorField()  # type: ignore[valid-type]

    made = db.create_table("strict", schema=Document)
    made.add([{"id": i, "title": f"title {i}", "text": TEXTS[i]} for i in range(4)])
    SEEN.clear()
    return made


def test_columns_without_nulls_may_be_left_out_of_rows_that_are_there(
    strict: Any, function: LabelledEmbeddings
) -> None:
    report = tables.upsert(strict, [{"id": 1, "text": "changed"}], "id")
    assert (report.inserted, report.updated, report.embedded) == (0, 1, 1)
    (row,) = strict.search().where("id = 1").to_list()
    assert (row["title"], row["text"]) == ("title 1", "changed")
    assert wrong_rows(strict, function) == []


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"id": 1, "text": "a"}, {"id": 8, "text": "b"}, {"id": 9, "text": "c"}],
            "rows 1, 2 are new and lack column 'title', which the table needs",
        ),
        ([{"id": 9, "title": "x"}], "row 0 is new and lacks column 'text', which the table needs"),
        ([{"id": 1, "text": "a", "title": None}], "row 0 has a null in column 'title', where the"),
    ],
)
def test_what_a_table_without_nulls_cannot_take_is_said_before_it_is_embedded(
    strict: Any, rows: list[dict[str, Any]], message: str
) -> None:
    version = strict.version
    with pytest.raises(InputError, match=message):
        tables.upsert(strict, rows, "id")
    strict.checkout_latest()
    assert (strict.version, SEEN) == (version, [])


def test_a_row_that_another_deletes_meanwhile_is_not_dropped_in_silence(
    strict: Any, function: LabelledEmbeddings
) -> None:
    def delete(*_: Any) -> None:
        strict.delete("id = 1")

    key = (type(function), function.identity())
    observers.add(key, delete)  # after the rows were looked up, and before they are merged
    try:
        with pytest.raises(InputError, match=r"1 of rows 0, 1 was deleted meanwhile.*'title'"):
            tables.upsert(strict, [{"id": i, "text": "changed"} for i in (1, 2)], "id")
    finally:
        observers.remove(key, delete)
    assert strict.count_rows() == 3


def test_several_columns_may_make_the_key(db: Any, function: LabelledEmbeddings) -> None:
    rows = [{"site": s, "page": p, "text": f"{s}{p}"} for s in "ab" for p in (1, 2)]
    table = db.create_table("t", rows)
    tables.attach(table, "text", "vector", function)
    SEEN.clear()
    report = tables.upsert(
        table,
        [{"site": "a", "page": 2, "text": "a2"}, {"site": "b", "page": 1, "text": "new"}],
        ["site", "page"],
    )
    assert (report.updated, report.reused, SEEN) == (2, 1, ["new"])
    assert table.count_rows() == 4


def test_vectors_that_are_given_are_kept(db: Any, function: LabelledEmbeddings) -> None:
    table = texts_table(db, TEXTS)
    tables.attach(table, "text", "vector", function)
    SEEN.clear()
    given = vectors_for(["another"])[0]
    tables.upsert(table, [{"id": 1, "text": "x", "vector": given.tolist()}], "id")
    assert SEEN == []
    row = table.search().where("id = 1").to_list()[0]
    assert row["vector"] == pytest.approx(given)


def test_what_becomes_of_rows_with_nothing_to_embed_is_decided(
    table: Any, function: LabelledEmbeddings
) -> None:
    rows = [{"id": 20, "text": None}, {"id": 21, "text": "two"}]
    with pytest.raises(InputError, match="row 0 has nothing to embed"):
        tables.upsert(table, rows, "id")
    assert tables.upsert(table, rows, "id", on_bad_vectors="drop").inserted == 1
    assert tables.upsert(table, rows, "id", on_bad_vectors="null").inserted == 1
    assert wrong_rows(table, function) == []
    tables.upsert(table, [{"id": 22, "text": " "}], "id", on_bad_vectors="fill", fill_value=0.5)
    assert table.search().where("id = 22").to_list()[0]["vector"] == [0.5] * 8


def test_a_text_that_the_provider_refuses_is_said(db: Any, provider: ProviderServer) -> None:
    function = CachedOpenAIEmbeddings.create(base_url=f"{provider.url}/v1", on_error="null")
    table = texts_table(db, TEXTS)
    tables.attach(table, "text", "vector", function)
    provider.poison = {"poison"}
    rows = [{"id": 20, "text": "poison"}, {"id": 21, "text": "fine"}, {"id": 22, "text": None}]
    with pytest.warns(EmbeddingWarning, match="refuses the text") as said:
        tables.upsert(table, rows, "id", on_bad_vectors="null")
    assert len(said) == 1  # and nothing of the row without a text
    nulls = table.search().where("vector IS NULL").to_list()
    assert sorted(row["id"] for row in nulls) == [20, 22]


@pytest.mark.parametrize(
    ("rows", "on", "error", "message"),
    [
        ([{"id": 1, "text": "a"}], "key", ConfigurationError, "no such column; it has: id, text"),
        ([{"text": "a"}], "id", InputError, "row 0 has no id"),
        ([{"id": 1, "body": "a"}], "id", InputError, "row 0 has a column 'body'"),
        ([{"id": 1, "text": "a"}] * 2, "id", InputError, "rows 0, 1 have the same id"),
        ([{"id": "x", "text": "a"}], "id", InputError, "row 0 does not fit"),
        ([{"id": 1, "text": "a"}, {"id": 2, "text": 3}], "id", InputError, "row 1 does not fit"),
        ({"id": 1, "text": "a"}, "id", InputError, "put a single row into a list"),
    ],
)
def test_what_cannot_be_merged_is_said(
    table: Any, rows: Any, on: str, error: type[Exception], message: str
) -> None:
    version = table.version
    with pytest.raises(error, match=message):
        tables.upsert(table, rows, on)
    table.checkout_latest()
    assert table.version == version


def test_a_text_that_cannot_be_embedded_is_named_by_its_row_among_those_given(
    table: Any,
) -> None:
    rows = [{"id": i, "text": TEXTS[i]} for i in range(8)]
    rows[6]["text"] = "unfit"
    with pytest.raises(InputError, match=r"of those given it is row 6\. Batches before"):
        tables.upsert(table, rows, "id", batch_rows=4)


def test_a_vector_of_the_wrong_size_is_refused(db: Any, function: LabelledEmbeddings) -> None:
    table = texts_table(db, TEXTS)
    tables.attach(table, "text", "vector", function)
    with pytest.raises(InputError, match="row 0 does not fit"):
        tables.upsert(table, [{"id": 1, "text": "x", "vector": [1.0, 2.0]}], "id")
