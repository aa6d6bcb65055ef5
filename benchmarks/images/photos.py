"""Sets of JPEG files, no two of them equal, made of the COCO photos of the evaluation data."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.corpus import data_folder

if TYPE_CHECKING:
    from PIL.Image import Image

#: Pictures of each set, if nothing else is asked for.
COUNTS = {"coco": 200, "phone": 60}
_PHONE = (4000, 3000)
_COLUMN = "image"
# What a sensor adds, in grey levels: makes files of 12 megapixels 3 to 5 MB large.
_NOISE = 5
_SEED = 7


def photos_folder() -> Path:
    """Return where the photos are, whether they are there or not."""
    return data_folder() / "img_coco" / "a" / "images"


def write_photos(kind: str, count: int, file: Path) -> dict[str, Any]:
    """Write a set of pictures to an Arrow file; return what they are like."""
    import pyarrow as pa

    kinds = {"coco": _coco, "phone": _phone}
    sizes = []
    schema = pa.schema([(_COLUMN, pa.binary())])
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for data, _ in zip(kinds[kind](), range(count), strict=False):
            writer.write_table(pa.table({_COLUMN: [data]}, schema=schema))
            sizes.append(len(data))
    return {"count": len(sizes), "bytes": sum(sizes) / len(sizes)}


def read_photos(file: str) -> Any:
    """Return a set of pictures as a table of one chunk, as a user has it in memory."""
    import pyarrow as pa

    with pa.OSFile(file, "rb") as source:
        return pa.ipc.open_file(source).read_all().combine_chunks()


def _coco() -> Iterator[bytes]:
    """Yield each photo as it is, then ever more columns narrower and written anew."""
    from PIL import Image

    files = sorted(photos_folder().glob("*.jpg"))
    yield from (file.read_bytes() for file in files)
    for columns in range(1, 100):
        for file in files:
            picture = Image.open(file)
            yield _jpeg(picture.crop((columns, 0, *picture.size)), 90)


def _phone() -> Iterator[bytes]:
    """Yield each photo as large as a phone takes it, then the same with other noise."""
    import numpy as np
    from PIL import Image, ImageOps

    width, height = _PHONE
    random = np.random.default_rng(_SEED)
    noise = random.normal(0, _NOISE, (height, width, 1)).round().astype(np.int16)
    while True:
        for file in sorted(photos_folder().glob("*.jpg")):
            photo = Image.open(file).convert("RGB")
            large = ImageOps.fit(photo, _PHONE, Image.Resampling.BICUBIC)
            turned = np.roll(noise, random.integers(0, height, 2), axis=(0, 1))
            pixels = np.clip(np.asarray(large, np.int16) + turned, 0, 255)
            yield _jpeg(Image.fromarray(pixels.astype(np.uint8)), 90)


def _jpeg(picture: Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
