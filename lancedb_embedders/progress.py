"""A progress bar for work that takes longer than two seconds."""

from __future__ import annotations

from typing import Any


def progress_bar(
    total: int | None, unit: str, progress: bool | None, desc: str = "Embedding"
) -> Any:
    """Return a bar that appears after two seconds of work.

    Parameters
    ----------
    total : int or None
        How much there is to do; None: not known yet.
    unit : str
        Of what.
    progress : bool or None
        Whether to show it; None: only on a terminal.
    desc : str
        What is being done.
    """
    from tqdm.auto import tqdm

    return tqdm(
        total=total,
        desc=desc,
        unit=f" {unit}",
        delay=2,
        disable=None if progress is None else not progress,
    )
