"""What is said of texts that a provider refuses."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from lancedb_embedders.batch import Batch
from lancedb_embedders.errors import EmbeddingWarning, InputError, name_rows


def report_refused(
    batch: Batch, inputs: Sequence[int], words: Sequence[str], who: str, on_error: str
) -> None:
    """Raise, or warn with ``on_error="null"``; a query without a vector is always an error.

    Parameters
    ----------
    batch : Batch
        What was to be embedded.
    inputs : sequence of int
        Positions of what is refused.
    words : sequence of str
        The provider's, for each text that it refused.
    who : str
        The model and where it is.
    on_error : {"raise", "null"}
        What to do.

    Raises
    ------
    InputError
        Names the rows.
    """
    rows = batch.rows(inputs)
    more = len(set(words)) - 1
    said = words[0] + (f" (and {more} other reasons)" if more else "")
    if batch.role == "query":
        raise InputError(f"{who} refuses the query: {said}", rows)
    what = f"{name_rows(rows)}: {who} refuses the text: {said}"
    if on_error == "raise":
        raise InputError(
            f"{what}. The other {len(batch.inputs) - len(inputs):,} texts are embedded and in "
            'the cache. Mend these rows and add all again, or set on_error="null" to keep them '
            "without a vector",
            rows,
        )
    warnings.warn(
        f"{what}. {len(rows):,} of {len(batch.index):,} rows get no vector; add with "
        'on_bad_vectors="null" to keep them, or "drop" to leave them out',
        EmbeddingWarning,
        stacklevel=2,
    )
