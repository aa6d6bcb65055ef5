"""From a picture to the array of pixels that a model was trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

# Difference to the model's own processor, in units of its output, that rounding explains.
_TOLERANCE = 0.02
# Pixels below which no picture is read at reduced scale: whole files are decoded fast anyway, and
# small pictures show what was left out. Of photos of 2,000 to 3,000 pixels, what goes into a model
# of 224 then differs by 0.2 to 0.3 of 255 levels on average, 3 at most.
_SMALL = 350
_PROBES = ((97, 61), (50, 180), (400, 300))


@dataclass(frozen=True)
class Transform:
    """Resize and cut out the middle; what nearly all models ask for.

    Attributes
    ----------
    shortest : int or None
        Pixels of the shorter side after resizing; None: `size` is kept to exactly.
    size : (int, int)
        Height and width of what comes out.
    resample : int
        Filter, as PIL numbers them.
    scale, shift : numpy.ndarray
        A colour is ``pixel * scale - shift`` to the model; float32, shape ``(3,)``.
    """

    shortest: int | None
    size: tuple[int, int]
    resample: int
    scale: npt.NDArray[np.float32]
    shift: npt.NDArray[np.float32]

    @property
    def at_least(self) -> tuple[int, int]:
        """Width and height in which a picture is to be read, so that its vector stays the same."""
        height, width = self.size if self.shortest is None else (self.shortest, self.shortest)
        return max(width, _SMALL), max(height, _SMALL)

    def pixels(self, picture: Picture) -> npt.NDArray[np.uint8]:
        """Return uint8 of shape ``(height, width, 3)`` for a picture in mode RGB."""
        height, width = self.size
        wanted = (width, height)
        if self.shortest is not None:
            wanted = _by_shorter_side(picture.size, self.shortest)
        if picture.size != wanted:
            picture = picture.resize(wanted, self.resample)
        if wanted != (width, height):
            left, top = (wanted[0] - width) // 2, (wanted[1] - height) // 2
            picture = picture.crop((left, top, left + width, top + height))
        return np.asarray(picture)


def transform_of(processor: Any) -> Transform | None:
    """Return what an image processor of transformers does, or None if it does more than that.

    It is tried out on some pictures: the processor's own result decides.
    """
    transform = _read(processor)
    if transform is None:
        return None
    for picture in probes():
        own = np.asarray(processor(images=picture, return_tensors="np")["pixel_values"])
        ours = transform.pixels(picture) * transform.scale - transform.shift
        ours = ours.transpose(2, 0, 1)[np.newaxis]
        if own.shape != ours.shape or float(np.abs(own - ours).mean()) > _TOLERANCE:
            return None
    return transform


def probes() -> Iterator[Picture]:
    """Yield pictures of different shapes, the same everywhere: waves of colour."""
    from PIL import Image

    for width, height in _PROBES:
        y, x = np.mgrid[0:height, 0:width].astype(np.float64)
        waves = [np.sin(x / 7 + y / 31), np.cos(x / 19 - y / 11), np.sin((x + y) / 5)]
        colours = np.stack(waves, axis=-1) * 127 + 128
        yield Image.fromarray(colours.astype(np.uint8))


def _read(processor: Any) -> Transform | None:
    asked = {name: getattr(processor, name, None) for name in ("size", "crop_size", "resample")}
    if not (getattr(processor, "do_resize", False) and isinstance(asked["resample"], int)):
        return None
    size, crop = _pairs(asked["size"]), _pairs(asked["crop_size"])
    shortest = size.get("shortest_edge")
    exact = (size.get("height"), size.get("width"))
    if getattr(processor, "do_center_crop", None):
        exact = (crop.get("height"), crop.get("width"))
    height, width = exact
    if not height or not width or (shortest or height) < height or (shortest or width) < width:
        return None
    factor = processor.rescale_factor if getattr(processor, "do_rescale", None) else 1.0
    mean, std = np.zeros(3), np.ones(3)
    if getattr(processor, "do_normalize", None):
        mean, std = np.asarray(processor.image_mean), np.asarray(processor.image_std)
    return Transform(
        shortest=shortest,
        size=(height, width),
        resample=int(asked["resample"]),
        scale=(factor / std).astype(np.float32),
        shift=(mean / std).astype(np.float32),
    )


def _pairs(size: Any) -> dict[str, int]:
    return {name: value for name, value in dict(size or {}).items() if value is not None}


def _by_shorter_side(size: tuple[int, int], shortest: int) -> tuple[int, int]:
    width, height = size
    if width <= height:
        return shortest, int(shortest * height / width)
    return int(shortest * width / height), shortest
