"""Query expansion: the terms of a collection that mean what a query means."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lancedb_embedders import output
from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError, InputError
from lancedb_embedders.inputs.text import accept_texts, is_blank
from lancedb_embedders.tools.expand.term_vectors import TermVectors, term_vectors
from lancedb_embedders.tools.expand.vocabulary import table_terms
from lancedb_embedders.tools.expand.word_forms import words_of
from lancedb_embedders.tools.given import function_of, text_column, texts_of
from lancedb_embedders.tools.result import Result, rows_table

if TYPE_CHECKING:
    from lancedb.query import FullTextQuery
    from rich.table import Table

#: Weight of all terms together beside the query's 1.
WEIGHT = 0.2


class Term(NamedTuple):
    """A term, and the cosine of its vector with the query's."""

    term: str
    cosine: float


@dataclass(frozen=True)
class Expansion(Result):
    """A query with terms that are near to it.

    Attributes
    ----------
    query : str
        As it was given.
    terms : tuple of Term
        Term and cosine, the nearest first.
    expanded : str
        The query, followed by the terms.
    vector : numpy.ndarray
        Weighted mean of the vectors of query and terms, in the form that the function's columns
        have: shape ``(ndims,)``, float32, or as it quantizes.
    weight : float
        Of the terms in `vector`, beside the query's 1.
    """

    query: str
    terms: tuple[Term, ...]
    expanded: str
    vector: npt.NDArray[Any] = field(repr=False, compare=False)
    weight: float = WEIGHT

    def full_text(self, column: str = "text", weight: float | None = None) -> FullTextQuery:
        """Return LanceDB's full-text query of query and terms, in which terms count for less.

        Parameters
        ----------
        column : str
            Column with a full-text index.
        weight : float, optional
            By which a term's score is multiplied, times its cosine; None: `weight`.

        Returns
        -------
        lancedb.query.FullTextQuery
            For ``table.search(...)``, or ``.text(...)`` of a hybrid search.
        """
        import lancedb.query

        kinds: Any = lancedb.query  # dataclasses of pydantic, whose defaults mypy does not see
        share = self.weight if weight is None else weight
        matches: list[FullTextQuery] = [kinds.MatchQuery(self.query, column)]
        if share > 0:
            matches += [
                kinds.MatchQuery(term, column, boost=share * cosine)
                for term, cosine in self.terms
                if cosine > 0
            ]
        if len(matches) == 1:
            return matches[0]
        joined: FullTextQuery = kinds.BooleanQuery([(kinds.Occur.SHOULD, one) for one in matches])
        return joined

    def table(self) -> Table:
        """Return the terms as rich prints them."""
        rows = [[term, f"{cosine:.3f}"] for term, cosine in self.terms]
        return rows_table(f"“{self.query}”", [("term", "left"), ("cosine", "right")], rows)


