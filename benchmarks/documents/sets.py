"""Sets of long documents with queries, read from the folder of evaluation data."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.corpus import data_folder

SETS = {"PEPs": "long_peps", "QMSum": "long_qmsum", "CovidQA": "long_covidqa"}


@dataclass(frozen=True)
class DocumentSet:
    """Documents, queries, and the documents that answer each query.

    Attributes
    ----------
    name : str
        What it is called in tables.
    documents, queries : dict of str to str
        Texts by identifier.
    relevant : dict of str to set of str
        Documents by query.
    """

    name: str
    documents: dict[str, str]
    queries: dict[str, str]
    relevant: dict[str, set[str]]


def load(name: str, most: int | None = None) -> DocumentSet:
    """Read a set; its first `most` documents and their queries, or all.

    Raises
    ------
    FileNotFoundError
        The folder of evaluation data is not there.
    """
    folder = data_folder() / SETS[name] / "a"
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        documents = dict(_texts(json.loads(line) for line in lines))
    documents = dict(list(documents.items())[:most])
    relevant: dict[str, set[str]] = {}
    with (folder / "qrels.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["corpus-id"] in documents and int(row["score"]) > 0:
                relevant.setdefault(row["query-id"], set()).add(row["corpus-id"])
    with Path(folder / "queries.jsonl").open(encoding="utf-8") as lines:
        queries = dict(_texts(json.loads(line) for line in lines))
    queries = {key: text for key, text in queries.items() if key in relevant}
    return DocumentSet(name, documents, queries, relevant)


def _texts(rows: Iterable[dict[str, str]]) -> Iterator[tuple[str, str]]:
    for row in rows:
        yield row["_id"], row["text"]
