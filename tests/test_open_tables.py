"""Handles that are open while their table gets another function."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import lancedb
import pytest

from lancedb_embedders import tables
from tests.table_function import LabelledEmbeddings, texts_table


@pytest.mark.parametrize("dim", [8, 16])
def test_a_handle_that_moves_on_embeds_queries_by_the_new_function(db: Any, dim: int) -> None:
    table = texts_table(db, ["one", "two"])
    tables.attach(table, "text", "vector", LabelledEmbeddings.create())
    held = lancedb.connect(db.uri).open_table("t")
    assert held.search("one").limit(1).to_list()[0]["_distance"] == pytest.approx(0, abs=1e-6)
    tables.reembed(table, LabelledEmbeddings.create(name="other", dim=dim))
    # It is at its old version still, rows and function alike.
    assert held.search("one").limit(1).to_list()[0]["_distance"] == pytest.approx(0, abs=1e-6)
    held.checkout_latest()
    assert held.search("one").limit(1).to_list()[0]["_distance"] == pytest.approx(0, abs=1e-6)


def test_a_function_is_made_once_for_many_queries(db: Any) -> None:
    table = texts_table(db, ["one", "two"])
    tables.attach(table, "text", "vector", LabelledEmbeddings.create())
    assert table.embedding_functions is table.embedding_functions


def test_lancedb_still_keeps_the_functions_of_a_handle(python: Any) -> None:
    # When it no longer does, lancedb_embedders/open_tables.py can go.
    code = """
from lancedb.table import LanceTable
print(type(LanceTable.__dict__["embedding_functions"]).__name__)
"""
    assert python(code).strip() == cached_property.__name__
