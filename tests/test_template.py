"""`template=`: several fields of a row in one text, in real tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel

from lancedb_embedders import ConfigurationError, EmbeddingWarning, InputError
from lancedb_embedders.inputs.template import Template
from tests.hosted import create
from tests.providers import ProviderServer

TEMPLATE = "{title}\n\n{body}"
TEA = {"title": "Tea", "body": "Green tea is healthy."}
CAR = {"title": "Cars", "body": "A car has four wheels."}


@pytest.fixture(params=["sbert", "cached-openai"])
def function(request: pytest.FixtureRequest, provider: ProviderServer) -> Any:
    if request.param == "sbert":
        return get_registry().get("sbert").create(template=TEMPLATE)
    return create(provider, template=TEMPLATE)


def plain(function: Any, text: str) -> Any:
    """Return the vector of a text that is given as one."""
    return np.asarray(
        function.model_copy(update={"template": None}).compute_source_embeddings([text])
    )[0]


def make_table(db: Any, function: Any) -> Any:
    class Source(LanceModel):
        title: str | None = None
        body: str | None = None

    class Document(LanceModel):
        source: Source | None = function.SourceField(default=None)
        vector: function.Vector() | None = function.VectorField(default=None)  # type: ignore[valid-type]

    return db.create_table("t", schema=Document)


def vectors(table: Any) -> list[Any]:
    found: list[Any] = table.to_arrow()["vector"].to_pylist()
    return found


def test_fields_of_a_nested_model_become_one_text(db: Any, function: Any) -> None:
    table = make_table(db, function)
    table.add([{"source": TEA}, {"source": CAR}])
    for vector, row in zip(vectors(table), (TEA, CAR), strict=True):
        expected = plain(function, f"{row['title']}\n\n{row['body']}")
        np.testing.assert_allclose(vector, expected, atol=1e-5)


def test_arrow_tables_are_taken(db: Any, function: Any) -> None:
    table = make_table(db, function)
    table.add(pa.table({"source": pa.array([TEA, CAR])}))
    np.testing.assert_allclose(
        vectors(table)[1], plain(function, "Cars\n\nA car has four wheels."), atol=1e-5
    )


def test_queries_are_plain_text(db: Any, function: Any) -> None:
    table = make_table(db, function)
    table.add([{"source": TEA}, {"source": CAR}])
    hit = table.search("Tea\n\nGreen tea is healthy.").limit(1).to_list()[0]
    assert hit["source"] == TEA
    assert hit["_distance"] < 1e-5


def test_null_fields_are_empty_and_null_rows_have_no_vector(db: Any, function: Any) -> None:
    table = make_table(db, function)
    rows = [TEA, {"title": "Only a title", "body": None}, {"title": None, "body": " "}, None]
    with pytest.warns(EmbeddingWarning, match=r"2 of 4 rows have no text \(rows 2, 3\)"):
        table.add([{"source": row} for row in rows], on_bad_vectors="null")
    found = vectors(table)
    assert [vector is None for vector in found] == [False, False, True, True]
    np.testing.assert_allclose(found[1], plain(function, "Only a title\n\n"), atol=1e-5)


REOPENING = """
import sys, lancedb, lancedb_embedders
table = lancedb.connect(sys.argv[1]).open_table("t")
assert table.embedding_functions["vector"].function.template == "{title}\\n\\n{body}"
table.add([{"source": {"title": "Cars", "body": "A car has four wheels."}}])
print(table.search("Cars\\n\\nA car has four wheels.").limit(1).to_list()[0]["_distance"] < 1e-5)
"""


def test_the_template_is_stored_with_the_table(db: Any, function: Any) -> None:
    make_table(db, function).add([{"source": TEA}])
    table = lancedb.connect(db.uri).open_table("t")
    table.add([{"source": CAR}])
    expected = plain(function, "Cars\n\nA car has four wheels.")
    np.testing.assert_allclose(vectors(table)[1], expected, atol=1e-5)


def test_another_process_fills_the_template_too(
    db: Any, provider: ProviderServer, python: Callable[..., str]
) -> None:
    make_table(db, create(provider, template=TEMPLATE)).add([{"source": TEA}])
    assert python(REOPENING, str(db.uri)).strip() == "True"


def test_a_field_that_is_not_there_is_named(db: Any, provider: ProviderServer) -> None:
    table = make_table(db, create(provider, template="{title} {summary}"))
    with pytest.raises(RuntimeError, match=r"row 0: there is no field 'summary'.*: title, body"):
        table.add([{"source": TEA}])
    assert provider.seen == []


def test_text_for_a_template_is_an_error(provider: ProviderServer) -> None:
    with pytest.raises(InputError, match=r"row 0: the template \{title\} needs a struct, got str"):
        create(provider, template=TEMPLATE).compute_source_embeddings(["plain"])


def test_a_struct_without_a_template_is_an_error(provider: ProviderServer) -> None:
    with pytest.raises(InputError, match=r"Arrow type struct.*template="):
        create(provider).compute_source_embeddings(pa.array([TEA]))


@pytest.mark.parametrize(
    "template",
    ["no field", "{}", "{title!r}", "{title:>10}", "{title", "{a b}", "{a..b}", "{a[0]}"],
)
def test_templates_that_are_none(template: str, provider: ProviderServer) -> None:
    with pytest.raises(ConfigurationError, match="cached-openai: template: "):
        create(provider, template=template)


# -- by itself ----------------------------------------------------------------------------------


def test_fields_within_fields_numbers_and_braces() -> None:
    rows = [{"author": {"name": "Ada"}, "year": 1843}, {"author": None, "year": 1.5}]
    assert Template("{{{author.name}}} ({year})").texts(rows) == ["{Ada} (1843)", "{} (1.5)"]


@pytest.mark.parametrize("value", [[1], b"x", {"a": 1}])
def test_other_values_are_errors(value: Any) -> None:
    with pytest.raises(InputError, match=f"row 1: the field a .* {type(value).__name__}, not text"):
        Template("{a}").texts([{"a": "x"}, {"a": value}])


def test_chunked_arrays_and_numpy() -> None:
    chunked = pa.chunked_array([pa.array([TEA]), pa.array([CAR])])
    as_objects = np.array([TEA, CAR], dtype=object)
    expected = ["Tea", "Cars"]
    assert Template("{title}").texts(chunked) == expected
    assert Template("{title}").texts(as_objects) == expected
    assert Template("{title}").texts(TEA) == expected[:1]


@given(st.text(), st.text(min_size=1).filter(str.strip))
def test_nothing_of_a_field_is_interpreted(one: str, other: str) -> None:
    assert Template("{a}|{b}").texts([{"a": one, "b": other}]) == [f"{one}|{other}"]
