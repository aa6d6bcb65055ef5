"""From a picture, wherever it is, to its bytes or pixels, within limits."""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit
from urllib.request import url2pathname

from lancedb_embedders.errors import ImageError
from lancedb_embedders.inputs.images.image import FILE_BYTES, Image
from lancedb_embedders.inputs.images.limits import ImageLimits

#: Object stores, which fsspec reads. Its other protocols reach hosts and archives unchecked.
STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "hf", "memory")

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):", re.IGNORECASE)  # a single letter is a drive


def read_image(image: Image, limits: ImageLimits) -> Any:
    """Return what `lancedb_embedders.inputs.images.decode` takes for a picture.

    Parameters
    ----------
    image : Image
        Where it is.
    limits : ImageLimits
        How far to go.

    Returns
    -------
    bytes, bytearray, memoryview, pyarrow.Buffer, PIL.Image.Image or numpy.ndarray
        The bytes of a file, or pixels as they were given.

    Raises
    ------
    ImageError
        It is not there, not allowed, or too large; says why, and leaves the name to the caller.
    """
    source = image.source
    if isinstance(source, Path):
        return _from_file(source, limits)
    if isinstance(source, str):
        return _from_reference(source, limits)
    if isinstance(source, FILE_BYTES):
        limits.check_bytes(len(memoryview(source)))
    return source


def is_remote(image: Image) -> bool:
    """Tell whether reading a picture means waiting for another machine."""
    scheme = _SCHEME.match(image.source) if isinstance(image.source, str) else None
    return scheme is not None and scheme[1].lower() not in {"data", "file", "memory"}


def _from_reference(reference: str, limits: ImageLimits) -> bytes:
    found = _SCHEME.match(reference)
    scheme = found[1].lower() if found else ""
    if scheme == "data":
        return _from_data_uri(reference, limits)
    if scheme in {"http", "https"}:
        from lancedb_embedders.inputs.images.web import fetch

        return fetch(reference, limits)
    if scheme == "file":
        return _from_file(_path_of(reference), limits)
    if scheme in STORES:
        return _from_store(reference, limits)
    if "://" in reference:
        raise ImageError(
            f"{scheme or 'this kind of'} URLs are not read; there are http, https, file, data, "
            f"{', '.join(STORES)}"
        )
    return _from_file(Path(reference), limits)


def _path_of(url: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc not in {"", "localhost"}:
        raise ImageError("a file:// URL of another machine; use file:///path")
    return Path(url2pathname(parts.path))


def _from_file(path: Path, limits: ImageLimits) -> bytes:
    if limits.roots and not any(_is_within(path, root) for root in limits.roots):
        raise ImageError(
            "outside the folders that pictures may be read from; allow its folder with "
            "settings.image_roots (LANCEDB_EMBEDDERS_IMAGE_ROOTS)"
        )
    try:
        # Without waiting: to open a named pipe would otherwise take until someone writes to it.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageError("no regular file")
            limits.check_bytes(status.st_size)
            data = file.read(limits.max_bytes + 1)
    except ImageError:
        raise
    except FileNotFoundError:
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise ImageError(f"there is no such file{where}") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(f"the file cannot be read: {reason}") from None
    limits.check_bytes(len(data))
    return data


def _is_within(path: Path, root: Path) -> bool:
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, ValueError, RuntimeError):  # RuntimeError: a loop of links, before 3.13
        return False


def _from_data_uri(uri: str, limits: ImageLimits) -> bytes:
    head, comma, body = uri[5:].partition(",")
    if not comma:
        raise ImageError('a data: URI without a comma; it looks like "data:image/png;base64,..."')
    is_base64 = head.lower().endswith(";base64")
    limits.check_bytes(len(body) * 3 // 4 if is_base64 else len(body) // 3)
    data = unquote_to_bytes(body)
    if is_base64:
        try:
            data = base64.b64decode(re.sub(rb"\s", b"", data), validate=True)
        except binascii.Error as error:
            raise ImageError(f"a data: URI whose base64 is damaged: {error}") from None
    limits.check_bytes(len(data))
    return data


def _from_store(url: str, limits: ImageLimits) -> bytes:
    if "::" in url:  # fsspec's way to chain protocols, which could lead anywhere
        raise ImageError('chained URLs ("::") are not read')
    try:
        import fsspec
    except ImportError:
        raise ImageError("object stores need a package: pip install fsspec") from None
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        size = filesystem.info(path).get("size")
        if size is not None:
            limits.check_bytes(int(size))
        with filesystem.open(path, "rb") as file:
            data = bytes(file.read(limits.max_bytes + 1))
    except FileNotFoundError:
        raise ImageError("there is no such object") from None
    except ImageError:
        raise
    except Exception as error:  # each store has errors of its own
        reason = (str(error).splitlines() or [""])[0]
        raise ImageError(f"the store gave {type(error).__name__}: {reason}"[:300]) from None
    limits.check_bytes(len(data))
    return data
