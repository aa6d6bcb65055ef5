"""Damaged, forged and random files: each is a picture within limits or an ImageError.

Run as a program, it does so for one format, in a process whose memory and time are limited:
decoders are written in C, and may as well crash, hang or fill the memory.
"""

from __future__ import annotations

import faulthandler
import io
import os
import random
import struct
import subprocess
import sys
import types
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.features
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="tells no peak of memory")
ROOT = Path(__file__).parent.parent
MAX_PIXELS = 4_000_000
MAX_MEMORY = 600_000_000
MAGICS = [
    b"\xff\xd8\xff\xe0",
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    b"GIF89a",
    b"RIFF\x40\0\0\0WEBPVP8 ",
    b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0",
    b"BM\x40\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0",
    b"II*\0\x08\0\0\0",
    b"MM\0*\0\0\0\x08",
    b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0",
    b"\0\0\0\x1cftypavif",
    b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 ",
    b"\xff\x4f\xff\x51",
    b"P6 9 9 255\n",
    b"P5 ",
    b"Pf 3 3 1.0\n",
    b"\0\0\1\0\1\0",
]


def encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x010E] = "a photo"
    return tags.tobytes()


def profile() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def jpegs(im: Image.Image) -> list[bytes]:
    return [
        encode(im, "JPEG", exif=exif(6)),
        encode(im, "JPEG", progressive=True, icc_profile=profile()),
        encode(im.convert("L"), "JPEG", restart_marker_blocks=2),
        encode(im.convert("CMYK"), "JPEG"),
        encode(im, "MPO", save_all=True, append_images=[im]),
    ]


def pngs(im: Image.Image) -> list[bytes]:
    clear = im.quantize(32)
    clear.info["transparency"] = bytes(range(32))
    grey = Image.fromarray(np.asarray(im.convert("L")).astype(np.uint16) * 257)
    return [
        encode(im, "PNG", exif=exif(8), icc_profile=profile()),
        encode(clear, "PNG"),
        encode(grey, "PNG"),
        encode(im.convert("LA"), "PNG"),
        encode(im.convert("1"), "PNG"),
        encode(im, "PNG", save_all=True, append_images=[im.rotate(9)]),
    ]


def gifs(im: Image.Image) -> list[bytes]:
    return [
        encode(im, "GIF", transparency=3),
        encode(
            im, "GIF", save_all=True, append_images=[im.rotate(9)], disposal=2, comment="x" * 300
        ),
    ]


def webps(im: Image.Image) -> list[bytes]:
    return [
        encode(im, "WEBP"),
        encode(im, "WEBP", lossless=True),
        encode(im.convert("RGBA"), "WEBP", exif=exif(3), icc_profile=profile()),
        encode(im, "WEBP", save_all=True, append_images=[im.rotate(9)]),
    ]


def bmps(im: Image.Image) -> list[bytes]:
    small = im.quantize(16)
    flat = encode(small, "BMP")
    rows = np.asarray(small)[::-1]
    runs = [b"".join(bytes([1, level]) for level in row) + b"\0\0" for row in rows]
    packed = bytearray(flat[: int.from_bytes(flat[10:14], "little")] + b"".join(runs) + b"\0\1")
    packed[30] = 1  # lengths of runs
    return [encode(im, "BMP"), flat, encode(im.convert("1"), "BMP"), bytes(packed)]


def tiffs(im: Image.Image) -> list[bytes]:
    lzw, deflated = ({"compression": f"tiff_{name}"} for name in ("lzw", "adobe_deflate"))
    return [
        encode(im, "TIFF", exif=exif(5)),
        encode(im, "TIFF", **lzw),
        encode(im.convert("RGBA"), "TIFF", **deflated, icc_profile=profile()),
        encode(im, "TIFF", compression="jpeg"),
        encode(im.convert("1"), "TIFF", compression="group4"),
        encode(im.convert("F"), "TIFF"),
        encode(im.convert("LAB"), "TIFF"),
        encode(im.quantize(9), "TIFF", compression="packbits", save_all=True, append_images=[im]),
        encode(im, "TIFF", big_tiff=True),
    ]


def avifs(im: Image.Image) -> list[bytes]:
    return [
        encode(im.resize((24, 16)), "AVIF", exif=exif(7)),
        encode(im.convert("RGBA").resize((24, 16)), "AVIF", icc_profile=profile()),
    ]


def jpeg2000s(im: Image.Image) -> list[bytes]:
    return [
        encode(im, "JPEG2000", tile_size=(32, 32)),
        encode(im.convert("LA"), "JPEG2000", irreversible=True, quality_layers=[9]),
        encode(im.convert("L"), "JPEG2000", no_jp2=True, comment="x"),
    ]


def ppms(im: Image.Image) -> list[bytes]:
    modes = ("RGB", "L", "1", "F")
    files = [encode(im.convert(mode), "PPM") for mode in modes]
    wide = Image.fromarray(np.asarray(im.convert("L")).astype(np.uint16) * 257)
    return [*files, encode(wide, "PPM"), b"P6 8 8 100\n" + im.tobytes()[:192]]


def icons(im: Image.Image) -> list[bytes]:
    sizes = {"sizes": [(32, 32), (16, 16)]}
    return [
        encode(im, "ICO", **sizes),
        encode(im.convert("RGBA"), "ICO", bitmap_format="bmp", **sizes),
        encode(im.convert("P"), "ICO", bitmap_format="bmp", **sizes),
    ]


