"""What each way to search adds: ``python -m benchmarks.retrieval``.

Every query goes through a table of LanceDB. A cross-encoder, with ``--rerank``, is the one that
``examples/hybrid_search.py`` trains on SciFact; it is not tried on that set.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.contestants import ENVIRONMENT
from benchmarks.corpus import data_folder
from benchmarks.machine import machine, versions

#: Name -> folder, and which queries.
SETS = {
    "Cranfield": ("ir_classic/cranfield", None),
    "MEDLINE": ("ir_classic/medline", None),
    "CISI": ("ir_classic/cisi", None),
    "SciFact": ("scifact", "train"),
    "COVID FAQ": ("faq_covid", None),
}
TUNED_ON = "Cranfield"  # the defaults of `expand_query`
TRAINED_ON = "SciFact"  # the cross-encoder
ALPHAS = [tenths / 10 for tenths in range(1, 10)]
DEPTH = 100  # results of each search that are fused
METRICS = {"ndcg_at_10": "nDCG@10", "recall_at_10": "recall@10", "mrr_at_10": "MRR@10"}

Figures = dict[str, dict[str, float]]


def main(
    dataset: Annotated[
        Optional[list[str]],  # noqa: UP045, typer reads it at run time
        typer.Option("--set", help=f"One of {', '.join(SETS)}; may be repeated. All if left out."),
    ] = None,
    rerank: Annotated[
        bool, typer.Option("--rerank", help="Train a cross-encoder, and rank with it: minutes.")
    ] = False,
    cross_encoder: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder of a trained one, in place of training it for --rerank."),
    ] = None,
    db: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Where tables and vectors are kept for the next time."),
    ] = None,
    queries: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Only so many queries of each set."),
    ] = None,
    json_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--json", help="Where to write all figures."),
    ] = None,
) -> None:
    """Measure vectors, words, both together, expansion and reranking."""
    os.environ.update(ENVIRONMENT)
    from lancedb_embedders import settings

    console = Console(width=120)
    for line in (machine(), versions()):
        console.print(line, highlight=False, soft_wrap=True)
    found: dict[str, Figures] = {}
    with ExitStack() as stack:
        folder = db or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        # Queries are asked many times, and embedded once.
        stack.enter_context(settings.override(cache=True, cache_dir=folder))
        reranker = _reranker(folder, cross_encoder) if rerank or cross_encoder else None
        for name in dataset or SETS:
            allowed = None if name == TRAINED_ON else reranker
            found[name] = _measure(name, folder, queries, allowed, console)
            if json_file is not None:
                json_file.write_text(json.dumps(found, indent=2), encoding="utf-8")


def _reranker(folder: Path, trained: Path | None) -> Any:
    from examples.hybrid_search import load, train_on

    return load(trained or train_on(data_folder(), folder))


def _measure(name: str, folder: Path, most: int | None, reranker: Any, console: Console) -> Figures:
    from lancedb_embedders.tools.evaluate.datasets import RetrievalSet, read_beir

    place, split = SETS[name]
    given = read_beir(data_folder() / place, split)
    asked = dict(list(given.qrels.items())[:most])
    given = RetrievalSet(given.corpus, {key: given.queries[key] for key in asked}, asked, name)
    table = _table(folder, place.replace("/", "_"), given)
    figures = _plain(table, given) | _expanded(table, given)
    if reranker is not None:
        figures |= _reranked(table, given, reranker)
    _print(name, table.count_rows(), given, figures, console)
    return figures


def _table(folder: Path, name: str, given: Any) -> Any:
    import lancedb
    from lancedb.pydantic import LanceModel

    from lancedb_embedders import SbertEmbeddings

    database = lancedb.connect(folder / "db")
    if name in database.list_tables(limit=1000).tables:
        return database.open_table(name)
    sbert: Any = SbertEmbeddings.create(on_overflow="truncate", cache=False)

    class Document(LanceModel):
        id: str
        text: str = sbert.SourceField()
        vector: sbert.Vector() = sbert.VectorField()  # type: ignore[valid-type]

    table: Any = database.create_table(name, schema=Document)
    table.add([{"id": key, "text": text} for key, text in given.corpus.items() if text])
    return table


def _plain(table: Any, given: Any) -> Figures:
    """Return the figures of vectors, of words with each index, and of both with each weight."""
    from lancedb.index import FTS

    from lancedb_embedders.tools.evaluate import evaluate_retrieval

    def searched(kind: Any) -> dict[str, float]:
        result = evaluate_retrieval(table, given, query_type=kind, depth=10, distance_type="cosine")
        return {metric: result.figures()[metric] for metric in METRICS}

    figures = {"vector": searched("vector")}
    indexes: dict[str, dict[str, Any]] = {
        "full text, words as they are": {"stem": False, "remove_stop_words": False},
        "full text, no stop words": {"stem": False, "remove_stop_words": True},
        "full text, stems": {"stem": True, "remove_stop_words": False},
        "full text, stems, no stop words": {},  # LanceDB's defaults, which all below have
    }
    for what, options in indexes.items():
        table.create_index("text", config=FTS(**options), replace=True)
        figures[what] = searched("fts")
    return figures | _fused(table, given, given.queries, rerankers(ALPHAS))


def _expanded(table: Any, given: Any) -> Figures:
    """Return the figures of queries with terms of the collection."""
    from lancedb_embedders.tools.expand.expansion import Expansion, expand_query
    from lancedb_embedders.tools.given import table_function

    function = table_function(table)[0]
    found: dict[str, Expansion] = {
        key: expand_query(function, query, table) for key, query in given.queries.items()
    }
    texts = [found[key].expanded for key in given.queries]
    of_texts = dict(zip(given.queries, function.compute_query_embeddings(texts), strict=True))
    figures = {
        "expanded: vector moved": _searched(
            given, lambda key: table.search(found[key].vector).distance_type("cosine")
        ),
        "expanded: text embedded": _searched(
            given, lambda key: table.search(of_texts[key]).distance_type("cosine")
        ),
    }
    asked = {key: found[key].full_text() for key in given.queries}
    figures["expanded: full text"] = _searched(
        given, lambda key: table.search(asked[key], query_type="fts")
    )
    fused = _fused(table, given, asked, rerankers([0.5]))
    return figures | {f"expanded: {what}": row for what, row in fused.items()}


def rerankers(alphas: Sequence[float]) -> dict[str, Any]:
    """Return LanceDB's ways to fuse results, by what they are called here."""
    from lancedb.rerankers import LinearCombinationReranker, RRFReranker

    weighted = {f"hybrid, alpha {a}": LinearCombinationReranker(weight=a) for a in alphas}
    return {"hybrid, ranks fused (RRF)": RRFReranker(), **weighted}


