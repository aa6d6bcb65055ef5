"""Pictures and texts from whatever LanceDB or a user hands over."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lancedb_embedders.errors import InputError
from lancedb_embedders.inputs.images.image import FILE_BYTES, Image
from lancedb_embedders.inputs.text import accept_texts, check_encodable, is_blank, shown

#: What the rows of a source column hold.
Source = Literal["image", "text", "auto"]

_URL = re.compile(r"[a-z][a-z0-9+.-]+://\S+|data:[a-z]+/\S+", re.IGNORECASE)
_EXTENSIONS = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".avif"),
    *(".heic", ".heif", ".jp2", ".ico", ".pbm", ".pgm", ".ppm"),
)
_BLOB = "lance.blob.v2"
_TAIL = 256


def accept_images(values: Any, source: Source, query: bool = False) -> list[str | Image | None]:
    """Turn any container of pictures and texts into a list of them.

    Parameters
    ----------
    values : pyarrow.Array, pyarrow.ChunkedArray, numpy.ndarray, iterable, or a single value
        Text, references, bytes of files, PIL images, arrays of pixels, paths, `Image`.
    source : {"image", "text", "auto"}
        What a plain string among rows is: a reference to a picture, a text, or what
        `is_reference` says of it.
    query : bool, default False
        Whether these are queries, in which a plain string is always a text.

    Returns
    -------
    list of (str, Image or None)
        One entry a row: a text, a picture, or None for what is null, blank or empty.

    Raises
    ------
    InputError
        A value is neither, or no text where texts are asked for; names row and type.
    """
    if source == "text" and not query:
        return [None if is_blank(text) else text for text in accept_texts(values)]
    strings: Source = "text" if query else source
    return [_one(value, row, strings) for row, value in enumerate(_listed(values))]


def is_reference(text: str) -> bool:
    """Tell whether a string refers to a picture, by its looks alone; no file is looked for.

    It does if it is a URL (``https://...``, ``s3://...``, ``file://...``, ``data:image/...``)
    without white space, or ends like the name of a picture (``.jpg``, ``.png``, ...) and has no
    white space or has a slash in it.

    Examples
    --------
    >>> [is_reference(text) for text in ("photos/my cat.JPG", "cat.png", "a cat", "see cat.png")]
    [True, True, False, False]
    """
    if _URL.fullmatch(text):
        return True
    if not text[-5:].lower().endswith(_EXTENSIONS) or "\n" in text or "://" in text:
        return False
    return "/" in text or "\\" in text or len(text.split()) == 1


def unique(
    items: Sequence[str | Image | None],
) -> tuple[list[str | Image], npt.NDArray[np.intp]]:
    """Return each different text and picture once, and for each row which it has; -1 for none.

    Files are told apart by size and end first; only those that agree are compared whole.
    """
    quick = [_quick_key(item) for item in items]
    counts = Counter(quick)
    positions: dict[Any, int] = {}
    inputs: list[str | Image] = []
    index = np.full(len(items), -1, dtype=np.intp)
    for row, (item, key) in enumerate(zip(items, quick, strict=True)):
        if item is None:
            continue
        if isinstance(item, Image) and isinstance(item.source, FILE_BYTES) and counts[key] > 1:
            key = (*key, item.digest())
        index[row] = positions.setdefault(key, len(positions))
        if index[row] == len(inputs):
            inputs.append(item)
    return inputs, index


def _quick_key(item: str | Image | None) -> tuple[Any, ...]:
    if not isinstance(item, Image):
        return ("text", item)
    source = item.source
    if isinstance(source, FILE_BYTES):
        view = memoryview(source)
        return ("file", len(view), bytes(view[-_TAIL:]))
    return ("reference", source) if isinstance(source, str) else ("object", id(source))


def _one(value: Any, row: int, strings: Source) -> str | Image | None:
    if value is None:
        return None
    if isinstance(value, str):
        if is_blank(value):
            return None
        check_encodable(value, row)
        is_text = strings == "text" or (strings == "auto" and not is_reference(value))
        return value if is_text else Image(value)
    if not _is_picture(value):
        raise InputError(
            f"row {row}: expected a picture or a string, got {type(value).__name__} "
            f"({shown(value)})",
            [row],
        )
    if isinstance(value, FILE_BYTES) and not len(memoryview(value)):
        return None
    return value if isinstance(value, Image) else Image(value)


def _is_picture(value: Any) -> bool:
    if isinstance(value, (Image, Path, np.ndarray, *FILE_BYTES)):
        return True
    pil = sys.modules.get("PIL.Image")  # whoever holds such an image has imported it
    return pil is not None and isinstance(value, pil.Image)


def _listed(values: Any) -> list[Any]:
    if isinstance(values, pa.ChunkedArray):
        return [value for chunk in values.chunks for value in _listed(chunk)]
    if isinstance(values, pa.Array):
        return _from_arrow(values)
    if isinstance(values, pa.Scalar):
        return [values.as_py()]
    if isinstance(values, np.ndarray):
        if values.dtype.kind in "OSU":
            return list(np.atleast_1d(values).tolist())
        return list(values) if values.ndim == 4 else [values]
    if isinstance(values, (str, dict, *FILE_BYTES)) or not isinstance(values, Iterable):
        return [values]
    return [values] if _is_picture(values) else list(values)


def _from_arrow(values: pa.Array) -> list[Any]:
    if isinstance(values, pa.ExtensionArray):
        if values.type.extension_name == _BLOB:
            return _from_blobs(values.storage)
        values = values.storage
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _from_arrow(values.dictionary_decode())
    if _is_binary(kind):
        # Buffers are views: the bytes of all rows are not copied.
        return [scalar.as_buffer() if scalar.is_valid else None for scalar in values]
    if pa.types.is_struct(kind) and {field.name for field in kind} >= {"data", "uri"}:
        return _from_blobs(values)
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if is_text or pa.types.is_string_view(kind) or pa.types.is_null(kind):
        return list(values.to_pylist())
    raise InputError(
        f"row 0: expected pictures or strings, got a column of Arrow type {kind}; use a column of "
        "bytes, or of references as strings, as the source",
        [0],
    )


def _from_blobs(storage: pa.StructArray) -> list[Any]:
    """Return the bytes of Lance blobs, or a reference where a blob is kept elsewhere."""
    data, uris = _from_arrow(storage.field("data")), storage.field("uri").to_pylist()
    valid = storage.is_valid().to_pylist()
    return [
        (value if value is not None else Image(uri) if uri else None) if there else None
        for value, uri, there in zip(data, uris, valid, strict=True)
    ]


def _is_binary(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )
