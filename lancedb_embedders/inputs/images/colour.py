"""From any mode, depth and colour space that a picture may have to 8-bit sRGB."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image, ImageCms

# ICC names of what pixels of a mode may be.
_SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}
# Profiles of presses, the largest there are, have 3 MB. The cache keeps some of them.
_MAX_PROFILE = 4_000_000
# By how much a colour may change for a profile to be taken for sRGB: makers round differently.
_SAME = 2
# Pixels that are converted at a time: each step in between takes memory of its own.
_STRIP = 1_000_000


def to_srgb(picture: Image.Image) -> Image.Image:
    """Bring a loaded picture to mode RGB, 8-bit sRGB, over white where it is transparent.

    Parameters
    ----------
    picture : PIL.Image.Image
        Of any mode; an ICC profile in ``picture.info`` is followed if it fits.

    Returns
    -------
    PIL.Image.Image
        `picture` itself where nothing is to be done.
    """
    from PIL import Image

    if picture.mode == "RGB" and picture.info.keys().isdisjoint({"icc_profile", "transparency"}):
        return picture
    black, white = _range(picture)
    page = Image.new("RGB", picture.size, "white")
    for top, strip in _strips(picture):
        colours, alpha = _apart(_in_8_bits(strip, black, white))
        transform = _transform_of(picture.info.get("icc_profile"), colours.mode)
        if transform is not None:
            colours = transform.apply(colours)
        elif colours.mode != "RGB":
            colours = colours.convert("RGB")
        page.paste(colours, (0, top), alpha)
    return page


def _strips(picture: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    rows = max(1, _STRIP // picture.width)
    for top in range(0, picture.height, rows):
        yield top, picture.crop((0, top, picture.width, min(top + rows, picture.height)))


def _apart(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return colours, of mode L, RGB or CMYK, and alpha, if there is any."""
    if picture.mode in ("La", "RGBa"):
        picture = picture.convert(picture.mode.upper())
    elif picture.has_transparency_data and picture.mode not in ("LA", "RGBA"):
        picture = picture.convert("RGBA")
    alpha = None
    if picture.mode in ("LA", "RGBA"):
        alpha = picture.getchannel("A")
        picture = picture.convert(picture.mode[:-1])
    return (picture if picture.mode in _SPACES else picture.convert("RGB")), alpha


def _in_8_bits(picture: Image.Image, black: float, white: float) -> Image.Image:
    from PIL import Image

    if picture.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode not in ("I", "F"):
        return picture
    levels = (np.asarray(picture, np.float64) - black) * (255 / (white - black))
    return Image.fromarray((np.nan_to_num(levels).clip(0, 255) + 0.5).astype(np.uint8))


def _range(picture: Image.Image) -> tuple[float, float]:
    """Return which numbers are black and white in a picture of mode I or F."""
    tops = {"I": (255.0, 65535.0), "F": (1.0,)}.get(picture.mode)
    if tops is None:
        return 0.0, 255.0
    if picture.format == "PPM":
        tops = tops[-1:]  # Pillow has scaled its numbers to 16 bits
    ends = []
    for _, strip in _strips(picture):
        numbers = np.asarray(strip)
        finite = numbers[np.isfinite(numbers)]
        if finite.size:
            ends += [float(finite.min()), float(finite.max())]
    black, white = min(ends, default=0.0), max(ends, default=0.0)
    for top in tops:
        if black >= 0 and white <= top:
            return 0.0, top
    return black, white if white > black else np.inf


def _transform_of(profile: object, mode: str) -> ImageCms.ImageCmsTransform | None:
    if isinstance(profile, bytes) and len(profile) <= _MAX_PROFILE:
        return _transform(profile, mode)
    return None


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return what brings pixels of `mode` to sRGB; None if they are, or `profile` does not fit."""
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space != _SPACES[mode]:
            return None
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (OSError, ValueError, TypeError, ImageCms.PyCMSError):
        return None
    return None if mode != "CMYK" and _changes_nothing(transform, mode) else transform


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    from PIL import Image

    levels = np.arange(0, 256, 17, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(16, -1, 3)
    probe = Image.fromarray(colours).convert(mode)
    change = np.asarray(transform.apply(probe), np.int16) - np.asarray(probe.convert("RGB"))
    return bool(np.abs(change).max() <= _SAME)
