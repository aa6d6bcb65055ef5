"""One check of rows, from figures to what is kept of it."""

from __future__ import annotations

import warnings
from datetime import datetime, timezone

import numpy as np

from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import EmbeddingError, EmbeddingWarning
from lancedb_embedders.tools.watch.baseline import Baseline, baseline_of
from lancedb_embedders.tools.watch.checks import check_rows
from lancedb_embedders.tools.watch.history import Entry, picked
from lancedb_embedders.tools.watch.limits import Limits
from lancedb_embedders.tools.watch.report import Quality, ordered
from lancedb_embedders.tools.watch.rows import Rows
from lancedb_embedders.tools.watch.truncated import truncated, truncated_finding


def inspected(rows: Rows, function: Embedder | None, name: str, limits: Limits, seed: int) -> Entry:
    """Check rows, and return what was found with what is kept for later.

    Parameters
    ----------
    rows : Rows
        What to check.
    function : Embedder, optional
        What made their vectors.
    name : str
        What is monitored.
    limits : Limits
        From where on something is a finding.
    seed : int
        Of random samples.
    """
    baseline = None if function is None else _baseline(function)
    checked = check_rows(rows, limits, _normalized(function), baseline, seed)
    counted = truncated(function, rows.texts, seed)
    if counted is not None:
        checked.figures["truncated"] = counted[0] / counted[1]
    quality = Quality(
        name=name,
        at=datetime.now(timezone.utc),
        function=None if function is None else function.registry_name,
        model=getattr(function, "name", None),
        figures=checked.figures,
        findings=ordered([*checked.findings, *truncated_finding(counted, limits)]),
    )
    chance = np.random.default_rng(seed)
    return Entry(
        quality=quality,
        vectors=picked(rows.vectors, chance),
        norms=picked(rows.norms, chance),
        distances=picked(checked.near, chance),
        nulls=len(rows.nulls),
        truncated=counted or (0, 0),
    )


def _normalized(function: Embedder | None) -> bool | None:
    return None if function is None else function.normalize


def _baseline(function: Embedder) -> Baseline | None:
    try:
        return baseline_of(function)
    except EmbeddingError as error:
        warnings.warn(
            "vectors are not compared with those of ordinary text, which the function does not "
            f"give: {error}",
            EmbeddingWarning,
            stacklevel=4,
        )
        return None
