"""What is said of texts: what was cut off or would be, and what a model cannot read."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lancedb_embedders.batch import Batch
from lancedb_embedders.errors import EmbeddingWarning, TextTooLongError, name_rows


def report_overflow(
    lengths: npt.NDArray[np.int64],
    lost: npt.NDArray[np.int64],
    max_length: int | None,
    batch: Batch,
) -> None:
    """Warn of texts that were cut, if any were.

    Parameters
    ----------
    lengths, lost : numpy.ndarray
        Tokens of each input that were embedded, and that were not; int64.
    max_length : int or None
        Tokens that an input may have.
    batch : Batch
        The inputs.
    """
    cut = np.flatnonzero(lost).tolist()
    if not cut:
        return
    counts, rows = batch.counts(), batch.rows(cut)
    share = (lost @ counts) / ((lengths + lost) @ counts)
    warnings.warn(
        f"{len(rows):,} of {counts.sum():,} texts ({name_rows(rows)}) are longer than "
        f"{max_length} tokens and were cut: {share:.1%} of all tokens lost. Split them "
        'into rows, or choose on_overflow="error" or "truncate"',
        EmbeddingWarning,
        stacklevel=2,
    )


def report_script(script: str, positions: Sequence[int], name: str, batch: Batch) -> None:
    """Warn of inputs, at `positions`, in a script that the model `name` does not know."""
    rows = batch.rows(positions)
    warnings.warn(
        f"{name} was not trained on {script}, in which {len(rows):,} of {len(batch.index):,} texts "
        f"are written ({name_rows(rows)}): their vectors mean little. Choose a model for their "
        "language. This is said once",
        EmbeddingWarning,
        stacklevel=2,
    )


def refuse_cut(positions: list[int], max_length: int | None, name: str, batch: Batch) -> None:
    """Raise if there are inputs, at `positions`, that are too long for the model `name`."""
    if not positions:
        return
    rows = batch.rows(positions)
    raise TextTooLongError(
        f"{name_rows(rows)}: longer than the {max_length} tokens that {name} takes. Shorten the "
        'text, split it into rows, or set on_overflow="warn" or "truncate" to cut it',
        rows,
    )
