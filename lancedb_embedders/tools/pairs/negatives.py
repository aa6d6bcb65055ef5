"""`mine_hard_negatives`: texts that a model takes for right and that are not, to train on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lancedb_embedders import output
from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.progress import progress_bar
from lancedb_embedders.tools.evaluate.measures import directions
from lancedb_embedders.tools.fine_tuning.data import TrainingPair, training_set
from lancedb_embedders.tools.given import function_of, table_function, texts_of
from lancedb_embedders.tools.pairs.negative_rules import Rules, key_of
from lancedb_embedders.tools.result import Result, rows_table
from lancedb_embedders.tools.scratch import scratch_table

if TYPE_CHECKING:
    from rich.table import Table

_FACTOR = 10  # candidates for each negative that is wanted: most are left out by a margin

Cosines = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MinedNegatives(Result):
    """Pairs with hard negatives, and what was left out.

    Attributes
    ----------
    pairs : tuple of TrainingPair
        All that were given, in order, each with the negatives that were found for it.
    scores : tuple of (float, tuple of float)
        For each pair: cosine of query and positive, and those of query and each new negative.
    short : int
        Pairs that got fewer negatives than were asked for.
    left_out : dict of str to int
        Reason -> candidates.
    """

    pairs: tuple[TrainingPair, ...]
    scores: tuple[tuple[float, tuple[float, ...]], ...]
    short: int
    left_out: dict[str, int]

    def table(self) -> Table:
        """Return the counts as a table."""
        found = [score for _, negatives in self.scores for score in negatives]
        right = [positive for positive, _ in self.scores]
        rows = [
            ["pairs", f"{len(self.pairs):,}"],
            ["negatives", f"{len(found):,}"],
            ["pairs with fewer than asked for", f"{self.short:,}"],
            ["mean cosine of positives", f"{np.mean(right):.3f}"],
            *([["mean cosine of negatives", f"{np.mean(found):.3f}"]] if found else []),
            *([f"left out: {why}", f"{count:,}"] for why, count in self.left_out.items()),
        ]
        return rows_table("Hard negatives", [("", "left"), ("", "right")], rows)


def mine_hard_negatives(
    function: Any,
    pairs: Any,
    corpus: Any = None,
    *,
    num_negatives: int = 4,
    relative_margin: float | None = 0.05,
    margin: float | None = None,
    max_score: float | None = None,
    min_score: float | None = None,
    range_min: int = 0,
    range_max: int | None = None,
    vector: str | None = None,
    progress: bool | None = None,
) -> MinedNegatives:
    """Find texts that are near to a query and are not what it asks for.

    The nearest texts to each query are searched in a LanceDB table. What is too near may be right
    as well, only that nobody said so: by default a negative has at most 95 % of the positive's
    cosine ("TopK-PercPos"; Moreira et al., "NV-Retriever: Improving text embedding models with
    effective hard-negative mining", 2024, arXiv:2407.15831).

    Parameters
    ----------
    function : Embedder, str, os.PathLike or None
        A function, its registry name, or the name or folder of a model; for a table, None: its own.
    pairs : iterable, table, str or os.PathLike
        Queries and positives, see `lancedb_embedders.tools.fine_tuning.data.training_set`. All
        positives of a query are right for it. Negatives that are there are kept.
    corpus : iterable of str or lancedb.table.Table, optional
        Texts to find negatives among; None: the positives of all pairs.
    num_negatives : int, default 4
        For each pair, at most.
    relative_margin : float, optional
        Share of the positive's cosine by which a negative's is lower at least; None: no rule.
    margin : float, optional
        By how much it is lower at least.
    max_score, min_score : float, optional
        Cosine that a negative has at most, and at least.
    range_min : int, default 0
        How many of the nearest that are not known to be right are skipped.
    range_max : int, optional
        How many of the nearest are looked at; None: ten for each negative that is asked for.
    vector : str, optional
        The table's vector column, if there are several.
    progress : bool, optional
        Show a bar; None: on a terminal.

    Returns
    -------
    MinedNegatives
        The hardest first for each pair.

    Raises
    ------
    InputError
        A row that is no pair; names it.
    ConfigurationError
        Pairs with scores, options that do not fit, or a table of another function.

    Examples
    --------
    >>> found = mine_hard_negatives(
    ...     "sbert",
    ...     [("How do I sign in?", "Logging in to your account")],
    ...     ["Logging out of your account", "Tea is steeped in hot water"],
    ...     num_negatives=1,
    ... )
    >>> found.pairs[0].negatives
    ('Logging out of your account',)
    """
    given = training_set(pairs)
    if given.kind == "scored":
        raise ConfigurationError("negatives are mined for queries with a positive, without a score")
    most = range_min + _FACTOR * num_negatives if range_max is None else range_max
    rules = Rules(
        num_negatives, relative_margin, margin, max_score, min_score, range_min, range_max=most
    )
    rules.check()
    rows: Sequence[TrainingPair] = given.rows
    with _table_of(function, corpus, rows, vector) as (table, embedder, source, column):
        return _mined(table, embedder, source, column, rows, rules, progress)


@contextmanager
def _table_of(
    function: Any, corpus: Any, rows: Sequence[TrainingPair], vector: str | None
) -> Iterator[tuple[Any, Embedder, str, str]]:
    if hasattr(corpus, "search") and hasattr(corpus, "schema"):
        own, source, column = table_function(corpus, vector)
        if function is not None and function_of(function).identity() != own.identity():
            raise ConfigurationError(
                f"the vectors of table {corpus.name!r} are by {own!r}, not by {function!r}; leave "
                "the function out, or give texts in place of the table"
            )
        yield corpus, own, source, column
        return
    if function is None:
        raise ConfigurationError("name a function to search with; only a table has its own")
    embedder = function_of(function)
    positives = [row.positive for row in rows]
    texts = positives if corpus is None else [*texts_of(corpus, what="texts"), *positives]
    distinct = {str(number): text for number, text in enumerate(dict.fromkeys(texts))}
    with scratch_table(embedder, distinct) as table:
        yield table, embedder, "text", "vector"


def _mined(
    table: Any,
    embedder: Embedder,
    source: str,
    column: str,
    rows: Sequence[TrainingPair],
    rules: Rules,
    progress: bool | None,
) -> MinedNegatives:
    if embedder.multivector:
        raise ConfigurationError(
            f"{embedder.registry_name} gives several vectors a text, which have no one cosine"
        )
    positives: dict[str, set[str]] = {}
    for row in rows:
        positives.setdefault(row.query, {key_of(row.query)}).add(key_of(row.positive))
    queries = list(positives)
    asked = np.asarray(embedder.compute_query_embeddings(queries))
    number = {query: i for i, query in enumerate(queries)}
    directed = output.directions(asked, embedder.quantization)
    right = directions(embedder, [row.positive for row in rows])
    left_out: Counter[str] = Counter()
    pairs, scores = [], []
    nearest: dict[str, tuple[list[str], Cosines]] = {}
    with progress_bar(len(rows), "pairs", progress, desc="Mining") as bar:
        for row, positive in zip(rows, right, strict=True):
            wanted = directed[number[row.query]]
            if row.query not in nearest:
                limit = rules.range_max + len(positives[row.query])
                query = asked[number[row.query]]
                found_texts, found = _nearest(table, embedder, source, column, query, limit)
                nearest[row.query] = (
                    found_texts,
                    output.directions(found, embedder.quantization) @ wanted,
                )
            texts, cosines = nearest[row.query]
            score = float(positive @ wanted)
            known = positives[row.query].union(map(key_of, row.negatives))
            chosen = rules.chosen(texts, cosines, score, known, left_out)
            pairs.append(
                TrainingPair(row.query, row.positive, (*row.negatives, *(t for t, _ in chosen)))
            )
            scores.append((score, tuple(value for _, value in chosen)))
            bar.update()
    return MinedNegatives(
        pairs=tuple(pairs),
        scores=tuple(scores),
        short=sum(len(found) < rules.num_negatives for _, found in scores),
        left_out=dict(left_out),
    )


def _nearest(
    table: Any, embedder: Embedder, source: str, column: str, query: Any, limit: int
) -> tuple[list[str], npt.NDArray[Any]]:
    distance = "hamming" if embedder.quantization == "binary" else "cosine"
    search = table.search(query, vector_column_name=column).distance_type(distance)
    found = search.limit(limit).select([source, column, "_distance"]).to_arrow()
    vectors = found[column].combine_chunks()
    width = found.schema.field(column).type.list_size
    values = vectors.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    return found[source].to_pylist(), values
