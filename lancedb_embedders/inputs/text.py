"""Text from whatever LanceDB or a user hands over, to plain strings and nulls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from lancedb_embedders.errors import InputError


def accept_texts(values: Any) -> list[str | None]:
    """Turn any container of text into a list of strings and nulls.

    Parameters
    ----------
    values : str, pyarrow.Array, pyarrow.ChunkedArray, numpy.ndarray or iterable of str
        One text or many.

    Returns
    -------
    list of (str or None)
        One entry a row; ``None`` stays ``None``.

    Raises
    ------
    InputError
        A value is not text; names row and type.
    """
    texts = _listed(values)
    for row, text in enumerate(texts):
        if text is None:
            continue
        if not isinstance(text, str):
            raise InputError(
                f"row {row}: expected a string, got {type(text).__name__} ({shown(text)})", [row]
            )
        if not text.isascii():
            check_encodable(text, row)
    return texts


def is_blank(text: str | None) -> bool:
    """Tell whether `text` holds nothing to embed: null, empty, or only white space."""
    return text is None or not text.strip()


def _listed(values: Any) -> list[Any]:
    if isinstance(values, str):
        return [values]
    if isinstance(values, pa.Scalar):
        return [values.as_py()]
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        _check_arrow_type(values.type)
        return list(values.to_pylist())
    if isinstance(values, np.ndarray):
        return list(np.atleast_1d(values).tolist())
    if isinstance(values, Iterable) and not isinstance(values, (bytes, bytearray, dict)):
        return list(values)
    return [values]


def _check_arrow_type(arrow_type: pa.DataType) -> None:
    if pa.types.is_dictionary(arrow_type):
        arrow_type = arrow_type.value_type
    is_text = (
        pa.types.is_string(arrow_type)
        or pa.types.is_large_string(arrow_type)
        or pa.types.is_string_view(arrow_type)
        or pa.types.is_null(arrow_type)
    )
    if not is_text:
        hint = "use a text column as the source"
        if pa.types.is_struct(arrow_type):
            hint = 'say how its fields make one text, like template="{title}\\n\\n{body}"'
        raise InputError(
            f"row 0: expected strings, got a column of Arrow type {arrow_type}; {hint}", [0]
        )


def check_encodable(text: str, row: int) -> None:
    """Raise `InputError`, which names the row, for a string that is no valid Unicode."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"row {row}: character {error.start} is a lone surrogate "
            f"(U+{ord(text[error.start]):04X}), which is no text; repair it where it was read, "
            'for instance with text.encode("utf-8", "replace").decode()',
            [row],
        ) from None


def shown(value: object, limit: int = 40) -> str:
    """Return a value as it is written in code, cut for a message."""
    written = repr(value)
    return written if len(written) <= limit else written[: limit - 1] + "…"
