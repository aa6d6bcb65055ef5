"""From the bytes of a file, or from pixels, to an upright picture of mode RGB."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lancedb_embedders.errors import ImageError
from lancedb_embedders.inputs.images.arrays import array_size, from_array
from lancedb_embedders.inputs.images.colour import to_srgb
from lancedb_embedders.inputs.images.formats import (
    HEAD,
    announced_size,
    describe_other,
    passes,
    picture_format,
)
from lancedb_embedders.inputs.images.scale import reduce_file, reduce_pixels

if TYPE_CHECKING:
    import pyarrow as pa
    from PIL import Image, ImageFile

_ORIENTATION = 0x0112
# How many times the memory, or time, of others some of Pillow's decoders take: that many times
# fewer pixels may there be.
_COSTS = {"jpeg2k": 4, "bmp_rle": 20}
# Ten scans are usual, and some layers to each of some thousand tiles; files made for it have a
# reader busy for hours.
_MAX_PASSES = {"JPEG": 100, "JPEG2000": 1_000_000}


def decode(
    data: bytes | bytearray | memoryview | pa.Buffer,
    max_pixels: int,
    at_least: tuple[int, int] | None = None,
) -> Image.Image:
    """Read a picture from the bytes of a file.

    Parameters
    ----------
    data : bytes, bytearray, memoryview or pyarrow.Buffer
        A file of any format that is told by its beginning to be a picture.
    max_pixels : int
        Pixels that the picture may have; files that claim more are refused before they are read.
    at_least : tuple of int, optional
        Width and height that are needed of the upright picture. A larger one may then come back
        smaller, though not below twice that; JPEG files are read in a fraction of the time.

    Returns
    -------
    PIL.Image.Image
        Of mode RGB: 8-bit sRGB, upright, over white. Of an animation, the first frame.

    Raises
    ------
    ImageError
        The bytes are no picture, or one too large or damaged; says which.
    """
    data = data if isinstance(data, bytes) else bytes(memoryview(data))
    name = picture_format(data[:HEAD])
    if name is None:
        raise ImageError(describe_other(data[:HEAD]))
    with _reasons(f"{'an' if name[0] in 'AI' else 'a'} {name} file"):
        picture = _open(name, data, max_pixels)
        reduced = at_least and reduce_file(picture, _turned(at_least, _orientation(picture)))
        picture.load()
        # Known only now of some formats, and taken care of by now in others.
        orientation = _orientation(picture)
        rgb = to_srgb(picture)
        if at_least:
            rgb = reduce_pixels(rgb, reduced or rgb.size, _turned(at_least, orientation))
        return _upright(rgb, orientation)


def from_pixels(picture: Image.Image | npt.NDArray[Any], max_pixels: int) -> Image.Image:
    """Bring a picture that is in memory to what `decode` returns.

    Parameters
    ----------
    picture : PIL.Image.Image or numpy.ndarray
        See `Image` for the arrays that are taken. It is not changed.
    max_pixels : int
        Pixels that the picture may have.

    Returns
    -------
    PIL.Image.Image
        Of mode RGB: 8-bit sRGB, upright, over white.

    Raises
    ------
    ImageError
        The pixels make no picture, or one too large, or they cannot be read; says which.
    """
    from PIL import Image

    if isinstance(picture, np.ndarray):
        with _reasons(f"an array of {picture.dtype} and shape {picture.shape}"):
            _check_size(*array_size(picture), max_pixels)
            return to_srgb(from_array(picture))
    if not isinstance(picture, Image.Image):
        raise ImageError(f"neither a PIL image nor an array, but {type(picture).__name__}")
    if 0 in picture.size:
        raise ImageError(f"a PIL image of {picture.width} x {picture.height} holds no pixel")
    with _reasons(f"a PIL image of mode {picture.mode}"):
        _check_size(*picture.size, max_pixels)
        picture.load()
        rgb = to_srgb(picture)
        return _upright(rgb.copy() if rgb is picture else rgb, _orientation(picture))


@contextmanager
def _reasons(what: str) -> Iterator[None]:
    # Readers of damaged files raise whatever they run into, struct.error and SyntaxError included.
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ImageError(
            f"{what} that is cut short, damaged or of a kind that Pillow cannot read: {reason}"
        ) from error


def _open(name: str, data: bytes, max_pixels: int) -> Image.Image:
    from PIL import Image

    # Not by Image.open: it warns of sizes that are allowed here, and warnings can be turned off
    # only for all threads.
    _check_size(*announced_size(name, data), max_pixels)
    if passes(name, data) > _MAX_PASSES.get(name, 0):
        raise ImageError(f"a {name} file of so many parts that it would take too long to read")
    if name == "ICO":
        return _open_icon(data, max_pixels)
    if name not in Image.OPEN:
        Image.init()
    if name not in Image.OPEN:
        raise ImageError(
            f"a {name} file, which Pillow cannot read by itself: pip install pillow-heif, then "
            "pillow_heif.register_heif_opener(); or convert it to JPEG"
        )
    picture = Image.OPEN[name][0](io.BytesIO(data), "")
    _check_cost(picture, max_pixels)
    return picture


def _open_icon(data: bytes, max_pixels: int) -> Image.Image:
    """Open the largest picture of an icon, whose size the icon need not tell as it is."""
    from PIL import BmpImagePlugin, IcoImagePlugin

    icon = IcoImagePlugin.IcoFile(io.BytesIO(data))
    entries = icon.entry
    best = max(range(len(entries)), key=lambda i: (entries[i].square, entries[i].bpp))
    inner = data[entries[best].offset :]
    if picture_format(inner[:HEAD]) == "PNG":
        return _open("PNG", inner, max_pixels)
    _check_cost(BmpImagePlugin.DibImageFile(io.BytesIO(inner)), max_pixels)
    return icon.frame(best)


def _check_cost(picture: ImageFile.ImageFile, max_pixels: int) -> None:
    cost = max((_COSTS.get(tile[0], 1) for tile in picture.tile), default=1)
    _check_size(*picture.size, max_pixels, cost)


def _check_size(width: int, height: int, max_pixels: int, cost: int = 1) -> None:
    from PIL import Image

    advice = "raise settings.max_image_pixels (LANCEDB_EMBEDDERS_MAX_IMAGE_PIXELS)"
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        max_pixels = Image.MAX_IMAGE_PIXELS
        advice = "raise PIL.Image.MAX_IMAGE_PIXELS, Pillow's own limit"
    if width * height * cost > max_pixels:
        limit = f"{max_pixels // cost:,} that are allowed{' of this kind' if cost > 1 else ''}"
        raise ImageError(
            f"{width:,} x {height:,} pixels, more than the {limit}; make it smaller, or {advice}"
        )


def _turned(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return size[::-1] if orientation >= 5 else size


def _orientation(picture: Image.Image) -> int:
    # EXIF that makes no sense is no reason to refuse a picture.
    try:
        orientation = int(picture.getexif().get(_ORIENTATION, 1))
        return orientation if 1 <= orientation <= 8 else 1
    except Exception:
        return 1


def _upright(picture: Image.Image, orientation: int) -> Image.Image:
    """Turn a picture that is the caller's own; none of what was known of the file remains."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    if orientation in turns:
        picture = picture.transpose(turns[orientation])
    picture.info = {}
    return picture
