"""Many queries through LanceDB's own search, to ranked lists of document ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.progress import progress_bar
from lancedb_embedders.tools.given import table_function

QueryType = Literal["vector", "fts", "hybrid"]

# What LanceDB adds to rows; one that is not selected makes Lance warn at each query.
_SCORES = {"vector": "_distance", "fts": "_score"}

#: Query id -> document id -> score, higher is better.
Run = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Search:
    """A way to search a table; parameters as in `evaluate_retrieval`.

    Attributes
    ----------
    exact : bool
        Whether every vector is compared, index or not.
    """

    table: Any
    id_column: str
    query_type: QueryType
    vector: str | None
    reranker: Any
    depth: int
    distance_type: str | None
    nprobes: int | None
    refine_factor: int | None
    ef: int | None
    where: str | None
    exact: bool = False

    def embedded(self, queries: Mapping[str, str]) -> Any:
        """Return a vector for each query, or None where only words are compared.

        Raises
        ------
        ConfigurationError
            The table lacks what the search needs.
        """
        self._check_columns()
        if self.query_type == "fts":
            return [None] * len(queries)
        function, _, _ = table_function(self.table, self.vector)
        return function.compute_query_embeddings(list(queries.values()))

    def run(self, queries: Mapping[str, str], vectors: Any) -> Run:
        """Search for each query, by its vector too; the first row of a document gives its rank."""
        query: Callable[[str, Any], Any] = self._full_text
        if self.query_type != "fts":
            function, _, column = table_function(self.table, self.vector)
            query = partial(self._nearest, column, self._distance(function, column))
        found: Run = {}
        with progress_bar(len(queries), "queries", None, desc="Searching") as bar:
            for (key, text), vector in zip(queries.items(), vectors, strict=True):
                found[key] = self._ranked(partial(query, text, vector))
                bar.update()
        return found

    def _check_columns(self) -> None:
        names = self.table.schema.names
        if self.id_column not in names:
            raise ConfigurationError(
                f"the table has no column {self.id_column!r}; name the one that holds document ids "
                f"by id_column=...: {', '.join(names)}"
            )
        kinds = {str(one.index_type) for one in self.table.list_indices()}
        if self.query_type != "vector" and "FTS" not in kinds:
            raise ConfigurationError(
                f'query_type="{self.query_type}" needs a full-text index; make one by '
                "table.create_index(column, config=FTS())"
            )

    def _ranked(self, query: Callable[[], Any]) -> dict[str, float]:
        # A document of several rows takes several places; more are asked for until all are full.
        limit = self.depth
        while True:
            rows = query().limit(limit)
            # A reranker may want to see any column; in a hybrid search no score can be selected.
            if self.reranker is None and self.query_type in _SCORES:
                rows = rows.select([self.id_column, _SCORES[self.query_type]])
            found = rows.to_arrow()
            ids = list(dict.fromkeys(str(one) for one in found[self.id_column].to_pylist()))
            if len(ids) >= self.depth or len(found) < limit or len(ids) == len(found):
                return {key: float(self.depth - rank) for rank, key in enumerate(ids[: self.depth])}
            limit *= 2

    def _full_text(self, text: str, _: None) -> Any:
        return self._finished(self.table.search(text, query_type="fts"), text)

    def _nearest(self, column: str, distance: str, text: str, vector: Any) -> Any:
        if self.query_type == "hybrid":
            query = self.table.search(query_type="hybrid", vector_column_name=column)
            query = query.vector(vector).text(text)
        else:
            query = self.table.search(vector, vector_column_name=column)
        query = query.distance_type(distance)
        if self.exact:
            query = query.bypass_vector_index()
        for name in ("nprobes", "refine_factor", "ef"):
            value = getattr(self, name)
            if value is not None:
                query = getattr(query, name)(value)
        return self._finished(query, text)

    def _finished(self, query: Any, text: str) -> Any:
        if self.where is not None:
            query = query.where(self.where)
        if self.reranker is None:
            return query
        if self.query_type == "hybrid":
            return query.rerank(self.reranker)
        return query.rerank(self.reranker, query_string=text)

    def _distance(self, function: Embedder, vector: str) -> str:
        if self.distance_type is not None:
            return self.distance_type
        if function.quantization == "binary":
            return "hamming"
        return index_distance(self.table, vector) or "cosine"


def indexed_by(table: Any, vector: str | None) -> str | None:
    """Return the kind of a vector column's index, like ``"IvfPq"``; None: there is none."""
    name = table_function(table, vector)[2]
    kinds = [str(one.index_type) for one in table.list_indices() if list(one.columns) == [name]]
    return kinds[0] if kinds else None


def index_distance(table: Any, vector: str) -> str | None:
    """Return the distance that a vector column's index was made for, or None."""
    for one in table.list_indices():
        if list(one.columns) == [vector]:
            stats = table.index_stats(one.name)
            return None if stats is None else stats.distance_type
    return None
