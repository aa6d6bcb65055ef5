"""Queries with the terms of a collection that are near to them."""

from __future__ import annotations

import json
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from lancedb.pydantic import LanceModel

from lancedb_embedders import (
    ConfigurationError,
    Embedder,
    EmbeddingError,
    InputError,
    LongDocumentEmbeddings,
    SbertEmbeddings,
)
from lancedb_embedders.tools import expand_query
from lancedb_embedders.tools.evaluate.datasets import read_beir
from lancedb_embedders.tools.expand import term_vectors, vocabulary
from lancedb_embedders.tools.expand.vocabulary import table_terms
from lancedb_embedders.tools.expand.word_forms import WordForms
from tests.counting import Counting, embedded_texts
from tests.hosted import create
from tests.models import tiny_bert
from tests.providers import ProviderServer
from tests.test_cli import run

WORDS = [
    "automobile",
    "banana",
    "cars",
    "car dealer",
    "vehicle",
    "violin",
    "prices",
    "pricing",
    "second-hand",
    "concerto",
]


@pytest.fixture(scope="module")
def sbert() -> Embedder:
    return SbertEmbeddings.create()


@pytest.fixture
def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process forget all vectors of terms."""
    monkeypatch.setattr(term_vectors, "_known", OrderedDict())


def embedded_table(db: Any, function: Any, texts: Sequence[str | None], name: str = "t") -> Any:
    class Row(LanceModel):
        text: str | None = function.SourceField(default=None)
        vector: function.Vector() | None = function.VectorField(default=None)  # type: ignore[valid-type]

    table = db.create_table(name, schema=Row)
    rows = pa.table({"text": pa.array(texts, pa.string())})
    table.add(rows, on_bad_vectors="null")
    return table


# -- which terms ----------------------------------------------------------------------------------


def test_near_terms_come_with_their_cosines(sbert: Embedder) -> None:
    found = expand_query(sbert, "used car prices", WORDS, top_k=3)
    assert [term for term, _ in found.terms] == ["car dealer", "automobile", "vehicle"]
    assert found.expanded == "used car prices car dealer automobile vehicle"
    query = sbert.compute_query_embeddings(["used car prices"])[0]
    for term, cosine in found.terms:
        assert type(cosine) is float
        assert cosine == pytest.approx(float(query @ sbert.compute_source_embeddings([term])[0]))
    assert json.loads(json.dumps(found.to_dict()))["terms"][1][0] == "automobile"
    assert "automobile" in str(found)


def test_no_term_repeats_what_is_said(sbert: Embedder) -> None:
    found = expand_query(sbert, "used car prices", [*WORDS, "autos", "auto"], top_k=20)
    terms = [one.term for one in found.terms]
    assert not {"cars", "prices", "pricing"} & set(terms)  # forms of the query's own words
    assert len({"auto", "autos"} & set(terms)) == 1  # and of each other
    assert {"banana", "violin"} <= set(terms)  # nothing else is kept out


def test_words_that_merely_look_alike_are_not_forms(sbert: Embedder) -> None:
    found = expand_query(sbert, "heart", ["heat", "hearts", "hearth"], top_k=3)
    assert {term for term, _ in found.terms} == {"heat", "hearth"}


def test_forms_are_those_of_the_language(sbert: Embedder) -> None:
    words = ["Häuser", "Wohnung"]
    english = expand_query(sbert, "haus", words, top_k=2)
    german = expand_query(sbert, "haus", words, top_k=2, language="German")
    assert {term for term, _ in english.terms} == {"Häuser", "Wohnung"}
    assert {term for term, _ in german.terms} == {"Wohnung"}
    assert WordForms([]).of("x") == {"x"}


def test_a_threshold_leaves_terms_out(sbert: Embedder) -> None:
    found = expand_query(sbert, "used car prices", WORDS, 10, min_similarity=0.4)
    everything = expand_query(sbert, "used car prices", WORDS, 10)
    assert 0 < len(found.terms) < len(everything.terms)
    assert found.terms == tuple(term for term in everything.terms if term.cosine >= 0.4)
    none = expand_query(sbert, "used car prices", WORDS, min_similarity=1.0)
    assert none.terms == ()
    assert none.expanded == "used car prices"
    np.testing.assert_array_equal(none.vector, sbert.compute_query_embeddings([none.query])[0])


# -- the vector and the full-text query -----------------------------------------------------------


def test_the_vector_is_rocchios(sbert: Embedder) -> None:
    found = expand_query(sbert, "used car prices", WORDS, top_k=2, weight=0.5)
    query = sbert.compute_query_embeddings([found.query])[0]
    terms = sbert.compute_source_embeddings([term for term, _ in found.terms])
    cosines = np.array([cosine for _, cosine in found.terms])
    expected = query + 0.5 * (cosines @ terms) / cosines.sum()
    np.testing.assert_allclose(found.vector, expected / np.linalg.norm(expected), atol=1e-6)
    assert found.vector.dtype == np.float32


@pytest.mark.parametrize("quantization", ["float16", "binary"])
def test_quantized_vectors_search_their_tables(db: Any, quantization: str) -> None:
    function = SbertEmbeddings.create(quantization=quantization)
    table = embedded_table(db, function, ["a car dealer", "violin lessons", "ripe bananas"])
    found = expand_query(function, "automobile", WORDS, top_k=3)
    # With one bit for each dimension cosines are other ones, and still tell what is near.
    assert {"vehicle", "cars"} <= {term for term, _ in found.terms}
    assert all(-1 <= cosine <= 1 for _, cosine in found.terms)
    kinds = {"float16": ("float16", 384), "binary": ("uint8", 48)}
    assert (found.vector.dtype.name, len(found.vector)) == kinds[quantization]
    distance = "hamming" if quantization == "binary" else "cosine"
    best = table.search(found.vector).distance_type(distance).limit(1).to_list()[0]
    assert best["text"] == "a car dealer"


def test_vectors_that_are_not_normalized_keep_their_length(tmp_path: Path) -> None:
    function = SbertEmbeddings.create(
        name=str(tiny_bert(tmp_path / "m", normalize=False)), normalize=False
    )
    query = function.compute_query_embeddings(["river bank"])[0]
    found = expand_query(function, "river bank", ["fox", "dog", "search"], top_k=2, weight=1)
    assert np.linalg.norm(query) != pytest.approx(1, abs=0.01)
    assert np.linalg.norm(found.vector) == pytest.approx(np.linalg.norm(query), rel=1e-5)
    assert not np.allclose(found.vector, query)


def test_full_text_finds_what_has_none_of_the_querys_words(db: Any, sbert: Embedder) -> None:
    texts = ["The automobile was sold.", "Used car prices rose.", "A violin concerto."]
    table = db.create_table("t", [{"text": text} for text in texts])
    table.create_fts_index("text")

    def hits(query: Any) -> list[str]:
        found = table.search(query, query_type="fts").limit(5).to_list()
        return [hit["text"] for hit in found]

    found = expand_query(sbert, "used car prices", WORDS, top_k=3)
    assert hits(found.query) == [texts[1]]
    assert hits(found.full_text()) == [texts[1], texts[0]]  # the query's own words count most
    assert hits(found.full_text(weight=0)) == [texts[1]]


# -- the vocabulary is embedded once --------------------------------------------------------------


def test_the_second_query_embeds_itself_only(tmp_path: Path, no_memory: None) -> None:
    function = Counting.create(log=str(tmp_path / "log"))

    def asked(query: str, words: list[str]) -> list[str]:
        (tmp_path / "log").write_text("")
        expand_query(function, query, words)
        ((_, texts),) = embedded_texts(tmp_path / "log").items()
        return sorted(texts.elements())

    assert asked("one", WORDS) == sorted(["one", *WORDS])
    assert asked("two", WORDS) == ["two"]
    assert asked("two", list(reversed(WORDS))) == sorted(["two", *WORDS])
    assert asked("two", [*WORDS[1:], "new"]) == sorted(["two", *WORDS[1:], "new"])
    other = Counting.create(name="b", log=str(tmp_path / "log"))
    assert expand_query(other, "two", WORDS).terms != expand_query(function, "two", WORDS).terms


@pytest.mark.slow
def test_another_process_finds_the_vectors_on_disk(
    tmp_path: Path, python: Callable[..., str]
) -> None:
    model = tiny_bert(tmp_path / "tiny")
    code = """
