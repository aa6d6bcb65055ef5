"""`tables.ingest`: files streamed into a table that embeds itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lancedb_embedders import (
    CachedOpenAIEmbeddings,
    ConfigurationError,
    EmbeddingWarning,
    InputError,
    tables,
)
from tests.providers import ProviderServer
from tests.table_function import SEEN, LabelledEmbeddings, wrong_rows

ROWS = [{"id": i, "text": f"text number {i}", "year": 2000 + i} for i in range(50)]


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    SEEN.clear()


@pytest.fixture
def function() -> LabelledEmbeddings:
    return LabelledEmbeddings.create()


def jsonl(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_files_become_a_table_that_embeds_itself(
    db: Any, tmp_path: Path, function: LabelledEmbeddings
) -> None:
    jsonl(tmp_path / "a.jsonl", ROWS[:30])
    pq.write_table(pa.Table.from_pylist(ROWS[30:]), tmp_path / "b.parquet")
    report = tables.ingest(db, "t", [tmp_path / "*.*"], function=function, batch_rows=16)
    assert (report.read, report.added, report.skipped) == (50, 50, 0)
    table = db.open_table("t")
    assert table.schema.names == ["id", "text", "year", "vector", "vector_hash"]
    assert wrong_rows(table, function) == []
    assert table.search("text number 7").limit(1).to_list()[0]["id"] == 7
    assert tables.check(table).ok


def test_what_is_there_is_skipped_and_not_embedded(
    db: Any, tmp_path: Path, function: LabelledEmbeddings
) -> None:
    file = jsonl(tmp_path / "a.jsonl", ROWS[:30])
    tables.ingest(db, "t", [file], function=function)
    jsonl(file, ROWS)
    SEEN.clear()
    report = tables.ingest(db, "t", [file])
    assert (report.read, report.added, report.skipped) == (50, 20, 30)
    assert [row["text"] for row in ROWS[30:]] == SEEN
    assert wrong_rows(db.open_table("t"), function) == []


def test_a_key_that_comes_twice_is_taken_once(
    db: Any, tmp_path: Path, function: LabelledEmbeddings
) -> None:
    file = jsonl(tmp_path / "a.jsonl", [*ROWS[:5], *ROWS[:5]])
    report = tables.ingest(db, "t", [file], function=function)
    assert (report.added, report.skipped) == (5, 5)


def test_an_error_keeps_the_batches_before_it_and_a_second_call_goes_on(
    db: Any, tmp_path: Path, function: LabelledEmbeddings
) -> None:
    rows = [dict(row) for row in ROWS]
    rows[33]["text"] = "unfit"
    file = jsonl(tmp_path / "a.jsonl", rows)
    with pytest.raises(InputError, match=r"a text is unfit.*their id: 33. Batches before"):
        tables.ingest(db, "t", [file], function=function, batch_rows=10)
    assert db.open_table("t").count_rows() == 30
    jsonl(file, ROWS)
    SEEN.clear()
    tables.ingest(db, "t", [file], function=function, batch_rows=10)
    assert [row["text"] for row in ROWS[30:]] == SEEN


def test_rows_without_a_text_are_kept(
    db: Any, tmp_path: Path, function: LabelledEmbeddings
) -> None:
    file = jsonl(tmp_path / "a.jsonl", [*ROWS[:3], {"id": 99, "text": None, "year": 1}])
    tables.ingest(db, "t", [file], function=function)
    table = db.open_table("t")
    assert table.count_rows() == 4
    assert wrong_rows(table, function) == []


def test_a_text_that_the_provider_refuses_is_said(
    db: Any, tmp_path: Path, provider: ProviderServer
) -> None:
    provider.poison = {str(ROWS[3]["text"])}
    function = CachedOpenAIEmbeddings.create(base_url=f"{provider.url}/v1", on_error="null")
    file = jsonl(tmp_path / "a.jsonl", [*ROWS[:5], {"id": 99, "text": None, "year": 1}])
    with pytest.warns(EmbeddingWarning, match="refuses the text") as said:
        tables.ingest(db, "t", [file], function=function)
    assert len(said) == 1  # and nothing of the row without a text
    rows = db.open_table("t").to_arrow().to_pylist()
    assert [row["id"] for row in rows if row["vector"] is None] == [3, 99]


def test_a_folder_of_texts_has_paths_for_keys(
    db: Any, tmp_path: Path, function: LabelledEmbeddings
) -> None:
    (tmp_path / "notes" / "sub").mkdir(parents=True)
    (tmp_path / "notes" / "a.md").write_text("# Tea\nHot.")
    (tmp_path / "notes" / "sub" / "b.txt").write_text("Snow.")
    for _ in range(2):
        tables.ingest(db, "t", [tmp_path / "notes"], function=function)
    rows = db.open_table("t").to_arrow().sort_by("path").to_pylist()
    assert [(row["path"], row["text"]) for row in rows] == [
        ("a.md", "# Tea\nHot."),
        ("sub/b.txt", "Snow."),
    ]


def test_what_does_not_fit_the_table_is_said(
    db: Any, tmp_path: Path, function: LabelledEmbeddings
) -> None:
    file = jsonl(tmp_path / "a.jsonl", ROWS)
    tables.ingest(db, "t", [file], function=function)
    more = jsonl(tmp_path / "more.jsonl", [{**ROWS[0], "extra": 1}])
    with pytest.raises(ConfigurationError, match="columns that the table has not: extra"):
        tables.ingest(db, "t", [more])
    with pytest.raises(ConfigurationError, match="labelled with other options"):
        tables.ingest(db, "t", [file], function=LabelledEmbeddings.create(name="other"))
    with pytest.raises(ConfigurationError, match="'body'"):
        tables.ingest(db, "t", [file], text="body")
    with pytest.raises(ConfigurationError, match="'year', which is to hold what is computed"):
        tables.ingest(db, "new", [file], vector="year", function=function)
    assert "new" not in db.list_tables().tables
    db.create_table("bare", [{"id": 1, "text": "a", "year": 1}])
    with pytest.raises(ConfigurationError, match=r"tables\.attach\(table, 'text'"):
        tables.ingest(db, "bare", [file])
