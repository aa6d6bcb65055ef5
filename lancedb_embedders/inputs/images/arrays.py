"""From an array of numbers to a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lancedb_embedders.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image

_CHANNELS = (1, 3, 4)
# By how much fractions may lie outside 0..1: filters that sharpen go a little too far.
_OVERSHOOT = 0.02


def array_size(array: npt.NDArray[Any]) -> tuple[int, int]:
    """Return width and height, or raise ImageError where the shape is none of a picture."""
    shape = array.shape
    if len(shape) == 2 or (len(shape) == 3 and shape[2] in _CHANNELS):
        if 0 in shape:
            raise ImageError(f"an array of shape {shape} holds no pixel")
        return shape[1], shape[0]
    hint = "it takes (height, width), or (height, width, channels) of 1, 3 or 4 channels"
    if len(shape) == 3 and shape[0] in _CHANNELS:
        hint = "its channels are first: put them last with array.transpose(1, 2, 0)"
    elif len(shape) == 4:
        hint = "give the pictures of a batch one by one"
    raise ImageError(f"an array of shape {shape} is no picture; {hint}")


def from_array(array: npt.NDArray[Any]) -> Image.Image:
    """Return a picture of mode L, RGB or RGBA, or raise ImageError where the numbers are none."""
    from PIL import Image

    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype.kind == "u" and array.dtype.itemsize == 2:
        array = (array >> 8).astype(np.uint8)
    elif array.dtype.kind == "f":
        array = _from_fractions(array)
    elif array.dtype != np.uint8:
        raise ImageError(
            f"an array of {array.dtype}; numbers from 0 to 255 are taken as uint8 "
            "(array.astype(numpy.uint8)), of 16 bits as uint16, from 0 to 1 as floats"
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(array))


def _from_fractions(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError("an array with NaN or infinity")
    if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
        raise ImageError(
            f"an array of {array.dtype} from {low:.4g} to {high:.4g}; scale it to 0..1, or give "
            "0..255 as uint8"
        )
    levels: npt.NDArray[np.float32] = np.clip(array, 0, 1).astype(np.float32) * np.float32(255)
    return (levels + np.float32(0.5)).astype(np.uint8)
