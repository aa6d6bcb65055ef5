"""Retrieval, measured through a real table: its index and quantization are in the figures."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lancedb.index import FTS

from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.extras import require
from lancedb_embedders.inputs.text import is_blank
from lancedb_embedders.tools.evaluate.datasets import RetrievalSet, read_beir
from lancedb_embedders.tools.evaluate.metrics import CUTOFFS, retrieval_metrics
from lancedb_embedders.tools.evaluate.searching import QueryType, Run, Search, indexed_by
from lancedb_embedders.tools.given import function_of
from lancedb_embedders.tools.result import Result, rows_table
from lancedb_embedders.tools.scratch import scratch_table

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class RetrievalResult(Result):
    """How good what a table finds is, as means over queries; all figures 0 to 100.

    Attributes
    ----------
    name : str
        Of the set.
    queries, documents : int
        Queries with a relevant document, and documents in the table.
    query_type : str
        ``"vector"``, ``"fts"`` or ``"hybrid"``.
    ndcg_at_10, mrr_at_10, map : float
        See `lancedb_embedders.tools.evaluate.metrics.retrieval_metrics`.
    recall : dict of int to float
        Depth -> share of the relevant documents that are among so many hits.
    index : str or None
        Kind of the vector index that was searched; None: the search was exact.
    exact : dict of str to float or None
        The same figures with every vector compared, where there is an index.
    index_recall_at_10 : float or None
        Share of the ten nearest of exact search that the index finds.
    """

    name: str
    queries: int
    documents: int
    query_type: str
    ndcg_at_10: float
    mrr_at_10: float
    map: float
    recall: dict[int, float]
    index: str | None = None
    exact: dict[str, float] | None = None
    index_recall_at_10: float | None = None

    @property
    def recall_at_10(self) -> float:
        """Share of the relevant documents that are among ten hits."""
        return self.recall[10]

    def figures(self) -> dict[str, float]:
        """Return all metrics by name, as `retrieval_metrics` has them."""
        recall = {f"recall_at_{depth}": value for depth, value in self.recall.items()}
        return {
            "ndcg_at_10": self.ndcg_at_10,
            "mrr_at_10": self.mrr_at_10,
            "map": self.map,
            **recall,
        }

    def table(self) -> Table:
        """Return the figures as a table; exact search below, where an index was measured."""
        titles = {"ndcg_at_10": "nDCG@10", "mrr_at_10": "MRR@10", "map": "MAP"}
        names = list(self.figures())
        headings = [titles.get(name, name.replace("_at_", "@")) for name in names]
        how = self.query_type if self.index is None else f"{self.query_type}, {self.index}"
        rows = [[how, *(f"{value:.2f}" for value in self.figures().values())]]
        if self.exact is not None:
            rows.append(["exact", *(f"{self.exact[name]:.2f}" for name in names)])
        title = (
            f"{self.name or 'Retrieval'}: {self.queries:,} queries, {self.documents:,} documents"
        )
        if self.index_recall_at_10 is not None:
            title += f"; the index finds {self.index_recall_at_10:.2f} % of the ten nearest"
        return rows_table(title, [("search", "left"), *((h, "right") for h in headings)], rows)


def evaluate_retrieval(
    target: Any,
    queries: RetrievalSet | str | Path | Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]] | None = None,
    corpus: Mapping[str, str] | None = None,
    *,
    split: str | None = None,
    id_column: str = "id",
    vector: str | None = None,
    query_type: QueryType = "vector",
    reranker: Any = None,
    depth: int = 100,
    index: Any = None,
    distance_type: str | None = None,
    nprobes: int | None = None,
    refine_factor: int | None = None,
    ef: int | None = None,
    where: str | None = None,
) -> RetrievalResult:
    """Measure what a table finds for queries, or what a function's vectors would find in one.

    Parameters
    ----------
    target : lancedb.table.Table, Embedder, str or os.PathLike
        A table with a row a document, or several (the best one counts); or a function, its registry
        name, or the name or folder of a model: then `corpus` is put into a temporary table.
    queries : RetrievalSet, str, pathlib.Path or dict of str to str
        A set, the folder of one in the form of BEIR, or texts by id.
    qrels : dict of str to dict of str to int, optional
        With texts by id: query id -> document id -> grade, 1 and above is relevant.
    corpus : dict of str to str, optional
        Documents by id, for a function.
    split : str, optional
        Of a folder: which queries.
    id_column : str, default "id"
        The table's column of document ids.
    vector : str, optional
        The table's vector column, if there are several.
    query_type : {"vector", "fts", "hybrid"}
        As in LanceDB's ``search``. A full-text index is made in the temporary table; a table of
        yours must have one.
    reranker : lancedb.rerankers.Reranker, optional
        Ranks what was found; hybrid search without one takes LanceDB's default, RRF.
    depth : int, default 100
        Hits that a query gets, and that a reranker is given; 10 at least.
    index : object, optional
        One of `lancedb.index`, like ``IvfPq(distance_type="cosine")``, to make in the temporary
        table.
    distance_type : str, optional
        None: that of the vector index, else ``"hamming"`` for packed bits and ``"cosine"`` for all
        others.
    nprobes, refine_factor, ef : int, optional
        Of the vector index, see LanceDB's query builder.
    where : str, optional
        SQL condition on rows.

    Returns
    -------
    RetrievalResult
        With figures of exact search beside those of an index.

    Raises
    ------
    ConfigurationError
        The set, the table and the options do not fit; nothing relevant to find.
    MissingExtraError
        ir_measures is not installed.

    Examples
    --------
    >>> corpus = {"a": "Tea is steeped in hot water.", "b": "Snow falls in winter."}
    >>> found = evaluate_retrieval("sbert", {"q": "a hot drink"}, {"q": {"a": 1}}, corpus)
    >>> found.ndcg_at_10
    100.0
    """
    require("tools", "evaluation of retrieval")
    given = _set_of(queries, qrels, corpus, split)
    if query_type not in ("vector", "fts", "hybrid"):
        raise ConfigurationError(
            f'query_type {query_type!r} is not known; there are "vector", "fts" and "hybrid"'
        )
    if depth < 10:
        raise ConfigurationError(f"depth={depth}: nDCG@10 needs ten hits at least")
    with _table_of(target, given, id_column, query_type, index) as (table, own_vector):
        search = Search(
            table=table,
            id_column=id_column,
            query_type=query_type,
            vector=vector or own_vector,
            reranker=reranker,
            depth=depth,
            distance_type=distance_type,
            nprobes=nprobes,
            refine_factor=refine_factor,
            ef=ef,
            where=where,
        )
        texts = {query: given.queries[query] for query in given.qrels}
        vectors = search.embedded(texts)
        found = search.run(texts, vectors)
        kind = indexed_by(table, search.vector) if query_type != "fts" else None
        exact = dataclasses.replace(search, exact=True)
        reference = None if kind is None else exact.run(texts, vectors)
        documents = table.count_rows()
    cutoffs = [k for k in CUTOFFS if k <= depth]
    figures = retrieval_metrics(found, given.qrels, cutoffs)
    return RetrievalResult(
        name=given.name,
        queries=sum(max(grades.values(), default=0) > 0 for grades in given.qrels.values()),
        documents=documents,
        query_type=query_type,
        ndcg_at_10=figures["ndcg_at_10"],
        mrr_at_10=figures["mrr_at_10"],
        map=figures["map"],
        recall={k: figures[f"recall_at_{k}"] for k in cutoffs},
        index=kind,
        exact=None if reference is None else retrieval_metrics(reference, given.qrels, cutoffs),
        index_recall_at_10=None if reference is None else _overlap(found, reference),
    )


def _set_of(
    queries: RetrievalSet | str | Path | Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]] | None,
    corpus: Mapping[str, str] | None,
    split: str | None,
) -> RetrievalSet:
    if isinstance(queries, (str, Path)):
        queries = read_beir(queries, split)
    if isinstance(queries, RetrievalSet):
        if qrels is not None or corpus is not None:
            raise ConfigurationError("a set has its qrels and corpus; give it alone")
        return queries
    if not isinstance(queries, Mapping) or not isinstance(qrels, Mapping):
        raise ConfigurationError(
            "give a RetrievalSet, the folder of one, or queries and qrels as dicts by id"
        )
    unknown = [query for query in qrels if query not in queries]
    if unknown:
        raise ConfigurationError(f"query {unknown[0]!r} is judged, and not among the queries")
    return RetrievalSet(corpus or {}, queries, qrels)


@contextmanager
def _table_of(
    target: Any, given: RetrievalSet, id_column: str, query_type: QueryType, index: Any
) -> Iterator[tuple[Any, str | None]]:
    """Give the table to search, and its vector column where it is ours."""
    if not isinstance(target, (Embedder, str, os.PathLike)):
        if index is not None:
            raise ConfigurationError(
                "an index is made where a function is measured; a table is measured as it is: "
                "make the index by table.create_index"
            )
        if not hasattr(target, "search"):
            raise ConfigurationError(f"expected a table or a function, got {type(target).__name__}")
        yield target, None
        return
    function = function_of(target)
    if function.template is not None:
        raise ConfigurationError("a function with a template takes rows: measure a table of them")
    documents = {key: text for key, text in given.corpus.items() if not is_blank(text)}
    if not documents:
        raise ConfigurationError("there is no corpus: a function needs documents to embed")
    if id_column != "id":
        raise ConfigurationError("id_column is of a table; ids of a corpus are its keys")
    with scratch_table(function, documents) as table:
        if index is not None:
            table.create_index("vector", config=index)
        if query_type != "vector":
            table.create_index("text", config=FTS())
        yield table, "vector"


def _overlap(found: Run, reference: Run) -> float:
    shares = []
    for query, exact in reference.items():
        nearest = sorted(exact, key=lambda key: -exact[key])[:10]
        ours = found.get(query, {})
        hits = sorted(ours, key=lambda key: -ours[key])[:10]
        if nearest:
            shares.append(len(set(nearest) & set(hits)) / len(nearest))
    return 100 * sum(shares) / len(shares) if shares else 0.0