def expand_query(
    function: Embedder | str,
    query: str,
    vocabulary: Any,
    top_k: int = 5,
    *,
    min_similarity: float | None = None,
    weight: float = WEIGHT,
    column: str | None = None,
    term_column: str | None = None,
    min_df: int | float | None = None,
    max_df: int | float = 0.5,
    max_terms: int = 10_000,
    language: str = "English",
    cache: bool = True,
    progress: bool | None = None,
) -> Expansion:
    """Return a query together with the terms of a vocabulary that are nearest to it.

    Terms are ranked by the cosine of their vectors with the query's, as in Kuzi, Shtok and Kurland
    (2016), "Query Expansion Using Word Embeddings". A term is left out that adds no word to the
    query and to the terms before it: it must have one that is no form of a word there.

    The vector is Rocchio's (1971, "Relevance feedback in information retrieval") with terms in
    the place of relevant documents: the query's unit vector, plus `weight` times the mean of the
    terms' unit vectors, each weighted by its cosine.

    Search by `Expansion.full_text`, alone or in a hybrid search: terms help where words are
    compared (``python -m benchmarks.retrieval``). A query's own vector is near its terms already,
    and moving it found less on each of four collections.

    The vocabulary is embedded once: its vectors stay in this process for the functions and
    vocabularies used last, and in the cache on disk.

    Parameters
    ----------
    function : Embedder or str
        What embeds query and terms, or its name.
    query : str
        What is searched for.
    vocabulary : iterable of str or lancedb.table.Table
        Terms; or a table, whose words and pairs of words they are.
    top_k : int
        The most terms that are added.
    min_similarity : float, optional
        Cosine that a term has at least.
    weight : float
        Of all terms together beside the query's 1, in the vector; of each in `Expansion.full_text`.
    column : str, optional
        Column of a table's texts; None: the one that it embeds.
    term_column : str, optional
        Column of a table that holds a term in each row, in place of `column`.
    min_df, max_df, max_terms : optional
        Which terms of a table's texts count; see `vocabulary.table_terms`.
    language : str
        Whose word forms count as the same word, as LanceDB's full-text search names it.
    cache : bool
        Keep the vocabulary's vectors on disk. A hosted function always does; one that is neither
        local nor hosted never.
    progress : bool, optional
        Show a progress bar; None: only on a terminal.

    Returns
    -------
    Expansion
        Terms and cosines, the expanded text, and the vector.

    Raises
    ------
    InputError
        The query is blank or no text, or a term is none, with its row.
    ConfigurationError
        An option that does not fit, a vocabulary without terms, or a function that gives several
        vectors a text.

    Examples
    --------
    >>> from lancedb.embeddings import get_registry
    >>> import lancedb_embedders
    >>> sbert = get_registry().get("sbert").create()
    >>> words = ["automobile", "banana", "vehicle", "violin", "cars"]
    >>> expand_query(sbert, "used car prices", words, top_k=2, cache=False).expanded
    'used car prices automobile vehicle'
    """
    made = function_of(function)
    _check(made, query, top_k, min_similarity, weight)
    if not hasattr(vocabulary, "to_lance"):
        if column is not None or term_column is not None:
            raise ConfigurationError("a list of terms has no columns; give a table with them")
        terms = tuple(dict.fromkeys(texts_of(vocabulary, what="terms")))
    elif term_column is not None:
        if column is not None:
            raise ConfigurationError("give column, of texts, or term_column, of terms; not both")
        wanted = text_column(vocabulary, term_column)
        terms = tuple(dict.fromkeys(texts_of(vocabulary, wanted, what="terms")))
    else:
        terms = table_terms(
            vocabulary,
            column,
            min_df=min_df,
            max_df=max_df,
            max_terms=max_terms,
            progress=progress,
        )
    known = term_vectors(made, terms, cache=cache, progress=progress)
    asked = np.asarray(made.compute_query_embeddings([query])[0])
    unit = output.directions(asked[np.newaxis], made.quantization)[0].astype(np.float32)
    cosines = known.vectors @ unit
    chosen = _nearest(query, known, cosines, top_k, min_similarity, language)
    found = tuple(Term(known.terms[i], float(cosines[i])) for i in chosen)
    return Expansion(
        query=query,
        terms=found,
        expanded=" ".join([query, *(term for term, _ in found)]),
        vector=_moved(made, asked, unit, known.vectors[chosen], cosines[chosen], weight),
        weight=float(weight),
    )


def _check(
    function: Embedder, query: Any, top_k: int, min_similarity: float | None, weight: float
) -> None:
    if not isinstance(query, str):
        raise InputError(f"the query is no text but {type(query).__name__}", [0])
    if is_blank(accept_texts(query)[0]):
        raise InputError("the query is empty, there is nothing to expand", [0])
    if function.multivector:
        raise ConfigurationError(
            f"{function.registry_name} gives several vectors a text, which have no mean to move "
            "towards terms; expand with a function that gives one"
        )
    if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
        raise ConfigurationError(f"top_k is a number of terms, 1 or more, not {top_k!r}")
    if min_similarity is not None and not -1 <= min_similarity <= 1:
        raise ConfigurationError(f"min_similarity is a cosine, -1 to 1, not {min_similarity!r}")
    if not 0 <= weight < float("inf"):
        raise ConfigurationError(f"weight is 0 or more, not {weight!r}")


def _nearest(
    query: str,
    known: TermVectors,
    cosines: output.Float32,
    top_k: int,
    min_similarity: float | None,
    language: str,
) -> list[int]:
    """Return the positions of the nearest terms that each add a word."""
    forms = known.forms(language)
    said = forms.of(query)
    chosen: list[int] = []
    for i in np.argsort(-cosines, kind="stable").tolist():
        if len(chosen) == top_k or (min_similarity is not None and cosines[i] < min_similarity):
            break
        term = known.terms[i]
        if words_of(term) - said:
            chosen.append(i)
            said |= forms.of(term)
    return chosen


def _moved(
    function: Embedder,
    asked: npt.NDArray[Any],
    unit: output.Float32,
    vectors: output.Float32,
    cosines: Iterable[float],
    weight: float,
) -> npt.NDArray[Any]:
    """Return the query's vector, moved towards those of the terms."""
    shares = np.clip(np.asarray(cosines, dtype=np.float32), 0, None)
    if weight == 0 or not shares.sum():
        return asked
    moved = unit + weight * (shares @ vectors) / shares.sum()
    if function.quantization == "binary":
        return output.quantize(moved[np.newaxis], "binary").reshape(-1)
    length = 1.0 if function.normalize else float(np.linalg.norm(asked.astype(np.float32)))
    scaled = (output.normalize(moved[np.newaxis]) * np.float32(length)).astype(np.float32)
    return output.quantize(scaled, function.quantization).reshape(-1)
