"""What is known of a period: of the checks in it, or of its rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.tools.watch.drift import Period
from lancedb_embedders.tools.watch.history import Entry
from lancedb_embedders.tools.watch.rows import Rows


def period_of_rows(rows: Rows) -> Period:
    """Return rows as a period."""
    return Period(rows.vectors, rows.norms, nulls=(len(rows.nulls), rows.total))


def period_of(entries: Sequence[Entry]) -> Period:
    """Return checks as a period.

    Raises
    ------
    ConfigurationError
        Their vectors are not of one size.
    """
    filled = [entry for entry in entries if len(entry.vectors)]
    if not filled:
        return Period(np.zeros((0, 0), dtype=np.float32), np.zeros(0))
    widths = {entry.vectors.shape[1] for entry in filled}
    if len(widths) > 1:
        raise ConfigurationError(
            f"checks of one period have vectors of {' and '.join(map(str, sorted(widths)))} "
            "dimensions; give each model a name of its own, or choose another time"
        )
    return Period(
        vectors=np.concatenate([entry.vectors for entry in filled]),
        norms=np.concatenate([entry.norms for entry in filled]),
        nulls=_summed([(entry.nulls, entry.quality.rows) for entry in entries]),
        truncated=_summed([entry.truncated for entry in entries]),
    )


def _summed(counts: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return sum(hits for hits, _ in counts), sum(seen for _, seen in counts)
