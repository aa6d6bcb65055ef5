"""Pictures much larger than a model needs: read, and handed on, at a fraction of their size."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

# How many times the size that is asked for a picture has that comes back smaller. Resized to that
# size, it differs by less than a thousandth, in cosine, from the full picture resized; with 1.5
# times by more.
_SPARE = 2
# From which factor on it takes less time to make a picture smaller in two steps.
_WORTHWHILE = 3
# Among how many sizes to look for one whose sides have the ratio of the full picture.
_CHOICES = 64


def reduce_file(picture: Image.Image, at_least: tuple[int, int]) -> tuple[float, float] | None:
    """Have a JPEG file that is not loaded yet read at a fraction of its size.

    Parameters
    ----------
    picture : PIL.Image.Image
        As it was opened.
    at_least : tuple of int
        Width and height that are needed, of the picture as it lies in the file.

    Returns
    -------
    tuple of float, or None
        Width and height it will have but for rounding up to whole pixels; None if Pillow cannot
        read files of its format so.
    """
    width, height = at_least
    drafted = picture.draft(None, (_SPARE * width, _SPARE * height))
    return drafted[1][2:] if drafted else None


def reduce_pixels(
    picture: Image.Image, size: tuple[float, float], at_least: tuple[int, int]
) -> Image.Image:
    """Cut a picture to `size`, and make it smaller where it is much larger than needed.

    The ratio of its sides stays. If it did not, by as little as half a pixel that is rounded off,
    the picture would be stretched by a pixel as it is made smaller still: the largest difference
    to the full picture that there is.
    """
    from PIL import Image

    width, height = size
    factor = int(min(width // at_least[0], height // at_least[1]) // _SPARE)
    if factor < _WORTHWHILE:
        if picture.size == size:
            return picture
        factor = 1
    short, long = sorted(map(Fraction, size))
    least = math.ceil(short / factor)
    # Those who resize by the shorter side cut off the fraction of the longer; a ratio that is too
    # low leads to the same number as the full picture, one that is too high may lead past it.
    side = min(range(least, least + _CHOICES), key=lambda side: side * long / short % 1 / side)
    sides = side, int(side * long / short)
    box = (0, 0, width, height)
    return picture.resize(
        sides if width < height else sides[::-1], Image.Resampling.BICUBIC, box, reducing_gap=1.0
    )
