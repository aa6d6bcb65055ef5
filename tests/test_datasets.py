"""Files of pairs, labels and retrieval sets are read as they are, or refused with their row."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from lancedb_embedders import ConfigurationError, EmbeddingWarning, InputError
from lancedb_embedders.tools.evaluate.datasets import (
    Labelled,
    ScoredPair,
    read_beir,
    read_labelled,
    read_pairs,
)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8", newline="")
    return path


def test_every_form_of_pairs(tmp_path: Path) -> None:
    # In TSV a quotation mark is a character like any other; in CSV it quotes.
    tsv = write(tmp_path / "a.tsv", 'score\tsentence1\tsentence2\n4.5\t"Go," he said\tHe said so\n')
    assert read_pairs(tsv) == [ScoredPair(4.5, '"Go," he said', "He said so")]
    named = write(tmp_path / "a.csv", 'similar,question1,question2\ntrue,"a, ""b""",c\nfalse,d,e\n')
    assert read_pairs(named) == [ScoredPair(1, 'a, "b"', "c"), ScoredPair(0, "d", "e")]
    lines = write(
        tmp_path / "a.jsonl.gz", '{"s": 1, "x": "é", "y": "b"}\n\n{"s":0,"x":"c","y":"d"}'
    )
    found = read_pairs(lines, score="s", first="x", second="y")
    assert found == [ScoredPair(1, "é", "b"), ScoredPair(0, "c", "d")]
    marked = write(tmp_path / "bom.tsv", "\ufeffscore\tsentence1\tsentence2\n1\ta\tb\n")
    assert read_pairs(marked) == [ScoredPair(1, "a", "b")]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("score\tsentence1\tsentence2\n1\ta\tb\nx\ta\tb\n", InputError, "row 1: 'x' is no score"),
        ("score\tsentence1\tsentence2\nnan\ta\tb\n", InputError, "row 0: 'nan' is no score"),
        ("score\tsentence1\tsentence2\n1\ta\t \n", InputError, "row 0: column 'sentence2'"),
        ("score\tsentence1\tsentence2\n1\ta\n", InputError, "row 0: column 'sentence2'"),
        ("points\ta\tb\n1\tx\ty\n", ConfigurationError, "it has: points, a, b"),
        ("score\tsentence1\tsentence2\n", ConfigurationError, "has no rows"),
        ("", ConfigurationError, "has no rows"),
    ],
)
def test_pairs_that_are_none(
    tmp_path: Path, text: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        read_pairs(write(tmp_path / "pairs.tsv", text))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no file"):
        read_pairs(tmp_path / "none.tsv")
    with pytest.raises(ConfigurationError, match=r"\.tsv, \.csv or \.jsonl"):
        read_pairs(write(tmp_path / "pairs.xlsx", "x"))
    (tmp_path / "folder.tsv").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_pairs(tmp_path / "folder.tsv")
    (tmp_path / "latin.tsv").write_bytes(b"score\tsentence1\tsentence2\n1\t\xe9\tb\n")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_pairs(tmp_path / "latin.tsv")
    (tmp_path / "broken.tsv.gz").write_bytes(gzip.compress(b"score")[:-4])
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_pairs(tmp_path / "broken.tsv.gz")
    with pytest.raises(InputError, match="row 1: no JSON"):
        read_labelled(write(tmp_path / "a.jsonl", '{"label": "a", "text": "b"}\n{'))
    with pytest.raises(InputError, match="row 0: expected an object"):
        read_labelled(write(tmp_path / "b.jsonl", "[1]"))


def test_labels(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tsv", "label\ttext\nfood\tgreen tea\n7\tseven\n")
    assert read_labelled(file) == [Labelled("food", "green tea"), Labelled("7", "seven")]
    with pytest.raises(InputError, match="row 0: column 'label' is empty"):
        read_labelled(write(tmp_path / "b.tsv", "label\ttext\n\tgreen tea\n"))


def test_beir_of_several_splits(tmp_path: Path) -> None:
    corpus = [{"_id": "d1", "title": "T", "text": "x"}, {"_id": "d2", "title": "", "text": "y"}]
    write(tmp_path / "corpus.jsonl.gz", "\n".join(map(json.dumps, corpus)))
    write(tmp_path / "queries.jsonl", '{"_id": "q1", "text": "a"}\n{"_id": "q2", "text": "b"}')
    write(tmp_path / "qrels" / "train.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    write(tmp_path / "qrels" / "test.tsv", "q2 0 d2 2\n")  # the form of TREC, without headings
    test = read_beir(tmp_path)
    assert test.corpus == {"d1": "T x", "d2": "y"}
    assert (test.queries, test.qrels) == ({"q2": "b"}, {"q2": {"d2": 2}})
    assert read_beir(tmp_path, "train").qrels == {"q1": {"d1": 1}}
    with pytest.raises(ConfigurationError, match=r"no split 'dev'.*test, train"):
        read_beir(tmp_path, "dev")
    (tmp_path / "qrels" / "test.tsv").rename(tmp_path / "qrels" / "dev.tsv")
    with pytest.raises(ConfigurationError, match=r"no split 'test'.*dev, train"):
        read_beir(tmp_path)


def test_beir_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no folder"):
        read_beir(tmp_path / "none")
    with pytest.raises(ConfigurationError, match="has no qrels"):
        read_beir(tmp_path)
    write(tmp_path / "qrels.tsv", "q\td\t1\n")
    with pytest.raises(ConfigurationError, match=r"has no corpus\.jsonl"):
        read_beir(tmp_path)
    write(tmp_path / "corpus.jsonl", '{"_id": "d0", "text": "x"}')
    write(tmp_path / "queries.jsonl", '{"_id": "p", "text": "x"}')
    with pytest.raises(ConfigurationError, match="query 'q' is judged"):
        read_beir(tmp_path)
    write(tmp_path / "queries.jsonl", '{"_id": "q", "text": "x"}')
    with pytest.warns(EmbeddingWarning, match="1 judged documents are not in the corpus"):
        read_beir(tmp_path)
    write(tmp_path / "qrels.tsv", "q\td0\t1\nq\td0\tgood\n")
    with pytest.raises(InputError, match="row 1: expected query, document and grade"):
        read_beir(tmp_path)
    write(tmp_path / "corpus.jsonl", '{"_id": "d0", "text": "x"}\n{"_id": "d0", "text": "y"}')
    with pytest.raises(InputError, match="row 1: _id 'd0' is there twice"):
        read_beir(tmp_path)