def noise(_: Image.Image) -> list[bytes]:
    return [magic + np.random.default_rng(at).bytes(300) for at, magic in enumerate(MAGICS)]


#: Format -> its files, and how many times as many examples as of others there is time for.
KINDS: dict[str, tuple[Callable[[Image.Image], list[bytes]], float]] = {
    "JPEG": (jpegs, 2),
    "PNG": (pngs, 2),
    "GIF": (gifs, 1),
    "WEBP": (webps, 1),
    "BMP": (bmps, 1),
    "TIFF": (tiffs, 2),
    "JPEG2000": (jpeg2000s, 1),
    "PPM": (ppms, 1),
    "ICO": (icons, 1),
    "noise": (noise, 2),
}
if PIL.features.check("avif"):
    KINDS["AVIF"] = (avifs, 0.5)


def mended(file: bytes) -> bytes:
    """Correct the checksums of a PNG file, for what is in its chunks to be looked at."""
    at, out = 8, bytearray(file)
    while at + 12 <= len(out):
        end = at + 8 + int.from_bytes(out[at : at + 4], "big")
        out[end : end + 4] = struct.pack(">I", zlib.crc32(out[at + 4 : end]))
        at = end + 4
    return bytes(out)


EXTREMES = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 2**31 - 1, 2**31, 2**32 - 1]


@st.composite
def forged(draw: st.DrawFn, files: list[bytes]) -> bytes:
    """Draw a file with some things wrong, most of them near its beginning."""
    file = bytearray(draw(st.sampled_from(files)))
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 4]))):
        reach = draw(st.sampled_from([40, 200, 1000, len(file)]))
        at = draw(st.integers(0, max(0, min(reach, len(file) - 1))))
        act = draw(st.sampled_from(["flip", "number", "cut", "insert", "drop", "splice", "repeat"]))
        if act == "flip":
            file[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif act == "number":
            count = draw(st.sampled_from([2, 4]))
            value = draw(st.sampled_from(EXTREMES) | st.integers(0, 5000)) % 256**count
            file[at : at + count] = value.to_bytes(count, draw(st.sampled_from(["little", "big"])))
        elif act == "cut":
            del file[draw(st.integers(at, len(file))) :]
        elif act == "insert":
            file[at:at] = draw(st.binary(max_size=40))
        elif act == "drop":
            del file[at : at + draw(st.integers(1, 60))]
        elif act == "splice":
            other = draw(st.sampled_from(files))
            file[at:] = other[draw(st.integers(0, len(other))) :]
        else:
            file[at:at] = file[at : at + draw(st.integers(1, 200))] * draw(st.integers(1, 30))
    if file.startswith(b"\x89PNG") and draw(st.integers(0, 3)):
        return mended(bytes(file))
    return bytes(file)


# -- the program


def peak_memory() -> int:
    """Return the most bytes that this process has held; without those of its parent."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def run(kind: str, examples: int, number: int, folder: Path, last: Path) -> None:
    # The package itself imports LanceDB, which takes longer than all else here.
    package = types.ModuleType("lancedb_embedders")
    package.__path__ = [str(ROOT / "lancedb_embedders")]
    sys.modules["lancedb_embedders"] = package
    from lancedb_embedders.errors import ImageError
    from lancedb_embedders.inputs.images.decode import decode

    photo = Image.open(folder / "img_coco/a/images/000000000790.jpg").convert("RGB")
    files = KINDS[kind][0](photo.resize((48, 36)))
    for file in files:
        if kind != "noise":
            decode(file, MAX_PIXELS)

    @seed(number)
    @settings(
        max_examples=round(examples * KINDS[kind][1]),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(forged(files), st.sampled_from([None, (8, 8)]))
    def check(file: bytes, at_least: tuple[int, int] | None) -> None:
        last.write_bytes(file)
        try:
            picture = decode(file, MAX_PIXELS, at_least)
        except ImageError:
            outcomes["refused"] += 1
            return
        outcomes["read"] += 1
        assert picture.mode == "RGB"
        assert 0 < picture.width * picture.height <= MAX_PIXELS
        assert len(picture.tobytes()) == 3 * picture.width * picture.height

    outcomes: Counter[str] = Counter()
    before = peak_memory()
    check()
    grown = peak_memory() - before
    print(f"{kind}: {dict(outcomes)}, {grown / 1e6:.0f} MB")  # noqa: T201
    assert grown < MAX_MEMORY
    assert outcomes["refused"]
    assert outcomes["read"] or kind == "noise"


def fuzz(kind: str, examples: int, number: int, data: Path, last: Path, limit: float) -> None:
    arguments = [kind, str(examples), str(number), str(data.resolve()), str(last), str(limit)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, *arguments],
        capture_output=True,
        text=True,
        timeout=limit + 60,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    print(done.stdout)  # noqa: T201
    assert done.returncode == 0, (
        f"seed {number}, file of the last example: {last}\n{done.stdout}\n{done.stderr[-5000:]}"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files(kind: str, data: Path, tmp_path: Path) -> None:
    fuzz(kind, 150, 1, data, tmp_path / "last", limit=120)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_damaged_files(kind: str, data: Path, tmp_path: Path) -> None:
    number = int(os.environ.get("IMAGE_FUZZ_SEED", random.randrange(2**32)))
    fuzz(kind, 5000, number, data, tmp_path / "last", limit=900)


if __name__ == "__main__":
    faulthandler.enable()
    faulthandler.dump_traceback_later(float(sys.argv[6]), exit=True)
    run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), Path(sys.argv[5]))