import sys
from lancedb_embedders import SbertEmbeddings
from lancedb_embedders.local.embedder import LocalTextEmbedder
from lancedb_embedders.tools import expand_query
embed, seen = LocalTextEmbedder._embed_now, []
def noted(self, batch, options):
    seen.extend(batch.inputs)
    return embed(self, batch, options)
LocalTextEmbedder._embed_now = noted
function = SbertEmbeddings.create(name=sys.argv[1], **eval(sys.argv[2]))
found = expand_query(function, "river", ["fox", "dog", "search"], cache=sys.argv[3] == "on")
print(len(seen), function.process_options()["cache"], [t for t, _ in found.terms])
"""
    first = python(code, str(model), "{}", "on")
    again = python(code, str(model), "{}", "on")
    assert first.startswith("4 False")  # for the function itself nothing has changed
    assert again.startswith("1 False")
    assert first[1:] == again[1:]
    assert python(code, str(model), "{}", "off").startswith("4")
    assert python(code, str(model), "{'cache': False}", "on").startswith("4")


def test_a_hosted_function_sends_the_vocabulary_once(
    provider: ProviderServer, monkeypatch: pytest.MonkeyPatch, no_memory: None
) -> None:
    function = create(provider)
    expand_query(function, "one", WORDS)
    assert sorted(provider.texts()) == sorted(["one", *WORDS])
    monkeypatch.setattr(term_vectors, "_known", OrderedDict())  # as another process has it
    expand_query(create(provider), "two", WORDS)
    assert sorted(provider.texts()) == sorted(["one", "two", *WORDS])


# -- the terms of a table -------------------------------------------------------------------------

TEXTS = [
    "Jet engines burn kerosene. The jet engine is loud.",
    "A jet engine has 4 blades; turbine blades are hot.",
    None,
    "Turbine blades of the jet engine.",
    "   ",
    "Kerosene is a fuel.",
]


def test_terms_are_counted_by_texts(db: Any) -> None:
    table = db.create_table("t", pa.table({"text": TEXTS}))
    assert table_terms(table, "text", min_df=2, max_df=1.0) == (
        "engine",
        "jet",
        "jet engine",
        "blades",
        "kerosene",
        "turbine",
        "turbine blades",
    )
    # Of four texts three are more than half.
    assert table_terms(table, "text", min_df=2) == (
        "blades",
        "kerosene",
        "turbine",
        "turbine blades",
    )
    assert table_terms(table, "text", min_df=3, max_df=3) == ("engine", "jet", "jet engine")
    assert table_terms(table, "text", min_df=0.75, max_df=1.0, max_terms=1) == ("engine",)
    few = table_terms(table, "text")
    assert "fuel" in few  # in few rows, one text is enough
    assert not {"the", "is", "of the", "4", "has 4"} & set(few)


def test_rows_are_read_in_batches_and_rare_terms_forgotten(
    db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"common word{i:05d} {'blue' if i % 2 else 'red'}" for i in range(2500)]
    table = db.create_table("t", pa.table({"text": texts}))
    monkeypatch.setattr(vocabulary, "_COUNTED", 1500)
    read: list[int] = []
    count = vocabulary._count

    def noted(values: pa.Array, counts: Counter[str]) -> int:
        read.append(len(values))
        return count(values, counts)

    monkeypatch.setattr(vocabulary, "_count", noted)
    assert table_terms(table, "text", max_df=1.0) == ("common", "blue", "red")
    assert max(read) <= 1000
    assert sum(read) == 2500
    table_terms(table, "text", max_df=1.0)
    assert sum(read) == 2500  # the same version is not read again


def test_a_table_is_expanded_by_its_own_terms_and_by_new_ones(db: Any, sbert: Embedder) -> None:
    table = embedded_table(db, sbert, TEXTS)
    found = expand_query(sbert, "aircraft propulsion", table, top_k=2)
    assert {term for term, _ in found.terms} <= set(table_terms(table))
    assert any("engine" in term for term, _ in found.terms)
    table.add([{"text": "An airplane propeller"}])
    assert "airplane propeller" in {
        term for term, _ in expand_query(sbert, "aircraft propulsion", table, top_k=2).terms
    }
    db.drop_table("t")
    table = embedded_table(db, sbert, ["ripe bananas"])  # the same name and place
    assert table_terms(table) == ("bananas", "ripe", "ripe bananas")


def test_a_column_of_terms_is_taken_as_it_is(db: Any, sbert: Embedder) -> None:
    table = db.create_table("t", pa.table({"tag": ["Automobile", None, "Violin", "Automobile"]}))
    found = expand_query(sbert, "car", table, term_column="tag")
    assert [term for term, _ in found.terms] == ["Automobile", "Violin"]
    with pytest.raises(ConfigurationError, match="no column with embedding function"):
        expand_query(sbert, "car", table)
    with pytest.raises(ConfigurationError, match=r"no column 'tags'; it has: tag"):
        expand_query(sbert, "car", table, term_column="tags")
    with pytest.raises(ConfigurationError, match="not both"):
        expand_query(sbert, "car", table, column="tag", term_column="tag")


def test_a_function_with_a_template_embeds_terms(no_memory: None) -> None:
    function = SbertEmbeddings.create(template="{title}\n{body}")
    found = expand_query(function, "used car prices", WORDS, top_k=2)
    assert [term for term, _ in found.terms] == ["car dealer", "automobile"]


def test_real_abstracts(data: Path, db: Any, sbert: Embedder) -> None:
    corpus = list(read_beir(data / "ir_classic" / "medline").corpus.values())[:400]
    table = db.create_table("t", pa.table({"text": corpus}))
    found = expand_query(sbert, "tumours of the lung", table, column="text", max_terms=400, top_k=3)
    assert "cancer" in " ".join(term for term, _ in found.terms)
    assert {term for term, _ in found.terms} <= set(table_terms(table, "text", max_terms=400))


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["", " \n", None, 3, b"bytes"])
def test_a_query_must_be_text(query: Any) -> None:
    with pytest.raises(InputError, match="query is"):
        expand_query(Counting.create(), query, WORDS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "top_k is a number of terms"),
        ({"top_k": 2.5}, "top_k is a number of terms"),
        ({"min_similarity": 40}, "min_similarity is a cosine"),
        ({"weight": -1}, "weight is 0 or more"),
        ({"weight": float("nan")}, "weight is 0 or more"),
        ({"language": "Klingon"}, "no stemmer for language='Klingon'"),
        ({"column": "text"}, "a list of terms has no columns"),
        ({"vocabulary": []}, "there are no terms"),
        ({"vocabulary": "automobile"}, "expected a list of terms"),
        ({"function": "no-such/model"}, "no-such/model"),
    ],
)
def test_options_must_fit(options: dict[str, Any], message: str) -> None:
    given = {"function": Counting.create(), "vocabulary": WORDS, **options}
    with pytest.raises(EmbeddingError, match=message):
        expand_query(query="car", **given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_df": 0}, "min_df is a number of texts"),
        ({"max_df": 1.5}, "max_df is a number of texts"),
        ({"max_terms": 0}, "max_terms is 1 or more"),
        ({"min_df": 50}, "none of the .* terms in column 'text' is in at least 50"),
        ({"column": "n"}, "int64"),
    ],
)
def test_options_of_a_table_must_fit(db: Any, options: dict[str, Any], message: str) -> None:
    table = db.create_table("t", pa.table({"text": TEXTS, "n": range(len(TEXTS))}))
    with pytest.raises(EmbeddingError, match=message):
        expand_query(Counting.create(), "car", table, **{"column": "text", **options})


def test_a_term_that_is_no_text_is_named_by_its_row() -> None:
    with pytest.raises(InputError, match="row 1: expected a string") as caught:
        expand_query(Counting.create(), "car", ["automobile", 3])
    assert caught.value.rows == (1,)


def test_several_vectors_a_text_are_refused() -> None:
    function = LongDocumentEmbeddings.create(reduce="none")
    with pytest.raises(ConfigurationError, match="several vectors a text"):
        expand_query(function, "car", WORDS)


# -- from a shell ---------------------------------------------------------------------------------


def test_command(tmp_path: Path, db: Any, sbert: Embedder) -> None:
    (tmp_path / "words.txt").write_text("\n".join([*WORDS, ""]))
    printed = run(
        "expand", "used car prices", "--vocabulary", "words.txt", "--top-k", "2", cwd=tmp_path
    )
    assert printed.returncode == 0, printed.stderr
    assert "used car prices car dealer automobile" in printed.stdout
    embedded_table(db, sbert, TEXTS)
    where = ("--db", str(tmp_path / "db"), "--table", "t")
    printed = run("expand", "plane", *where, "--top-k", "1", "--json", cwd=tmp_path)
    assert printed.returncode == 0, printed.stderr
    ((term, cosine),) = json.loads(printed.stdout)["terms"]
    assert "jet" in term
    assert 0 < cosine < 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--db and --table, or --vocabulary"),
        (("--db", "db"), "--db and --table, or --vocabulary"),
        (("--vocabulary", "absent.txt"), "absent.txt cannot be read"),
    ],
)
def test_command_says_what_is_wrong(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    printed = run("expand", "car", *options, cwd=tmp_path)
    assert printed.returncode == 1
    assert message in printed.stderr
    assert "Traceback" not in printed.stderr
