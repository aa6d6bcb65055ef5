"""Rows that are alike: to a text, to a row, all of a table in pairs, and in clusters."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from lancedb.expr import col, lit
from lancedb.index import IvfFlat
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform

from lancedb_embedders import ConfigurationError, EmbeddingWarning, InputError

Key = Any  # what tells rows apart: int or str
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Match:
    similarity: float  # cosine
    row: dict[str, Any]  # without its vector


@dataclass(frozen=True)
class Pair:
    first: Key
    second: Key
    similarity: float


@dataclass(frozen=True)
class Cluster:
    keys: list[Key]
    least: float  # similarity of the two least alike: far below the threshold, it is a chain


class SimilarityFinder:
    """Finds rows that are alike by a column of float vectors.

    `key` is a column that tells rows apart. Rows without a vector are like none. A search by text
    needs a table that embeds it.
    """

    INDEXED = 5_000  # rows from which on an index is worth its time
    LARGEST = 5_000  # rows of a cluster that complete linkage divides: it compares them all

    def __init__(self, table: Any, key: str = "id", vector: str = "vector") -> None:
        for name in (key, vector):
            if name not in table.schema.names:
                raise ConfigurationError(
                    f"the table has no column {name!r}; it has: {', '.join(table.schema.names)}"
                )
        self.table, self.key, self.vector = table, key, vector

    def similar(self, text: str, limit: int = 10) -> list[Match]:
        """Return the rows most like a text."""
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"expected a text that is not blank, got {text!r}")
        return self._matches(self._search(text), limit)

    def similar_to(self, key: Key, limit: int = 10) -> list[Match]:
        """Return the rows most like one of the table, which itself is not among them."""
        this = self.table.search().where(col(self.key) == lit(key)).select([self.vector]).to_list()
        if not this or this[0][self.vector] is None:
            raise InputError(f"there is no row with a vector whose {self.key} is {key!r}")
        # By its key: a row with the same text under another key is as near, and is to be found.
        search = self._search(this[0][self.vector]).where(col(self.key) != lit(key))
        return self._matches(search, limit)

    def index(self) -> bool:
        """Make the table's index, or bring it up to date; False if it is too small for one."""
        there = [one for one in self.table.list_indices() if self.vector in one.columns]
        if there:
            details = there[0].index_details or {}
            if there[0].index_type != "IvfFlat" or details.get("metric_type") != "COSINE":
                raise ConfigurationError(
                    f"{self.vector!r} has another index, {there[0].name!r}; exact similarities "
                    'need IvfFlat("cosine"): drop that one, or copy the vectors to a table for this'
                )
            self.table.optimize()  # rows that came later are compared one by one until then
            return True
        rows = self.table.count_rows()
        if rows < self.INDEXED:
            return False
        # So many partitions that finding the right ones takes about as long as searching them.
        config = IvfFlat("cosine", round(rows**0.5), max_iterations=20, sample_rate=64)
        self.table.create_index(self.vector, config=config)
        return True

    def pairs(
        self, threshold: float, *, most: int = 50, nprobes: int = 8, batch_rows: int = 1024
    ) -> Iterator[Pair]:
        """Find pairs of rows at least so alike, each pair once, while the table is read.

        A row is given its `most` nearest; a warning says how many rows may have more. `nprobes`
        partitions of the index are searched for each: more find more, and take longer.
        """
        if not -1 < threshold <= 1:
            raise ConfigurationError(f"threshold is a cosine above -1 and up to 1, not {threshold}")
        if min(most, nprobes, batch_rows) < 1:
            raise ConfigurationError("most, nprobes and batch_rows are at least 1")
        self._check_keys()
        return self._pairs(threshold, most, nprobes, batch_rows)

    def clusters(self, pairs: Iterable[Pair], complete: float | None = None) -> list[Cluster]:
        """Return groups of rows that `pairs` connect, the largest first.

        A is like B and B like C, so A is in the cluster of C, however different: the cluster's
        `least` tells. With ``complete``, a similarity, clusters are divided until any two members
        are so alike (complete linkage).
        """
        number: dict[Key, int] = {}
        ends = [
            [number.setdefault(key, len(number)) for key in (pair.first, pair.second)]
            for pair in pairs
        ]
        if not ends:
            return []
        first, second = np.array(ends).T
        shape = (len(number), len(number))
        graph = coo_array((np.ones(len(ends), dtype=bool), (first, second)), shape)
        _, labels = connected_components(graph, directed=False)
        order = np.argsort(labels, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
        keys, vectors = list(number), self._vectors_of(number)
        if complete is not None:
            groups = [part for group in groups for part in self._divided(group, vectors, complete)]
        made = [Cluster([keys[i] for i in group], _least(vectors[group])) for group in groups]
        return sorted(made, key=lambda cluster: len(cluster.keys), reverse=True)

    def _search(self, query: Any) -> Any:
        search = self.table.search(query, vector_column_name=self.vector)
        return search.distance_type("cosine")

    def _matches(self, search: Any, limit: int) -> list[Match]:
        if limit < 1:
            raise ConfigurationError(f"limit is at least 1, not {limit}")
        names = [name for name in self.table.schema.names if name != self.vector]
        found = search.limit(limit).select([*names, "_distance"]).to_list()
        return [Match(1 - row.pop("_distance"), row) for row in found]

    def _pairs(self, threshold: float, most: int, nprobes: int, batch_rows: int) -> Iterator[Pair]:
        seen: set[tuple[Key, Key]] = set()
        full = 0
        for keys, vectors in self._batches(batch_rows):
            # Rounding must not lose what is just as alike; and each row finds itself.
            search = self._search(vectors).distance_range(upper_bound=1 - threshold + 1e-6)
            search = search.limit(most + 1).nprobes(nprobes).select([self.key, "_distance"])
            found = search.to_arrow()
            # For a single vector LanceDB leaves the column out.
            several = "query_index" in found.schema.names
            asked = found["query_index"].to_numpy() if several else np.zeros(len(found), np.int32)
            full += int((np.bincount(asked) > most).sum())
            alike = np.minimum(1 - found["_distance"].to_numpy(), 1.0).tolist()
            for row, other, similarity in zip(
                asked.tolist(), found[self.key].to_pylist(), alike, strict=True
            ):
                this = keys[row]
                # A pair may be found from either side, or from one only.
                if (other, this) in seen:
                    seen.remove((other, this))
                elif this != other:
                    seen.add((this, other))
                    yield Pair(this, other, similarity)
        if full:
            warnings.warn(
                f"{full:,} rows have {most} near-duplicates or more, and were given the nearest "
                f"{most}: raise `most`, or the threshold, to see all pairs",
                EmbeddingWarning,
                stacklevel=2,
            )

    def _batches(self, rows: int) -> Iterator[tuple[list[Key], Floats]]:
        """Read keys and vectors of the rows that have a vector."""
        for batch in self.table.search().select([self.key, self.vector]).to_batches(rows):
            there = batch.filter(batch[self.vector].is_valid())
            if there.num_rows:
                flat = there[self.vector].flatten().to_numpy()
                yield there[self.key].to_pylist(), flat.reshape(there.num_rows, -1)

    def _vectors_of(self, number: dict[Key, int]) -> Floats:
        """Return vectors of length 1, in the order of the keys' numbers."""
        dims = self.table.schema.field(self.vector).type.list_size
        vectors = np.zeros((len(number), dims), dtype=np.float32)
        for keys, found in self._batches(8192):
            kept = [row for row, key in enumerate(keys) if key in number]
            vectors[[number[keys[row]] for row in kept]] = found[kept]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    def _divided(self, group: Any, vectors: Floats, similarity: float) -> list[Any]:
        if len(group) > self.LARGEST:
            raise ConfigurationError(
                f"a cluster of {len(group):,} rows is too large to be divided; raise the threshold"
            )
        distances = np.maximum(1 - vectors[group] @ vectors[group].T, 0)
        tree = linkage(squareform(distances, checks=False), "complete")
        labels = fcluster(tree, 1 - similarity + 1e-6, "distance")
        parts = [group[labels == label] for label in np.unique(labels)]
        return [part for part in parts if len(part) > 1]

    def _check_keys(self) -> None:
        keys = self.table.search().select([self.key]).to_arrow()[self.key]
        if keys.null_count or len(keys.unique()) < len(keys):
            raise InputError(
                f"{self.key!r} does not tell rows apart: of {len(keys):,} values "
                f"{keys.null_count:,} are null, and {len(keys.unique()):,} differ"
            )


def _least(vectors: Floats) -> float:
    """Return the least cosine of any two, without holding all of them."""
    blocks = (vectors[start : start + 256] @ vectors.T for start in range(0, len(vectors), 256))
    return float(min(block.min() for block in blocks))
