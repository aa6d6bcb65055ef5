"""Metrics of retrieval, by ir_measures, from 0 to 100 as they are published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.extras import require

#: Depths at which recall is told.
CUTOFFS = (1, 5, 10, 100)


def retrieval_metrics(
    run: Mapping[str, Mapping[str, float]],
    qrels: Mapping[str, Mapping[str, int]],
    cutoffs: Sequence[int] = CUTOFFS,
) -> dict[str, float]:
    """Return how good the results of queries are, as means over all judged queries.

    Parameters
    ----------
    run : dict of str to dict of str to float
        Query id -> document id -> score, higher is better. A judged query that is missing found
        nothing, and counts as 0.
    qrels : dict of str to dict of str to int
        Query id -> document id -> grade; 1 and above is relevant. A query without a relevant
        document is left out, since nothing could be right.
    cutoffs : sequence of int
        Depths for recall.

    Returns
    -------
    dict of str to float
        ``ndcg_at_10``, ``mrr_at_10``, ``map``, and ``recall_at_<k>``; 0 to 100. nDCG has the
        linear gains of trec_eval (Järvelin and Kekäläinen 2002), as BEIR and MTEB have.

    Raises
    ------
    ConfigurationError
        No query has a relevant document.
    MissingExtraError
        ir_measures is not installed.

    Examples
    --------
    >>> found = retrieval_metrics({"q": {"a": 2.0, "b": 1.0}}, {"q": {"b": 1}})
    >>> found["mrr_at_10"], found["recall_at_1"], round(found["ndcg_at_10"], 1)
    (50.0, 0.0, 63.1)
    """
    require("tools", "evaluation of retrieval")
    import ir_measures
    from ir_measures import AP, RR, R, nDCG

    judged = {
        query: dict(grades)
        for query, grades in qrels.items()
        if max(grades.values(), default=0) > 0
    }
    if not judged:
        raise ConfigurationError("no query has a relevant document: nothing to measure")
    names = {
        "ndcg_at_10": nDCG @ 10,
        "mrr_at_10": RR @ 10,
        "map": AP,
        **{f"recall_at_{k}": R @ k for k in cutoffs},
    }
    found = {query: dict(run[query]) for query in judged if run.get(query)}
    if not found:
        return dict.fromkeys(names, 0.0)
    # Queries that found nothing are counted by ir_measures, as 0.
    values = ir_measures.calc_aggregate(list(names.values()), judged, found)
    return {name: 100.0 * float(values[measure]) for name, measure in names.items()}
