"""`tables.attach`: a vector column for a table that exists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from lancedb.index import FTS, BTree

from lancedb_embedders import (
    ConfigurationError,
    EmbeddingWarning,
    InputError,
    SbertEmbeddings,
    tables,
)
from tests.table_function import SEEN, LabelledEmbeddings, texts_table, wrong_rows

TEXTS = [f"text number {i}" for i in range(40)]


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    SEEN.clear()


@pytest.fixture
def function() -> LabelledEmbeddings:
    return LabelledEmbeddings.create()


def folder_of(db: Any) -> Path:
    return Path(db.uri) / "t.lance"


def leftovers(db: Any) -> list[str]:
    return [file.name for file in folder_of(db).iterdir() if file.name.startswith("_embedding")]


# -- what becomes of the table ----------------------------------------------------------------


def test_every_row_gets_its_vector_and_the_table_embeds_by_itself(
    db: Any, function: LabelledEmbeddings
) -> None:
    table = texts_table(db, TEXTS, fragments=3)
    report = tables.attach(table, "text", "vector", function)
    assert (report.embedded, report.rows, report.blank) == (40, 40, 0)
    assert wrong_rows(table, function) == []
    again = lancedb.connect(db.uri).open_table("t")
    again.add([{"id": 100, "text": "added later"}])
    assert wrong_rows(again, function) == []
    assert again.search("added later").limit(1).to_list()[0]["id"] == 100


def test_it_is_one_new_version_and_all_older_ones_stay(
    db: Any, function: LabelledEmbeddings
) -> None:
    table = texts_table(db, TEXTS, fragments=3)
    before = [one["version"] for one in table.list_versions()]
    tables.attach(table, "text", "vector", function)
    after = [one["version"] for one in table.list_versions()]
    assert after == [*before, before[-1] + 1]
    table.checkout(before[-1])
    assert table.schema.names == ["id", "text"]
    assert table.count_rows() == 40


def test_rows_and_indexes_of_other_columns_stay(db: Any, function: LabelledEmbeddings) -> None:
    table = texts_table(db, TEXTS, fragments=2)
    table.create_index("id", config=BTree())
    table.create_index("text", config=FTS())
    table.delete("id in (3, 30)")
    ids = table.search().with_row_id(True).to_arrow()["_rowid"].to_pylist()
    indexes = {(one.name, one.index_uuid) for one in table.list_indices()}
    tables.attach(table, "text", "vector", function)
    assert table.search().with_row_id(True).to_arrow()["_rowid"].to_pylist() == ids
    assert {(one.name, one.index_uuid) for one in table.list_indices()} == indexes
    assert wrong_rows(table, function) == []
    assert table.count_rows() == 38


def test_deleted_rows_are_not_embedded(db: Any, function: LabelledEmbeddings) -> None:
    table = texts_table(db, TEXTS)
    table.delete("id < 10")
    assert tables.attach(table, "text", "vector", function).embedded == 30
    assert not {f"text number {i}" for i in range(10)} & set(SEEN)


def test_null_and_blank_texts_have_no_vector_and_are_counted(
    db: Any, function: LabelledEmbeddings
) -> None:
    table = texts_table(db, ["one", None, " ", "two", ""])
    report = tables.attach(table, "text", "vector", function)
    assert (report.embedded, report.blank) == (2, 3)
    found = table.to_arrow()["vector"].to_pylist()
    assert [v is None for v in found] == [False, True, True, False, True]


def test_a_table_of_nothing_but_nulls_or_no_rows_can_be_attached_to(
    db: Any, function: LabelledEmbeddings
) -> None:
    nothing = texts_table(db, [None, None])
    assert tables.attach(nothing, "text", "vector", function).embedded == 0
    empty = db.create_table("empty", schema=pa.schema([("text", pa.string())]))
    assert tables.attach(empty, "text", "vector", function).rows == 0
    empty.add([{"text": "first"}])
    assert wrong_rows(empty, function) == []


def test_many_small_fragments_share_batches(db: Any) -> None:
    batches = []

    class Batches(LabelledEmbeddings, registry_name="labelled-batches"):
        def embed(self, batch: Any) -> Any:
            batches.append(len(batch.inputs))
            return super().embed(batch)

    table = texts_table(db, TEXTS, fragments=40)
    tables.attach(table, "text", "vector", Batches.create())
    assert batches == [40]


def test_vectors_from_elsewhere_give_way_and_old_versions_have_them(
    db: Any, function: LabelledEmbeddings
) -> None:
    vectors = pa.array(np.ones((3, 4), np.float32).tolist(), pa.list_(pa.float32(), 4))
    table = db.create_table("t", pa.table({"text": ["a", "b", "c"], "vector": vectors}))
    before = table.version
    tables.attach(table, "text", "vector", function)
    assert wrong_rows(table, function) == []
    assert table.schema.field("vector").type.list_size == 8
    table.checkout(before)
    assert table.to_arrow()["vector"].to_pylist()[0] == [1.0] * 4


def test_a_second_vector_column_leaves_the_first_alone(
    db: Any, function: LabelledEmbeddings
) -> None:
    table = texts_table(db, TEXTS)
    tables.attach(table, "text", "vector", function)
    other = LabelledEmbeddings.create(name="other", dim=16)
    tables.attach(table, "text", "second", other)
    assert wrong_rows(table, function) == []
    assert wrong_rows(table, other, "second") == []
    table.add([{"id": 99, "text": "both"}])
    assert wrong_rows(table, function) == wrong_rows(table, other, "second") == []


def test_columns_that_others_add_and_drop_make_no_difference(
    db: Any, function: LabelledEmbeddings
) -> None:
    table = texts_table(db, TEXTS, fragments=2)
    table.add_columns({"double": "id * 2"})
    table.drop_columns(["id"])
    tables.attach(table, "text", "vector", function)
    tables.reembed(table, LabelledEmbeddings.create(name="other"))
    assert table.to_arrow()["double"].to_pylist() == [2 * i for i in range(40)]
    assert wrong_rows(table, LabelledEmbeddings.create(name="other")) == []


def test_the_content_hash_can_be_left_out(db: Any, function: LabelledEmbeddings) -> None:
    table = texts_table(db, TEXTS)
    tables.attach(table, "text", "vector", function, content_hash=False)
    assert table.schema.names == ["id", "text", "vector"]
    table.add([{"id": 99, "text": "more"}])
    assert wrong_rows(table, function) == []


# -- twice, dry, and from where it stopped ----------------------------------------------------


def test_a_second_call_embeds_only_what_has_no_vector(
    db: Any, function: LabelledEmbeddings
) -> None:
    table = texts_table(db, TEXTS)
    tables.attach(table, "text", "vector", function)
    SEEN.clear()
    report = tables.attach(table, "text", "vector", function)
    assert (report.embedded, report.changed, SEEN) == (0, False, [])


def test_a_dry_run_says_what_it_comes_to_and_writes_nothing(db: Any) -> None:
    table = texts_table(db, [*TEXTS, None])
    files = sorted(folder_of(db).rglob("*"))
    estimate = tables.attach(table, "text", "vector", "sbert", dry_run=True)
    assert estimate.rows == 40
    # "text", "number", one to three of digits, and two special tokens.
    assert estimate.tokens is not None
    assert 5 * 40 <= estimate.tokens <= 7 * 40
    assert estimate.seconds is not None
    assert estimate.seconds > 0
    assert estimate.hours == estimate.seconds / 3600
    assert estimate.usd == 0
    assert sorted(folder_of(db).rglob("*")) == files


def test_a_dry_run_of_a_hosted_function_costs_nothing(db: Any, provider: Any) -> None:
    from lancedb_embedders import CachedOpenAIEmbeddings

    function = CachedOpenAIEmbeddings.create(base_url=f"{provider.url}/v1", tokens_per_minute=1000)
    table = texts_table(db, TEXTS * 25)
    estimate = tables.attach(table, "text", "vector", function, dry_run=True)
    assert provider.texts() == []
    # By OpenAI's tokenizer: "text", " number", " ", and the number.
    assert (estimate.rows, estimate.tokens) == (1000, 4000)
    assert estimate.usd == pytest.approx(4000 * 0.02 / 1e6)
    assert estimate.seconds == pytest.approx(240)
    assert "cost: $0.02 a million tokens, https://" in str(estimate)


def test_an_error_keeps_what_is_finished_and_the_next_call_goes_on(
    db: Any, function: LabelledEmbeddings
) -> None:
    table = texts_table(db, [*TEXTS[:25], "an unfit one", *TEXTS[25:]])
    version = table.version
    with pytest.raises(InputError, match=r"a text is unfit.*take_row_ids\(\[25\]\)"):
        tables.attach(table, "text", "vector", function, checkpoint_rows=10)
    assert table.version == version
    assert len(SEEN) == 20
    assert tables.check(table).unfinished
    table.update(where="id = 25", values={"text": "a fit one"})
    report = tables.attach(table, "text", "vector", function, checkpoint_rows=10)
    assert sorted(SEEN) == sorted([*TEXTS, "a fit one"])
    assert wrong_rows(table, function) == []
    assert report.resumed == 20
    assert leftovers(db) == []


def test_work_that_is_not_wanted_any_more_can_be_discarded(
    db: Any, function: LabelledEmbeddings
) -> None:
    table = texts_table(db, [*TEXTS, "unfit"])
    with pytest.raises(InputError):
        tables.attach(table, "text", "vector", function, checkpoint_rows=7)
    assert tables.discard(table) == 1
    assert leftovers(db) == []
    assert table.count_rows() == 41


def test_another_checkpoint_size_goes_on_all_the_same(
    db: Any, function: LabelledEmbeddings
) -> None:
    table = texts_table(db, [*TEXTS, "unfit"])
    with pytest.raises(InputError):
        tables.attach(table, "text", "vector", function, checkpoint_rows=7)
    table.delete("text = 'unfit'")
    tables.attach(table, "text", "vector", function, checkpoint_rows=16)
    assert sorted(SEEN) == sorted(TEXTS)
    assert wrong_rows(table, function) == []


# -- kinds of source and vector ---------------------------------------------------------------


def test_several_fields_make_one_text(db: Any, function: LabelledEmbeddings) -> None:
    rows = [{"page": {"title": f"T{i}", "body": f"B{i}"}} for i in range(5)]
    table = db.create_table("t", rows)
    templated = LabelledEmbeddings.create(template="{title}: {body}")
    tables.attach(table, "page", "vector", templated)
    expected = function.compute_source_embeddings(["T3: B3"])[0]
    assert np.allclose(table.to_arrow()["vector"].to_pylist()[3], expected, atol=1e-6)
    tables.refresh(table)
    assert len(SEEN) == 6


@pytest.mark.parametrize("quantization", ["float16", "binary"])
def test_quantized_columns_have_their_type(db: Any, quantization: str) -> None:
    function = LabelledEmbeddings.create(quantization=quantization)
    table = texts_table(db, TEXTS)
    tables.attach(table, "text", "vector", function)
    element = {"float16": pa.float16(), "binary": pa.uint8()}[quantization]
    assert table.schema.field("vector").type.value_type == element
    metric = "hamming" if quantization == "binary" else "cosine"
    hits = table.search("text number 7").distance_type(metric).limit(1).to_list()
    assert hits[0]["id"] == 7
    assert tables.check(table).ok


def test_the_stored_config_is_that_of_a_table_that_was_made_with_the_function(db: Any) -> None:
    sbert = SbertEmbeddings.create(truncate_dim=64)

    class Row(lancedb.pydantic.LanceModel):
        text: str = sbert.SourceField()
        vector: sbert.Vector() = sbert.VectorField()  # type: ignore[valid-type]

    made = db.create_table("made", schema=Row)
    table = texts_table(db, ["one", "two"])
    tables.attach(table, "text", "vector", sbert)
    stored = [json.loads(one.schema.metadata[b"embedding_functions"])[0] for one in (made, table)]
    assert stored[0] == stored[1]


def test_a_warning_of_long_texts_comes_once(db: Any) -> None:
    table = texts_table(db, ["word " * 400] * 6)
    with pytest.warns(EmbeddingWarning, match="longer than 256 tokens") as caught:
        tables.attach(table, "text", "vector", "sbert", checkpoint_rows=2)
    assert len([one for one in caught if issubclass(one.category, EmbeddingWarning)]) == 1


# -- bad input ----------------------------------------------------------------------------------


def test_what_cannot_be_is_refused_at_once_and_leaves_the_table(
    db: Any, function: LabelledEmbeddings
) -> None:
    table = texts_table(db, TEXTS)
    version = table.version
    for arguments, message in (
        (("body", "vector", function), "no column 'body'; it has: id, text"),
        (("text", "text", function), "the same column"),
        (("text", "id", function), "'id' is int64 and no vector column"),
        (("id", "vector", function), "cannot embed column 'id', which is int64: row 0"),
        (("text", "vector", "nobody"), "knows no function 'nobody'"),
        (("text", "a.b", function), "cannot be the name"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            tables.attach(table, *arguments)
    with pytest.raises(ConfigurationError, match='there are "local" and "ray"'):
        tables.attach(table, "text", "vector", function, engine="spark")  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError, match='workers and gpus are for engine="ray"'):
        tables.attach(table, "text", "vector", function, workers=2)
    assert table.version == version
    assert leftovers(db) == []


def test_a_column_with_another_function_is_not_replaced(
    db: Any, function: LabelledEmbeddings
) -> None:
    table = texts_table(db, TEXTS)
    tables.attach(table, "text", "vector", function)
    with pytest.raises(ConfigurationError, match=r"has a function already.*tables\.reembed"):
        tables.attach(table, "text", "vector", LabelledEmbeddings.create(name="other"))


def test_a_column_of_the_name_of_the_hashes_is_not_touched(
    db: Any, function: LabelledEmbeddings
) -> None:
    table = db.create_table("t", [{"text": "a", "vector_hash": "mine"}])
    with pytest.raises(ConfigurationError, match="content_hash=False"):
        tables.attach(table, "text", "vector", function)
    tables.attach(table, "text", "vector", function, content_hash=False)
    assert table.to_arrow()["vector_hash"].to_pylist() == ["mine"]


async def test_an_async_table_is_refused(db: Any, function: LabelledEmbeddings) -> None:
    texts_table(db, TEXTS)
    table = await (await lancedb.connect_async(db.uri)).open_table("t")
    with pytest.raises(ConfigurationError, match="AsyncTable"):
        tables.attach(table, "text", "vector", function)


def test_tables_of_all_file_formats_are_taken_but_the_first(
    db: Any, function: LabelledEmbeddings
) -> None:
    rows = pa.table({"id": list(range(10)), "text": TEXTS[:10]})
    for number, option in enumerate(
        (
            {"new_table_data_storage_version": "2.0"},
            {"new_table_data_storage_version": "2.1"},
            {"new_table_enable_stable_row_ids": "true"},
        )
    ):
        table = db.create_table(f"t{number}", rows, storage_options=option)
        table.delete("id = 3")
        tables.attach(table, "text", "vector", function)
        table.update(where="id = 5", values={"text": "changed"})
        tables.refresh(table)
        assert wrong_rows(table, function) == []
    old = {"new_table_data_storage_version": "legacy"}
    table = db.create_table("old", rows, storage_options=old)
    with pytest.raises(ConfigurationError, match="first file format"):
        tables.attach(table, "text", "vector", function)


def test_names_of_columns_may_be_odd(db: Any, function: LabelledEmbeddings) -> None:
    table = db.create_table("t", [{"the key": 1, "My text": "one"}, {"the key": 2, "My text": "x"}])
    tables.attach(table, "My text", "select", function)
    table.update(where="`the key` = 2", values={"My text": "two"})
    tables.refresh(table)
    tables.upsert(table, [{"the key": 3, "My text": "three"}], "the key")
    assert tables.check(table).ok
    assert (
        wrong_rows(table.to_arrow().rename_columns({"My text": "text"}), function, "select") == []
    )


def test_a_function_that_is_not_of_this_package_is_refused(db: Any) -> None:
    from lancedb.embeddings import get_registry

    table = texts_table(db, TEXTS)
    foreign = get_registry().get("sentence-transformers").create()
    with pytest.raises(ConfigurationError, match="no function of this package"):
        tables.attach(table, "text", "vector", foreign)
