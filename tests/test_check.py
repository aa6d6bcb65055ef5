"""`tables.check`: what made a table's vectors, and whether they are still right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import lancedb_embedders
from lancedb_embedders import CachedOpenAIEmbeddings, ConfigurationError, tables
from tests.table_function import LabelledEmbeddings, texts_table

TEXTS = [f"text number {i}" for i in range(40)]


@pytest.fixture
def table(db: Any) -> Any:
    made = texts_table(db, [*TEXTS, None, " "])
    tables.attach(made, "text", "vector", LabelledEmbeddings.create())
    return made


def column(table: Any, **options: Any) -> Any:
    (found,) = tables.check(table, **options).columns
    return found


def test_it_says_what_made_the_vectors(db: Any) -> None:
    table = texts_table(db, TEXTS)
    tables.attach(table, "text", "vector", "sbert")
    found = column(table)
    assert (found.vector, found.function, found.source) == ("vector", "sbert", "text")
    assert found.model == "all-MiniLM-L6-v2"
    assert found.written_by == lancedb_embedders.__version__
    assert found.sampled == 40
    assert found.cosine[0] > 0.9999
    assert found.ok
    assert "all-MiniLM-L6-v2" in str(found)


def test_it_counts_rows_without_a_vector_by_why(table: Any) -> None:
    import lance

    lance.write_dataset(pa.table({"id": [90], "text": ["raw"]}), table.uri, mode="append")
    found = column(table)
    assert (found.rows, found.missing, found.empty) == (43, 1, 2)
    assert not found.ok


def test_it_counts_stale_rows_and_those_without_a_hash(table: Any) -> None:
    table.update(where="id < 3", values={"text": "changed"})
    vector = LabelledEmbeddings.create().compute_source_embeddings(["by hand"])[0]
    rows = pa.table(
        {
            "id": [90],
            "text": ["by hand"],
            "vector": pa.array([vector], pa.list_(pa.float32(), 8)),
        }
    )
    import lance

    lance.write_dataset(rows, table.uri, mode="append")
    found = column(table)
    assert (found.stale, found.unknown) == (3, 1)
    assert "3 stale, 1 without a hash" in str(found)


def test_vectors_that_are_not_the_function_s_are_foreign(table: Any) -> None:
    foreign = np.ones(8, np.float32).tolist()
    table.add([{"id": 100 + i, "text": f"other {i}", "vector": foreign} for i in range(60)])
    found = column(table, sample=1000)
    assert (found.sampled, found.foreign) == (100, 60)
    assert not found.ok
    few = column(table, sample=10, seed=1)
    assert few.sampled <= 10
    assert column(table, sample=10, seed=1) == few


def test_a_column_without_a_function_is_foreign_as_a_whole(db: Any) -> None:
    vectors = pa.array([[1.0, 2.0]] * 3, pa.list_(pa.float32(), 2))
    table = db.create_table("t", pa.table({"text": ["a"] * 3, "vector": vectors}))
    found = tables.check(table)
    assert found.columns[0].function is None
    assert not found.ok
    assert "foreign, 3 rows; no function is recorded" in str(found)


def test_a_function_that_nobody_knows_is_a_problem_and_no_crash(db: Any, python: Any) -> None:
    table = texts_table(db, TEXTS)
    tables.attach(table, "text", "vector", LabelledEmbeddings.create())
    code = """
import sys, lancedb
from lancedb_embedders import tables
print(tables.check(lancedb.connect(sys.argv[1]).open_table("t")))
"""
    assert "defined in a module that was not imported" in python(code, str(db.uri))


def test_a_hosted_model_is_asked_anew(db: Any, provider: Any) -> None:
    function = CachedOpenAIEmbeddings.create(base_url=f"{provider.url}/v1")
    table = texts_table(db, TEXTS)
    tables.attach(table, "text", "vector", function)
    asked = len(provider.texts())
    assert tables.check(table, sample=7).ok
    assert len(provider.texts()) == asked + 7
    assert tables.check(table, sample=0).columns[0].sampled == 0
    assert len(provider.texts()) == asked + 7


def test_a_table_without_vectors_has_nothing_to_tell(db: Any) -> None:
    table = texts_table(db, TEXTS)
    assert tables.check(table).columns == ()
    with pytest.raises(ConfigurationError, match="'vector' is no vector column; there are: none"):
        tables.check(table, "vector")


def test_nothing_is_written(table: Any) -> None:
    version = table.version
    tables.check(table)
    table.checkout_latest()
    assert table.version == version
