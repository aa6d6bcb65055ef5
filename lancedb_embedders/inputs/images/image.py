"""`Image`: a picture, wherever it is."""

from __future__ import annotations

import io
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import pyarrow as pa

#: What the bytes of a file may come as.
FILE_BYTES = (bytes, bytearray, memoryview, pa.Buffer)


@dataclass(frozen=True, eq=False)
class Image:
    """A picture to embed or to search by, where a plain value would be taken for something else.

    Parameters
    ----------
    source : str, pathlib.Path, bytes, PIL.Image.Image or numpy.ndarray
        A reference (path, ``file://``, ``http(s)://``, ``s3://`` and the like, ``data:``), the
        bytes of a file, or pixels. An array has shape ``(height, width)``,
        ``(height, width, 1)``, ``(height, width, 3)`` or ``(height, width, 4)``: uint8 as they
        are, uint16 of 16 bits, floats from 0 to 1.

    Examples
    --------
    >>> Image("photos/cat.jpg").reference
    'photos/cat.jpg'
    >>> Image("https://me:secret@example.com/cat.jpg?token=secret").reference
    'https://example.com/cat.jpg'
    """

    source: Any

    @property
    def reference(self) -> str:
        """What to call the picture in a message: short, and without what may be a secret."""
        source = self.source
        if isinstance(source, Path):
            return str(source)
        if isinstance(source, str):
            return _shown(source)
        if isinstance(source, np.ndarray):
            return f"array of shape {source.shape}"
        if isinstance(source, FILE_BYTES):
            return f"{len(memoryview(source)):,} bytes"
        return f"{type(source).__name__} {getattr(source, 'size', '')}".strip()

    def encode(self) -> bytes:
        """Return the bytes of a file, for a column of bytes; pixels are written as PNG.

        Raises
        ------
        ImageError
            The picture cannot be had.
        """
        from lancedb_embedders.inputs.images.limits import ImageLimits
        from lancedb_embedders.inputs.images.read import read_image

        found = read_image(self, ImageLimits.current())
        if isinstance(found, FILE_BYTES):
            return bytes(found)
        from lancedb_embedders.inputs.images.decode import from_pixels

        buffer = io.BytesIO()
        from_pixels(found, ImageLimits.current().max_pixels).save(buffer, format="PNG")
        return buffer.getvalue()

    def digest(self) -> bytes:
        """Return what tells the content of a file, or of a PIL image, from all other, 128 bits."""
        source = self.source
        if isinstance(source, FILE_BYTES):
            return _hashed(b"file", source)
        return _hashed(f"{source.mode} {source.size}".encode(), source.tobytes())


def _hashed(kind: bytes, data: Any) -> bytes:
    hasher = blake2b(kind, digest_size=16)
    hasher.update(data)
    return hasher.digest()


def _shown(reference: str, limit: int = 120) -> str:
    if reference[:5].lower() == "data:":
        return f"{reference.split(',', 1)[0][:60]},... ({len(reference):,} characters)"
    if "://" in reference:
        try:
            parts = urlsplit(reference)
        except ValueError:
            return reference.split("://", 1)[0] + "://..."
        host = parts.netloc.rpartition("@")[2]
        reference = urlunsplit((parts.scheme, host, parts.path, "", ""))
    return reference if len(reference) <= limit else reference[: limit - 1] + "…"