def _fused(table: Any, given: Any, texts: Mapping[str, Any], fusions: dict[str, Any]) -> Figures:
    """Return the figures of hybrid search with each reranker, of one search for all of them."""
    from lancedb.rerankers import Reranker, RRFReranker

    from lancedb_embedders.tools.given import table_function

    found: dict[str, dict[str, list[str]]] = {what: {} for what in fusions}

    class Each(Reranker):
        """Hands what both searches found to every reranker in turn, and notes their orders."""

        key = ""

        def rerank_hybrid(self, query: Any, vector_results: Any, fts_results: Any) -> Any:
            for what, fusion in fusions.items():
                ranked = fusion.rerank_hybrid(query, vector_results, fts_results)
                found[what][self.key] = ranked["id"].to_pylist()
            return RRFReranker().rerank_hybrid(query, vector_results, fts_results)

    each = Each()
    vectors = table_function(table)[0].compute_query_embeddings(list(given.queries.values()))
    for (each.key, text), vector in zip(texts.items(), vectors, strict=True):
        search = table.search(query_type="hybrid").vector(vector).text(text)
        # LanceDB's hybrid search fuses as many results as it is to return.
        search.distance_type("cosine").rerank(each).limit(DEPTH).to_arrow()
    return {what: _figures(run, given) for what, run in found.items()}


def _reranked(table: Any, given: Any, reranker: Any) -> Figures:
    """Return the figures of what a cross-encoder ranks: the best of both searches."""
    from examples.hybrid_search import CANDIDATES

    def search(key: str) -> Any:
        both = table.search(given.queries[key], query_type="hybrid")
        return both.distance_type("cosine").rerank(reranker)

    # What is returned are the best of all that were ranked, of which there may be twice as many.
    return {"hybrid, cross-encoder": _searched(given, search, CANDIDATES)}


def _searched(given: Any, search: Callable[[str], Any], depth: int = 10) -> dict[str, float]:
    run = {key: search(key).limit(depth).to_arrow()["id"].to_pylist() for key in given.queries}
    return _figures(run, given)


def _figures(run: Mapping[str, Sequence[str]], given: Any) -> dict[str, float]:
    from lancedb_embedders.tools.evaluate.metrics import retrieval_metrics

    ranked = {
        key: {document: float(-rank) for rank, document in enumerate(documents)}
        for key, documents in run.items()
    }
    figures = retrieval_metrics(ranked, given.qrels)
    return {metric: figures[metric] for metric in METRICS}


def _print(name: str, rows: int, given: Any, figures: Figures, console: Console) -> None:
    notes = f"{rows:,} documents, {len(given.queries):,} queries"
    if name == TUNED_ON:
        notes += "; expansion was tuned here"
    table = Table(title=f"{name}: {notes}", title_justify="left")
    table.add_column("")
    for heading in METRICS.values():
        table.add_column(heading, justify="right")
    for what, row in figures.items():
        table.add_row(what, *(f"{row[metric]:.2f}" for metric in METRICS))
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
