"""`tables.reembed` and `tables.refresh`: other models, and texts that changed."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pytest
from lancedb.index import BTree, HnswSq, IvfFlat, IvfPq, IvfRq
from lancedb.pydantic import LanceModel

from lancedb_embedders import (
    ConfigurationError,
    EmbeddingWarning,
    InputError,
    LongDocumentEmbeddings,
    tables,
)
from lancedb_embedders.tables import indexes
from tests.models import tiny_bert
from tests.table_function import SEEN, LabelledEmbeddings, texts_table, wrong_rows

TEXTS = [f"text number {i}" for i in range(40)]
OTHER = "other"


@pytest.fixture
def function() -> LabelledEmbeddings:
    return LabelledEmbeddings.create()


@pytest.fixture
def table(db: Any, function: LabelledEmbeddings) -> Any:
    made = texts_table(db, TEXTS, fragments=3)
    tables.attach(made, "text", "vector", function)
    SEEN.clear()
    return made


def vectors_of(table: Any) -> dict[int, Any]:
    rows = table.to_arrow().select(["id", "vector"]).to_pylist()
    return {row["id"]: row["vector"] for row in rows}


# -- another model ----------------------------------------------------------------------------


def test_all_vectors_and_the_function_change_in_one_version(table: Any) -> None:
    before = table.version
    other = LabelledEmbeddings.create(name=OTHER, dim=16)
    report = tables.reembed(table, other)
    assert (report.embedded, report.version, report.changed) == (40, before + 1, True)
    assert wrong_rows(table, other) == []
    assert table.embedding_functions["vector"].function == other
    table.checkout(before)
    assert wrong_rows(table, LabelledEmbeddings.create()) == []


def test_a_table_made_with_a_function_moves_to_another(db: Any) -> None:
    first, other = LabelledEmbeddings.create(), LabelledEmbeddings.create(name=OTHER)

    class Row(LanceModel):
        id: int
        text: str = first.SourceField()
        vector: first.Vector() = first.VectorField()  # type: ignore[valid-type]

    table = db.create_table("t", schema=Row)
    table.add([{"id": i, "text": text} for i, text in enumerate(TEXTS)])
    tables.reembed(table, other)
    assert wrong_rows(table, other) == []
    table.add([{"id": 99, "text": "later"}])
    assert wrong_rows(table, other) == []


def test_many_changes_in_turn_never_mix_the_columns(table: Any) -> None:
    for number in range(6):
        function = LabelledEmbeddings.create(name=f"model {number}", dim=8 * (1 + number % 2))
        tables.reembed(table, function)
        assert wrong_rows(table, function) == []
        table.add([{"id": 100 + number, "text": f"added {number}"}])
        assert wrong_rows(table, function) == []
        table.optimize()
        assert wrong_rows(table, function) == []
    assert table.count_rows() == 46


def test_from_one_vector_a_row_to_several_and_back(db: Any, tmp_path: Path) -> None:
    model = tiny_bert(tmp_path / "tiny")
    several = LongDocumentEmbeddings.create(name=model, reduce="none", max_tokens=8)
    table = texts_table(db, ["cat " * 30, None, "dog"], fragments=2)
    tables.attach(table, "text", "vector", several)
    rows = table.to_arrow()["vector"].to_pylist()
    assert [None if row is None else len(row) for row in rows] == [15, None, 1]
    expected = several.compute_source_embeddings(["cat " * 30])[0]
    assert np.allclose(rows[0], expected, atol=1e-6)
    assert tables.check(table).ok
    table.update(where="id = 2", values={"text": "dog " * 20})
    assert tables.refresh(table).embedded == 1
    assert table.search("cat " * 30).distance_type("cosine").limit(1).to_list()[0]["id"] == 0
    tables.reembed(table, LabelledEmbeddings.create())
    assert wrong_rows(table, LabelledEmbeddings.create()) == []


def test_the_same_function_again_changes_nothing(table: Any) -> None:
    report = tables.reembed(table, LabelledEmbeddings.create())
    assert (report.changed, SEEN) == (False, [])


def test_a_model_that_became_another_one_under_its_name_is_one(db: Any, tmp_path: Path) -> None:
    from lancedb_embedders import SbertEmbeddings, settings

    with settings.override(models=(tmp_path,)):
        tiny_bert(tmp_path / "tiny", seed=0)
        table = texts_table(db, TEXTS)
        tables.attach(table, "text", "vector", SbertEmbeddings.create(name="tiny"))
        before = vectors_of(table)
        later = tmp_path / "later"
        tiny_bert(later / "tiny", seed=1)
    with settings.override(models=(later,)):
        now = SbertEmbeddings.create(name="tiny")
        found = tables.check(table)
        assert "is not the model" in str(found.columns[0].problem)
        assert not found.ok
        assert tables.reembed(table, now).embedded == 40
        assert vectors_of(table) != before
        assert tables.check(table).ok


# -- indexes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        IvfFlat(distance_type="cosine", num_partitions=2),
        IvfPq(distance_type="cosine", num_partitions=2, num_sub_vectors=4, num_bits=4),
        HnswSq(distance_type="dot", num_partitions=1, m=12, ef_construction=77),
    ],
    ids=lambda config: type(config).__name__,
)
def test_a_vector_index_is_built_again_as_it_was(db: Any, config: Any) -> None:
    function = LabelledEmbeddings.create()
    table = texts_table(db, [f"text {i}" for i in range(400)])
    tables.attach(table, "text", "vector", function)
    table.create_index("vector", config=config, name="mine")
    table.create_index("id", config=BTree())
    before = indexes.described(table, table.to_lance(), "vector")
    other = LabelledEmbeddings.create(name=OTHER)
    report = tables.reembed(table, other)
    assert report.indexes == ("mine",)
    assert indexes.described(table, table.to_lance(), "vector") == before
    stats = table.index_stats("mine")
    assert (stats.num_indexed_rows, stats.num_unindexed_rows) == (400, 0)
    assert {one.name for one in table.list_indices()} == {"mine", "id_idx"}
    hits = table.search("text 7").limit(1).nprobes(2).refine_factor(50).to_list()
    assert hits[0]["id"] == 7


def test_an_index_fits_itself_to_other_dimensions_and_bits(db: Any) -> None:
    table = texts_table(db, [f"text {i}" for i in range(300)])
    tables.attach(table, "text", "vector", LabelledEmbeddings.create(dim=16))
    pq = IvfPq(distance_type="cosine", num_partitions=1, num_sub_vectors=4, num_bits=4)
    table.create_index("vector", config=pq)
    tables.reembed(table, LabelledEmbeddings.create(dim=32))
    (index,) = indexes.described(table, table.to_lance(), "vector")
    assert index["options"]["num_sub_vectors"] == 8
    tables.reembed(table, LabelledEmbeddings.create(dim=32, quantization="binary"))
    (index,) = indexes.described(table, table.to_lance(), "vector")
    assert (index["type"], index["options"]["distance_type"]) == ("IvfFlat", "hamming")
    assert table.search("text 7").limit(1).to_list()[0]["id"] == 7


def test_an_index_that_cannot_be_built_again_is_said_and_the_vectors_are_there(db: Any) -> None:
    table = texts_table(db, [f"text {i}" for i in range(300)])
    tables.attach(table, "text", "vector", LabelledEmbeddings.create())
    table.create_index("vector", config=IvfRq(num_partitions=1))
    table.update(values={"text": None})  # no vector is left to train it on
    other = LabelledEmbeddings.create(name=OTHER)
    with pytest.warns(EmbeddingWarning, match="'vector_idx'.*could not be built"):
        assert tables.reembed(table, other).indexes == ()
    assert wrong_rows(table, other) == []
    assert tables.check(table).ok


def test_columns_that_come_and_go_meanwhile_give_no_number_twice(
    db: Any, function: LabelledEmbeddings
) -> None:
    table = texts_table(db, TEXTS)
    for number in range(3):
        table.add_columns({"passing": "id + 1"})
        table.drop_columns(["passing"])
        made = LabelledEmbeddings.create(name=f"model {number}")
        tables.attach(table, "text", f"vector_{number}", made)
        assert wrong_rows(table, made, f"vector_{number}") == []


def test_rows_replaced_within_the_column_are_found_through_the_index(db: Any) -> None:
    table = texts_table(db, [f"text {i}" for i in range(300)], fragments=2)
    tables.attach(table, "text", "vector", LabelledEmbeddings.create())
    table.create_index("vector", config=IvfFlat(distance_type="cosine", num_partitions=2))
    table.update(where="id = 5", values={"text": "something new"})
    tables.refresh(table)
    hits = table.search("something new").limit(1).nprobes(2).to_list()
    assert (hits[0]["id"], round(hits[0]["_distance"], 5)) == (5, 0)
    stats = table.index_stats("vector_idx")
    assert (stats.num_indexed_rows, stats.num_unindexed_rows) == (300, 0)
    # The old vector is nowhere in the index any more.
    assert table.search("text 5").limit(1).nprobes(2).to_list()[0]["_distance"] > 0.01


def test_an_index_that_a_killed_process_left_unbuilt_is_built_by_the_next_call(
    table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.create_index("vector", config=IvfFlat(distance_type="cosine", num_partitions=1))
    other = LabelledEmbeddings.create(name=OTHER)

    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(indexes, "build", fail)
    with pytest.raises(KeyboardInterrupt):
        tables.reembed(table, other)
    monkeypatch.undo()
    table.checkout_latest()
    assert wrong_rows(table, other) == []
    assert tables.check(table).columns[0].pending == ("vector_idx",)
    SEEN.clear()
    report = tables.reembed(table, other)
    assert (report.indexes, SEEN) == (("vector_idx",), [])
    assert tables.check(table).ok


# -- some rows ------------------------------------------------------------------------------------


def test_where_embeds_those_rows_alone(table: Any, function: LabelledEmbeddings) -> None:
    report = tables.reembed(table, where="id < 5 OR id = 39")
    assert sorted(SEEN) == sorted([*TEXTS[:5], TEXTS[39]])
    assert report.embedded == 6
    assert wrong_rows(table, function) == []


def test_only_missing_fills_what_has_no_vector(db: Any, function: LabelledEmbeddings) -> None:
    table = texts_table(db, TEXTS[:20])
    tables.attach(table, "text", "vector", function)
    # As a program writes that knows nothing of the function.
    import lance

    lance.write_dataset(
        texts_table(db, TEXTS[20:], name="more").to_arrow(), table.uri, mode="append"
    )
    table.checkout_latest()
    assert tables.check(table).columns[0].missing == 20
    SEEN.clear()
    tables.reembed(table, only_missing=True)
    assert sorted(SEEN) == sorted(TEXTS[20:])
    assert wrong_rows(table, function) == []


def test_changed_since_a_version_or_a_time_takes_what_was_written_after(
    table: Any, function: LabelledEmbeddings
) -> None:
    version, moment = table.version, datetime.now(timezone.utc)
    table.update(where="id = 3", values={"text": "changed"})
    table.add([{"id": 77, "text": "added"}])
    for since in (version, moment):
        SEEN.clear()
        tables.reembed(table, changed_since=since)
        assert sorted(SEEN) == ["added", "changed"]
    assert wrong_rows(table, function) == []
    with pytest.raises(ConfigurationError, match="no such version; it has 1 to"):
        tables.reembed(table, changed_since=999)
    with pytest.raises(ConfigurationError, match="the oldest version that is left is 1"):
        tables.reembed(table, changed_since=moment - timedelta(days=9))


def test_some_rows_by_another_model_are_refused(table: Any) -> None:
    other = LabelledEmbeddings.create(name=OTHER)
    for chosen in ({"where": "id = 1"}, {"only_missing": True}, {"changed_since": 1}):
        with pytest.raises(ConfigurationError, match="vectors of two models"):
            tables.reembed(table, other, **chosen)
    with pytest.raises(ConfigurationError, match="where and only_missing do not go together"):
        tables.reembed(table, where="id = 1", only_missing=True)
    with pytest.raises(ConfigurationError, match="is no condition"):
        tables.reembed(table, where="nothing = 1")


def test_an_error_among_some_rows_leaves_all_as_they_were(table: Any) -> None:
    before = vectors_of(table)
    table.update(where="id = 3", values={"text": "unfit"})
    version = table.version
    with pytest.raises(InputError, match="take_row_ids"):
        tables.refresh(table, checkpoint_rows=5)
    assert table.version == version
    assert vectors_of(table) == before


def test_it_is_said_which_column_is_meant(table: Any) -> None:
    second = LabelledEmbeddings.create(name="second")
    tables.attach(table, "text", "second", second)
    with pytest.raises(ConfigurationError, match=r"several vector columns.*vector, second"):
        tables.reembed(table, second)
    with pytest.raises(ConfigurationError, match="no column 'third'"):
        tables.refresh(table, "third")
    third = LabelledEmbeddings.create(name="third")
    tables.reembed(table, third, vector="second")
    assert wrong_rows(table, third, "second") == []
    assert wrong_rows(table, LabelledEmbeddings.create()) == []


def test_a_column_without_a_function_is_to_be_attached(db: Any) -> None:
    table = texts_table(db, TEXTS)
    with pytest.raises(ConfigurationError, match=r"tables\.attach"):
        tables.reembed(table, LabelledEmbeddings.create())


# -- texts that changed -------------------------------------------------------------------------


def test_refresh_embeds_only_texts_that_changed(table: Any, function: LabelledEmbeddings) -> None:
    table.update(where="id in (3, 20)", values={"text": "another text"})
    table.update(where="id = 4", values={"text": "text number 4"})
    table.add([{"id": 90, "text": "new"}])
    assert tables.check(table).columns[0].stale == 2
    SEEN.clear()
    report = tables.refresh(table)
    assert set(SEEN) == {"another text"}
    assert report.embedded == 2
    assert wrong_rows(table, function) == []
    assert tables.refresh(table).changed is False


def test_a_text_that_is_gone_takes_its_vector_along(
    table: Any, function: LabelledEmbeddings
) -> None:
    table.update(where="id = 3", values={"text": None})
    tables.refresh(table)
    assert wrong_rows(table, function) == []
    table.update(where="id = 3", values={"text": "back"})
    tables.refresh(table)
    assert wrong_rows(table, function) == []


def test_a_table_without_hashes_says_what_can_be_done(db: Any) -> None:
    function = LabelledEmbeddings.create()

    def made(name: str) -> Any:
        table = texts_table(db, TEXTS, name=name)
        tables.attach(table, "text", "vector", function, content_hash=False)
        table.update(where="id = 3", values={"text": "changed"})
        SEEN.clear()
        return table

    with pytest.raises(ConfigurationError, match='unknown="embed"'):
        tables.refresh(made("a"))
    table = made("b")
    assert tables.refresh(table, unknown="embed").embedded == 40
    assert wrong_rows(table, function) == []
    table = made("c")
    assert tables.refresh(table, unknown="trust").embedded == 0
    table.update(where="id = 4", values={"text": "changed too"})
    SEEN.clear()
    tables.refresh(table)
    assert SEEN == ["changed too"]
    assert [row["id"] for row in wrong_rows(table, function)] == [3]


def test_a_dry_run_counts_what_is_stale(table: Any) -> None:
    table.update(where="id in (3, 20)", values={"text": "another text"})
    version = table.version
    estimate = tables.refresh(table, dry_run=True)
    assert estimate.rows == 2
    table.checkout_latest()
    assert table.version == version


def test_a_process_that_only_opens_the_table_refreshes_it(
    db: Any, python: Any, tmp_path: Path
) -> None:
    table = texts_table(db, ["Tea is hot.", "Snow is cold."])
    tables.attach(table, "text", "vector", "sbert")
    table.update(where="id = 0", values={"text": "Fire is hot."})
    code = """
import sys, lancedb
from lancedb_embedders import tables
print(tables.refresh(lancedb.connect(sys.argv[1]).open_table("t")).embedded)
"""
    assert python(code, str(db.uri)).strip() == "1"
    again = lancedb.connect(db.uri).open_table("t")
    assert again.search("Fire is hot.").limit(1).to_list()[0]["_distance"] < 1e-5
