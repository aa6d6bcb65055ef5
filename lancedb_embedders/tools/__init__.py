"""The tools around the vectors: choose, count the cost, measure, evaluate, watch, improve.

Each is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lancedb_embedders.inputs.clean import clean_text as clean_text
    from lancedb_embedders.tools.benchmark import benchmark_models as benchmark_models
    from lancedb_embedders.tools.benchmark import find_batch_size as find_batch_size
    from lancedb_embedders.tools.choose import choose_model as choose_model
    from lancedb_embedders.tools.choose import recommend_model as recommend_model
    from lancedb_embedders.tools.cost import CostEstimate as CostEstimate
    from lancedb_embedders.tools.cost import estimate_cost as estimate_cost
    from lancedb_embedders.tools.evaluate import (
        evaluate_classification as evaluate_classification,
    )
    from lancedb_embedders.tools.evaluate import (
        evaluate_retrieval as evaluate_retrieval,
    )
    from lancedb_embedders.tools.evaluate import (
        evaluate_sts as evaluate_sts,
    )
    from lancedb_embedders.tools.expand import expand_query as expand_query
    from lancedb_embedders.tools.fine_tuning import fine_tune as fine_tune
    from lancedb_embedders.tools.monitor import QualityMonitor as QualityMonitor
    from lancedb_embedders.tools.pairs import mine_hard_negatives as mine_hard_negatives
    from lancedb_embedders.tools.pairs import pairs_from_clicks as pairs_from_clicks
    from lancedb_embedders.tools.pairs import paraphrase as paraphrase
    from lancedb_embedders.tools.prepare import truncate_text as truncate_text

#: Name -> the module that has it.
TOOLS = {
    "CostEstimate": "tools.cost",
    "QualityMonitor": "tools.monitor",
    "benchmark_models": "tools.benchmark",
    "choose_model": "tools.choose",
    "clean_text": "inputs.clean",
    "estimate_cost": "tools.cost",
    "evaluate_classification": "tools.evaluate",
    "evaluate_retrieval": "tools.evaluate",
    "evaluate_sts": "tools.evaluate",
    "expand_query": "tools.expand",
    "find_batch_size": "tools.benchmark",
    "fine_tune": "tools.fine_tuning",
    "mine_hard_negatives": "tools.pairs",
    "pairs_from_clicks": "tools.pairs",
    "paraphrase": "tools.pairs",
    "recommend_model": "tools.choose",
    "truncate_text": "tools.prepare",
}

__all__ = [*TOOLS]


def __getattr__(name: str) -> Any:
    if name not in TOOLS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"lancedb_embedders.{TOOLS[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *TOOLS])
