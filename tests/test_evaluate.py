"""The published figures come out, and what is lost by an index or by bits is seen."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from lancedb.index import FTS, IvfFlat, IvfPq
from lancedb.pydantic import LanceModel
from lancedb.rerankers import LinearCombinationReranker
from typer.testing import CliRunner

from lancedb_embedders import (
    ConfigurationError,
    InputError,
    SbertEmbeddings,
    evaluate_classification,
    evaluate_retrieval,
    evaluate_sts,
)
from lancedb_embedders.cli import app
from lancedb_embedders.output import quantize
from lancedb_embedders.tools.evaluate.datasets import (
    Labelled,
    RetrievalSet,
    ScoredPair,
    read_beir,
    read_labelled,
)
from lancedb_embedders.tools.evaluate.metrics import retrieval_metrics
from tests.table_function import LabelledEmbeddings

CORPUS = {
    "tea": "Green tea is steeped in hot water.",
    "snow": "Snow falls in cold winters.",
    "rust": "Rust is a fast programming language.",
    "boat": "The boat leaves the harbour at nine.",
}
QUERIES = {"1": "a hot drink", "2": "compiled systems programming"}
QRELS = {"1": {"tea": 1}, "2": {"rust": 2, "snow": 0}}
PAIRS = [(5.0, "a cat", "a kitten"), (2.0, "a cat", "a dog"), (0.0, "a cat", "two taxes")]


@pytest.fixture(scope="module")
def sbert(tmp_path_factory: pytest.TempPathFactory) -> SbertEmbeddings:
    """What was embedded by one test of this module is there for the next."""
    return SbertEmbeddings.create(cache=True, cache_dir=tmp_path_factory.mktemp("vectors"))


@pytest.fixture(scope="module")
def faq(data: Path) -> RetrievalSet:
    return read_beir(data / "faq_covid")


def rows_of(sbert: SbertEmbeddings, given: RetrievalSet) -> pa.Table:
    vectors = sbert.compute_source_embeddings(list(given.corpus.values()))
    return pa.table(
        {
            "number": list(given.corpus),
            "text": list(given.corpus.values()),
            "vector": pa.FixedSizeListArray.from_arrays(vectors.ravel(), 384),
        }
    )


@pytest.fixture(scope="module")
def faq_rows(sbert: SbertEmbeddings, faq: RetrievalSet) -> pa.Table:
    return rows_of(sbert, faq)


# -- published figures ---------------------------------------------------------------------------


def test_sts_as_published(data: Path) -> None:
    found = evaluate_sts("sbert", data / "stsb" / "sts-dev.tsv")
    assert found.pairs == 1500
    # embeddings-benchmark/results, STSBenchmark dev of all-MiniLM-L6-v2.
    assert found.spearman == pytest.approx(86.72, abs=0.1)
    assert found.pearson == pytest.approx(86.96, abs=0.1)


def test_retrieval_as_measured_by_others(sbert: SbertEmbeddings, faq: RetrievalSet) -> None:
    found = evaluate_retrieval(sbert, faq)
    assert (found.queries, found.documents) == (244, 131)
    assert found.recall[1] == pytest.approx(65.2, abs=0.1)
    assert (found.index, found.exact) == (None, None)


@pytest.mark.slow
def test_more_figures_as_measured_by_others(data: Path) -> None:
    found = evaluate_retrieval("sbert", data / "ir_classic" / "medline")
    assert (found.queries, found.documents) == (30, 1033)
    assert found.ndcg_at_10 == pytest.approx(78.75, abs=0.1)
    assert found.recall_at_10 == pytest.approx(35.92, abs=0.1)
    assert found.recall[100] == pytest.approx(95.79, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "ndcg"),
    [("ir_classic/cranfield", 37.36), ("ir_classic/cisi", 41.93), ("scifact", 66.02)],
)
def test_more_sets_as_measured_by_others(data: Path, folder: str, ndcg: float) -> None:
    found = evaluate_retrieval("sbert", data / folder)
    assert found.ndcg_at_10 == pytest.approx(ndcg, abs=0.1)


@pytest.mark.slow
def test_sick_as_published(data: Path) -> None:
    found = evaluate_sts("sbert", data / "sick_r" / "sick-train.tsv")
    assert found.pairs == 4500
    assert found.spearman == pytest.approx(77.58, abs=1)  # published for all splits


def test_a_linear_probe(data: Path) -> None:
    kept = {"card_arrival", "exchange_rate", "lost_or_stolen_card", "top_up_failed"}
    train, test = (
        [
            one
            for one in read_labelled(data / "intent_banking77" / f"{part}.tsv")
            if one.label in kept
        ]
        for part in ("train", "test")
    )
    found = evaluate_classification("sbert", train, test)
    assert (found.test, found.classes) == (160, 4)
    assert found.accuracy > 97
    assert found.f1 == pytest.approx(found.accuracy, abs=1)
    assert found.majority == 25
    assert evaluate_classification("sbert", train, test) == found


# -- what is measured ----------------------------------------------------------------------------


def test_metrics_are_those_of_the_formulas() -> None:
    run = {"q": {"a": 3.0, "b": 2.0, "c": 1.0}, "nothing": {}}
    found = retrieval_metrics(run, {"q": {"b": 2, "c": 1, "d": 3}, "unjudged": {"a": 0}})
    gained = 2 / math.log2(3) + 1 / math.log2(4)
    ideal = 3 / math.log2(2) + 2 / math.log2(3) + 1 / math.log2(4)
    assert found["ndcg_at_10"] == pytest.approx(100 * gained / ideal)
    assert found["mrr_at_10"] == 50
    assert found["recall_at_1"] == 0
    assert found["recall_at_5"] == pytest.approx(100 * 2 / 3)
    # A query without an answer found nothing, and counts.
    half = retrieval_metrics(run, {"q": {"b": 1}, "nothing": {"a": 1}})
    assert half["mrr_at_10"] == 25
    assert retrieval_metrics({}, {"q": {"b": 1}})["ndcg_at_10"] == 0


def test_the_rank_within_a_table_is_what_counts(db: Any) -> None:
    function = LabelledEmbeddings.create(dim=16)
    texts = {str(i): f"text {i}" for i in range(50)}
    qrels = {"same": {"7": 1}, "wrong": {"8": 1}}
    found = evaluate_retrieval(function, {"same": "text 7", "wrong": "text 9"}, qrels, texts)
    vectors = function.compute_source_embeddings(list(texts.values()))
    order = np.argsort(-(vectors @ vectors[9]))
    rank = 1 + [str(i) for i in order].index("8")
    second = 1 / rank if rank <= 10 else 0.0
    assert found.mrr_at_10 == pytest.approx(100 * (1 + second) / 2)


def filled(db: Any, rows: pa.Table, quantization: Any = None) -> Any:
    """Return a table with the vectors that are given, and the function that they are of."""
    sbert: Any = SbertEmbeddings.create(quantization=quantization)

    class Document(LanceModel):
        number: str
        text: str = sbert.SourceField()
        vector: sbert.Vector() = sbert.VectorField()  # type: ignore[valid-type]

    table = db.create_table("documents", schema=Document, mode="overwrite")
    vectors = quantize(np.stack(rows["vector"].to_numpy()), quantization)
    packed = pa.FixedSizeListArray.from_arrays(vectors.ravel(), vectors.shape[1])
    table.add(rows.set_column(2, "vector", packed))
    return table


def test_quantization_is_within_what_is_measured(
    db: Any, faq: RetrievalSet, faq_rows: pa.Table
) -> None:
    whole = evaluate_retrieval(filled(db, faq_rows), faq, id_column="number")
    assert whole.recall[1] == pytest.approx(65.2, abs=0.1)
    packed = evaluate_retrieval(filled(db, faq_rows, "binary"), faq, id_column="number")
    # 384 bits in the place of 384 floats lose something, and not all of it.
    assert whole.ndcg_at_10 - 15 < packed.ndcg_at_10 < whole.ndcg_at_10


def test_an_index_is_told_apart_from_exact_search(db: Any) -> None:
    function = LabelledEmbeddings.create(dim=32)

    class Row(LanceModel):
        id: str
        text: str = function.SourceField()
        vector: function.Vector() = function.VectorField()  # type: ignore[valid-type]

    table = db.create_table("rows", schema=Row)
    table.add([{"id": str(i), "text": f"text {i}"} for i in range(2000)])
    coarse = IvfPq(distance_type="cosine", num_partitions=8, num_sub_vectors=2)
    table.create_index("vector", config=coarse)
    vectors = np.stack(table.to_pandas()["vector"].to_list())
    queries = {str(i): f"text {i}" for i in range(0, 2000, 50)}
    nearest = np.argsort(-(vectors @ vectors[::50].T), axis=0)[:10]
    qrels = {
        key: {str(row): 1 for row in column} for key, column in zip(queries, nearest.T, strict=True)
    }
    found = evaluate_retrieval(table, queries, qrels, nprobes=1)
    assert found.index == "IvfPq"
    assert found.exact is not None
    assert found.exact["ndcg_at_10"] == 100
    assert found.ndcg_at_10 < 90
    assert found.index_recall_at_10 == pytest.approx(found.recall_at_10)
    assert "exact" in str(found)
    # Looked into whole and compared again by true distances, it loses next to nothing.
    mended = evaluate_retrieval(table, queries, qrels, nprobes=8, refine_factor=50)
    assert mended.ndcg_at_10 > 98


def test_an_index_of_the_temporary_table() -> None:
    function = LabelledEmbeddings.create(dim=16)
    texts = {str(i): f"text {i}" for i in range(300)}
    found = evaluate_retrieval(
        function,
        {"q": "text 7"},
        {"q": {"7": 1}},
        texts,
        index=IvfFlat(distance_type="cosine", num_partitions=1),
    )
    assert found.index == "IvfFlat"
    assert found.mrr_at_10 == 100
    assert found.index_recall_at_10 == 100


def test_full_text_and_hybrid_search_of_a_table(
    db: Any,
    sbert: SbertEmbeddings,
    faq: RetrievalSet,
    faq_rows: pa.Table,
    capfd: pytest.CaptureFixture[str],
) -> None:
    table = filled(db, faq_rows)
    table.create_index("text", config=FTS())
    kept = dict(list(faq.qrels.items())[:60])
    faq = RetrievalSet(faq.corpus, faq.queries, kept)
    figures = {}
    for query_type in ("vector", "fts", "hybrid"):
        found = evaluate_retrieval(table, faq, id_column="number", query_type=query_type, depth=20)
        figures[query_type] = found.ndcg_at_10
        assert set(found.recall) == {1, 5, 10}
    alone = evaluate_retrieval(sbert, faq, depth=20)
    assert figures["vector"] == pytest.approx(alone.ndcg_at_10, abs=0.1)
    assert 60 < figures["fts"] < figures["vector"]
    assert figures["hybrid"] > figures["fts"]
    weighted = evaluate_retrieval(
        table,
        faq,
        id_column="number",
        query_type="hybrid",
        reranker=LinearCombinationReranker(weight=0.9),
    )
    assert weighted.ndcg_at_10 != pytest.approx(figures["hybrid"], abs=0.01)
    assert "Deprecation" not in capfd.readouterr().err  # of Lance, once a query


@pytest.mark.slow
def test_a_table_is_as_far_from_exact_search_as_measured(
    db: Any, data: Path, sbert: SbertEmbeddings
) -> None:
    medline = read_beir(data / "ir_classic" / "medline")
    rows = rows_of(sbert, medline)
    packed = evaluate_retrieval(filled(db, rows, "binary"), medline, id_column="number")
    # 384 bits in the place of 384 floats lose something of 95.79, and not all of it.
    assert 85 < packed.recall[100] < 95
    table = filled(db, rows)
    table.create_index("text", config=FTS())
    figures = {}
    for query_type in ("vector", "fts", "hybrid"):
        found = evaluate_retrieval(
            table, medline, id_column="number", query_type=query_type, depth=20
        )
        figures[query_type] = found.ndcg_at_10
    assert figures["vector"] == pytest.approx(78.75, abs=0.1)
    assert figures["fts"] == pytest.approx(67.04, abs=3)  # BM25 of another tokenizer
    assert figures["hybrid"] > figures["fts"]
    coarse = IvfPq(distance_type="cosine", num_partitions=4, num_sub_vectors=8)
    table.create_index("vector", config=coarse)
    found = evaluate_retrieval(table, medline, id_column="number", nprobes=1)
    assert found.exact is not None
    assert found.exact["ndcg_at_10"] == pytest.approx(78.75, abs=0.1)
    assert found.recall[100] < found.exact["recall_at_100"] - 5
    assert found.index_recall_at_10 is not None
    assert 20 < found.index_recall_at_10 < 90
    mended = evaluate_retrieval(table, medline, id_column="number", nprobes=4, refine_factor=20)
    assert mended.ndcg_at_10 == pytest.approx(78.75, abs=1)


def test_a_document_of_several_rows_counts_by_its_best(db: Any) -> None:
    function = LabelledEmbeddings.create(dim=16)
    rows = [{"id": f"d{i // 8}", "text": f"chunk {i}"} for i in range(160)]

    class Chunk(LanceModel):
        id: str
        text: str = function.SourceField()
        vector: function.Vector() = function.VectorField()  # type: ignore[valid-type]

    table = db.create_table("chunks", schema=Chunk)
    table.add(rows)
    # All twenty documents are found, though ten hits would hold fewer.
    found = evaluate_retrieval(
        table, {"q": "chunk 20"}, {"q": {f"d{i}": 1 for i in range(20)}}, depth=20
    )
    assert found.mrr_at_10 == 100
    assert found.recall[10] == pytest.approx(50)
    assert found.ndcg_at_10 == 100


# -- what does not fit ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pairs", "error", "message"),
    [
        ([(1.0, "a", "b"), (2.0, "", "b")], InputError, "row 1: expected a text"),
        ([(1.0, "a", "b"), ("high", "a", "b")], InputError, "row 1: 'high' is no score"),
        ([(1.0, "a", "b"), ("a", "b")], InputError, "row 1: expected a score and two texts"),
        ([(1.0, "a", "b"), (1.0, "a", "c")], ConfigurationError, "different scores"),
        ([], ConfigurationError, "two pairs at least"),
    ],
)
def test_pairs_that_cannot_be_measured(pairs: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        evaluate_sts(LabelledEmbeddings.create(), pairs)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"queries": QUERIES}, "queries and qrels as dicts"),
        ({"queries": QUERIES, "qrels": {"9": {"tea": 1}}, "corpus": CORPUS}, "'9' is judged"),
        ({"queries": QUERIES, "qrels": QRELS}, "there is no corpus"),
        (
            {"queries": QUERIES, "qrels": {"1": {"tea": 0}}, "corpus": CORPUS},
            "no query has",
        ),
        ({"queries": QUERIES, "qrels": QRELS, "corpus": CORPUS, "depth": 5}, "ten hits"),
        (
            {"queries": QUERIES, "qrels": QRELS, "corpus": CORPUS, "query_type": "best"},
            "'best' is not known",
        ),
    ],
)
def test_retrieval_that_cannot_be_measured(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        evaluate_retrieval(LabelledEmbeddings.create(), **given)


def test_tables_that_cannot_be_measured(db: Any) -> None:
    plain = db.create_table("plain", [{"id": "a", "text": "b"}])
    with pytest.raises(ConfigurationError, match=r"tables\.attach"):
        evaluate_retrieval(plain, QUERIES, QRELS)
    with pytest.raises(ConfigurationError, match=r"no column 'key'.*id, text"):
        evaluate_retrieval(plain, QUERIES, QRELS, id_column="key")
    with pytest.raises(ConfigurationError, match="full-text"):
        evaluate_retrieval(plain, QUERIES, QRELS, query_type="fts")
    with pytest.raises(ConfigurationError, match="expected a table or a function, got int"):
        evaluate_retrieval(7, QUERIES, QRELS)
    with pytest.raises(ConfigurationError, match=r"table\.create_index"):
        evaluate_retrieval(plain, QUERIES, QRELS, index=IvfPq())


def test_one_class_is_nothing_to_learn() -> None:
    texts = [Labelled("a", "one"), Labelled("a", "two")]
    with pytest.raises(ConfigurationError, match="two at least"):
        evaluate_classification(LabelledEmbeddings.create(), texts, texts)
    with pytest.raises(InputError, match="row 0"):
        evaluate_classification(LabelledEmbeddings.create(), [("a", ""), ("b", "x")], texts)


# -- results, and from a shell ---------------------------------------------------------------------


def test_results_are_dicts_and_tables() -> None:
    found = evaluate_retrieval(
        LabelledEmbeddings.create(), RetrievalSet(CORPUS, QUERIES, QRELS, "small")
    )
    as_dict = found.to_dict()
    assert json.loads(json.dumps(as_dict)) == as_dict
    assert as_dict["recall"].keys() == {"1", "5", "10", "100"}
    assert "small: 2 queries, 4 documents" in str(found)
    assert "nDCG@10" in str(found)
    pairs = [ScoredPair(*pair) for pair in PAIRS]
    assert evaluate_sts("sbert", pairs).to_dict()["pairs"] == 3


def test_from_a_shell(tmp_path: Path) -> None:
    lines = ["score\tsentence1\tsentence2", *("\t".join(map(str, pair)) for pair in PAIRS)]
    (tmp_path / "pairs.tsv").write_text("\n".join(lines), encoding="utf-8")
    done = CliRunner().invoke(app, ["evaluate", "sts", str(tmp_path / "pairs.tsv"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["spearman"] == pytest.approx(100)

    write_beir(tmp_path / "set")
    done = CliRunner().invoke(app, ["evaluate", "retrieval", str(tmp_path / "set"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["ndcg_at_10"] == pytest.approx(100)

    labelled = "label\ttext\nfood\ttea\nfood\tbread\ntools\thammer\ntools\tsaw\n"
    (tmp_path / "labels.tsv").write_text(labelled, encoding="utf-8")
    arguments = ["evaluate", "classification", *2 * [str(tmp_path / "labels.tsv")]]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "100.00" in done.stdout

    done = CliRunner().invoke(app, ["evaluate", "sts", str(tmp_path / "none.tsv")])
    assert done.exit_code == 1
    assert "there is no file" in done.stderr


def test_a_table_from_a_shell(tmp_path: Path) -> None:
    import lancedb

    sbert: Any = SbertEmbeddings.create()

    class Document(LanceModel):
        id: str
        text: str = sbert.SourceField()
        vector: sbert.Vector() = sbert.VectorField()  # type: ignore[valid-type]

    table: Any = lancedb.connect(tmp_path / "db").create_table("docs", schema=Document)
    table.add([{"id": key, "text": text} for key, text in CORPUS.items()])
    folder = str(write_beir(tmp_path / "set"))
    named = ["--db", str(tmp_path / "db"), "--table", "docs"]
    done = CliRunner().invoke(app, ["evaluate", "retrieval", folder, *named, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["documents"] == 4
    done = CliRunner().invoke(app, ["evaluate", "retrieval", folder, *named, "--model", "sbert"])
    assert done.exit_code == 1
    assert "a table has its function" in done.stderr


def write_beir(folder: Path) -> Path:
    folder.mkdir()
    for name, texts in (("corpus", CORPUS), ("queries", QUERIES)):
        lines = [json.dumps({"_id": key, "text": text}) for key, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    rows = [f"{q}\t{d}\t{grade}" for q, grades in QRELS.items() for d, grade in grades.items()]
    text = "\n".join(["query-id\tcorpus-id\tscore", *rows])
    (folder / "qrels.tsv").write_text(text, encoding="utf-8")
    return folder
