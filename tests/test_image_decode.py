"""From bytes and from pixels to upright 8-bit sRGB: formats, modes, colours, limits, damage."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.features
import pyarrow as pa
import pytest
from PIL import Image, ImageCms, ImageFile

from lancedb_embedders.errors import ImageError
from lancedb_embedders.inputs.images import colour
from lancedb_embedders.inputs.images.decode import decode, from_pixels

LIMIT = 89_478_485
AVIF = PIL.features.check("avif")


def encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def photos(data: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted((data / "img_coco/a/images").glob("*.jpg"))]


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def numbers(picture: Image.Image) -> npt.NDArray[np.int16]:
    return np.asarray(picture, dtype=np.int16)


def difference(one: Image.Image, other: Image.Image) -> float:
    assert one.size == other.size
    return float(np.abs(numbers(one) - numbers(other)).mean())


def reason(data: Any, max_pixels: int = LIMIT) -> str:
    with pytest.raises(ImageError) as caught:
        decode(data, max_pixels)
    return str(caught.value)


@pytest.fixture(autouse=True)
def _no_bomb_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


@pytest.fixture(scope="module")
def photo(data: Path) -> Image.Image:
    return opened(photos(data)[3])


#: Name -> how to write a picture so, and by how much it may then differ.
FORMATS: dict[str, tuple[Callable[[Image.Image], bytes], float]] = {
    "JPEG": (lambda im: encode(im, "JPEG", quality=95), 3),
    "JPEG progressive": (lambda im: encode(im, "JPEG", quality=95, progressive=True), 3),
    "JPEG with restarts": (lambda im: encode(im, "JPEG", restart_marker_blocks=5), 6),
    "JPEG of CMYK": (lambda im: encode(im.convert("CMYK"), "JPEG", quality=95), 3),
    "MPO": (lambda im: encode(im, "MPO", save_all=True, append_images=[im.rotate(9)]), 6),
    "PNG": (lambda im: encode(im, "PNG"), 0),
    "PNG of 16 bits": (lambda im: png(numbers(im).astype(np.uint16) * 257, 2), 0),
    "PNG with a palette": (lambda im: encode(im.quantize(256), "PNG"), 8),
    "APNG": (lambda im: encode(im, "PNG", save_all=True, append_images=[im.rotate(9)]), 0),
    "GIF": (lambda im: encode(im, "GIF"), 16),
    "GIF animated": (lambda im: encode(im, "GIF", save_all=True, append_images=[im.rotate(9)]), 16),
    "WEBP": (lambda im: encode(im, "WEBP", quality=95), 5),
    "WEBP lossless": (lambda im: encode(im, "WEBP", lossless=True), 0),
    "WEBP animated": (
        lambda im: encode(im, "WEBP", save_all=True, append_images=[im.rotate(9)], lossless=True),
        0,
    ),
    "BMP": (lambda im: encode(im, "BMP"), 0),
    "BMP with a palette": (lambda im: encode(im.quantize(256), "BMP"), 8),
    "TIFF": (lambda im: encode(im, "TIFF"), 0),
    "TIFF of LZW": (lambda im: encode(im, "TIFF", compression="tiff_lzw"), 0),
    "TIFF of JPEG": (lambda im: encode(im, "TIFF", compression="jpeg", quality=95), 3),
    "TIFF deflated": (lambda im: encode(im, "TIFF", compression="tiff_adobe_deflate"), 0),
    "TIFF of pages": (
        lambda im: encode(im, "TIFF", save_all=True, append_images=[im.rotate(9)]),
        0,
    ),
    "TIFF of LAB": (lambda im: encode(to_lab(im), "TIFF"), 4),
    "BigTIFF": (lambda im: encode(im, "TIFF", big_tiff=True), 0),
    "JPEG2000": (lambda im: encode(im, "JPEG2000"), 0),
    "JPEG2000 codestream": (lambda im: encode(im, "JPEG2000", no_jp2=True), 0),
    "PPM": (lambda im: encode(im, "PPM"), 0),
}
if AVIF:
    FORMATS["AVIF"] = (lambda im: encode(im, "AVIF", quality=95), 4)
    FORMATS["AVIF animated"] = (
        lambda im: encode(im, "AVIF", save_all=True, append_images=[im.rotate(9)], quality=95),
        6,
    )
ANIMATED = {"MPO", "APNG", "GIF animated", "TIFF of pages"}


def to_lab(picture: Image.Image) -> Image.Image:
    to = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    return to.apply(picture)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(pixels: npt.NDArray[Any], colour_type: int, *chunks: bytes, claims: Any = None) -> bytes:
    """Write a PNG file of 8 or 16 bits, as PIL cannot, that may claim another size."""
    height, width = claims or pixels.shape[:2]
    depth = 8 * pixels.dtype.itemsize
    rows = pixels.astype(">u2" if depth == 16 else "u1").reshape(pixels.shape[0], -1).view(np.uint8)
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    body = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())
    parts = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", body), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


# -- formats


def test_photos_come_as_pillow_reads_them(data: Path) -> None:
    files = photos(data)
    for name in ("img_cifar10", "img_fashion"):
        with zipfile.ZipFile(data / name / "a.zip") as archive:
            files += [archive.read(member) for member in archive.namelist()[::10]]
    files += [encode(opened(file).convert("L"), "JPEG") for file in files[:5]]
    files += [encode(opened(file), "PNG") for file in files[:5]]
    assert len(files) > 100
    for file in files:
        picture = decode(file, LIMIT)
        assert picture.mode == "RGB"
        assert picture.tobytes() == opened(file).tobytes()


@pytest.mark.parametrize("kind", FORMATS)
def test_formats(kind: str, photo: Image.Image) -> None:
    write, tolerance = FORMATS[kind]
    file = write(photo)
    picture = decode(file, LIMIT)
    assert (picture.mode, picture.size) == ("RGB", photo.size)
    assert difference(picture, photo) <= tolerance
    assert picture.tobytes() == decode(file, LIMIT, (4000, 4000)).tobytes()


def test_the_largest_and_deepest_picture_of_an_icon(photo: Image.Image) -> None:
    for kind in ("png", "bmp"):
        file = encode(photo, "ICO", sizes=[(16, 16), (64, 64), (32, 32)], bitmap_format=kind)
        picture = decode(file, LIMIT)
        assert max(picture.size) == 64
        small = photo.resize(picture.size)
        assert difference(picture, small) < 8


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, pa.py_buffer])
def test_bytes_of_every_kind(wrap: Any, photo: Image.Image) -> None:
    file = encode(photo, "PNG")
    assert decode(wrap(file), LIMIT).tobytes() == photo.tobytes()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>", "an HTML page, not a picture"),
        (b"\xef\xbb\xbf\n <html lang=en>", "an HTML page"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"<?xml version='1.0'?>\n<!-- x -->\n<svg width='1'>", "an SVG drawing"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "an XML document"),
        (b'{"error": "not found"}', "JSON"),
        (b"[1, 2]", "JSON"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "a PostScript document"),
        (b"\xc5\xd0\xd3\xc6\x20\0\0\0", "a PostScript document"),
        (b"8BPS\0\1", "a Photoshop document"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0isom", "a video"),
        (b"\x1aE\xdf\xa3", "a video"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"\x1f\x8b\x08", "a gzip file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"iVBORw0KGgoAAAANSUhEUg==", "base64"),
        (bytes(100), "zeros"),
        (b"Not Found", "text"),
        (b"BMW is no bitmap", "text"),
        (b"P3 1 1 255 1 2 3", "text"),
        (b"\xd7\xcd\xc6\x9a\0\0", "no picture in a known format (JPEG, PNG"),
        (b"\x01\x02\x03", "no picture in a known format"),
    ],
)
def test_what_is_no_picture_is_told(content: bytes, said: str) -> None:
    assert said in reason(content)


def test_heic_is_read_by_a_plug_in(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    file = b"\0\0\0\x1cftypheic\0\0\0\0mif1heic"
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    assert "pip install pillow-heif" in reason(file)
    plug_in = (lambda _file, _name: Image.open(io.BytesIO(encode(photo, "PNG"))), None)
    monkeypatch.setitem(Image.OPEN, "HEIF", plug_in)
    assert decode(file, LIMIT).tobytes() == photo.tobytes()


def test_the_format_is_told_by_the_bytes(photo: Image.Image) -> None:
    # As PIL would let an EPS or a FITS file in, by their content too.
    for kind in ("EPS", "PDF", "TGA", "SGI", "PCX", "DIB"):
        with pytest.raises(ImageError):
            decode(encode(photo, kind), LIMIT)


# -- damage


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", FORMATS)
def test_files_that_end_too_early(kind: str, photo: Image.Image) -> None:
    file = FORMATS[kind][0](photo)
    whole = decode(file, LIMIT)
    name = {"MPO": "JPEG", "APNG": "PNG", "BigTIFF": "TIFF"}.get(kind, kind.split()[0])
    for percent in (1, 5, 10, 20, 30, 40, 60, 70, 80, 90, 95):
        cut = file[: len(file) * percent // 100]
        if kind in ANIMATED and percent > 50:  # what is missing is not asked for
            assert decode(cut, LIMIT).tobytes() == whole.tobytes()
            continue
        for at_least in (None, (16, 16)):
            with pytest.raises(ImageError, match=f"an? {name} file that is cut short"):
                decode(cut, LIMIT, at_least)


def test_what_pillow_reads_of_cut_files_is_its_users_to_say(
    photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = encode(photo, "JPEG")[:-3000]
    assert "JPEG file" in reason(file)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert decode(file, LIMIT).size == photo.size


# -- limits


def tiff_of(width: int, height: int) -> bytes:
    file = encode(Image.new("RGB", (16, 16)), "TIFF", compression="tiff_lzw")
    for tag, value in ((256, width), (257, height)):
        at = file.index(struct.pack("<HHIH", tag, 3, 1, 16))
        file = patched(file, at, struct.pack("<HHII", tag, 4, 1, value))
    return file


def bmp_of(width: int, height: int, bits: int = 24, compression: int = 0) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 1078) + info + bytes(range(256)) * 4 + bytes(64)


def icon_of(inner: bytes) -> bytes:
    return b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22) + inner


def patched(file: bytes, at: int, new: bytes) -> bytes:
    return file[:at] + new + file[at + len(new) :]


def giants(side: int) -> dict[str, bytes]:
    """Return small files that claim to be squares of `side`."""
    small = Image.new("RGB", (16, 16))
    pixels = np.zeros((2, 2, 3), np.uint8)
    jpeg, gif, jp2 = (encode(small, kind) for kind in ("JPEG", "GIF", "JPEG2000"))
    webp = encode(small, "WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0")
    two, four = (side.to_bytes(count, "big") for count in (2, 4))
    little = side.to_bytes(2, "little")
    assert webp[12:16] == b"VP8X"
    return {
        "JPEG": patched(jpeg, jpeg.index(b"\xff\xc0") + 5, two + two),
        "PNG": png(pixels, 2, claims=(side, side)),
        "GIF": patched(gif, 6, little + little),
        "GIF whose frame is larger": patched(gif, gif.rindex(b",") + 5, little + little),
        "WEBP": patched(webp, 24, ((side - 1).to_bytes(3, "little")) * 2),
        "BMP": bmp_of(side, side),
        "TIFF": tiff_of(side, side),
        "JPEG2000": patched(jp2, jp2.index(b"ihdr") + 4, four + four),
        "PPM": b"P6 %d %d 255\n" % (side, side) + bytes(100),
        "ICO of PNG": icon_of(png(pixels, 2, claims=(side, side))),
        "ICO of BMP": icon_of(bmp_of(side, 2 * side, 32)[14:]),
    }


@pytest.mark.parametrize("kind", giants(200))
@pytest.mark.parametrize("side", [9500, 14_000, 16_000, 65_000])
def test_claims_are_checked_before_anything_is_read(kind: str, side: int) -> None:
    if kind == "WEBP" and side > 16_383:
        pytest.skip("WebP has no such size")
    file = giants(side)[kind]
    assert f"{side:,} x " in reason(file)
    assert "LANCEDB_EMBEDDERS_MAX_IMAGE_PIXELS" in reason(file)


def test_the_limit_counts_pixels(photo: Image.Image) -> None:
    for kind in FORMATS:
        if kind.startswith("JPEG2000"):
            continue
        file = FORMATS[kind][0](photo)
        pixels = photo.width * photo.height
        assert decode(file, pixels).size == photo.size
        assert f"{photo.width} x {photo.height} pixels" in reason(file, pixels - 1)
    with pytest.raises(ImageError, match="pixels, more than the 10 that"):
        from_pixels(photo, 10)
    with pytest.raises(ImageError, match="pixels, more than the 10 that"):
        from_pixels(np.asarray(photo), 10)


def test_decoders_that_take_more_may_have_fewer_pixels(photo: Image.Image) -> None:
    pixels = photo.width * photo.height
    file = encode(photo, "JPEG2000")
    assert decode(file, 4 * pixels).size == photo.size
    assert "allowed of this kind" in reason(file, 4 * pixels - 4)
    assert "allowed of this kind" in reason(bmp_of(5000, 5000, 8, 1))


def test_pillows_own_limit_holds_and_stays_as_it_is(
    photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = encode(photo, "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert "raise PIL.Image.MAX_IMAGE_PIXELS" in reason(file)
    assert Image.MAX_IMAGE_PIXELS == 1000
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert decode(file, LIMIT).size == photo.size


def test_passes_without_end_are_refused(photo: Image.Image) -> None:
    file = encode(photo, "JPEG", progressive=True)
    scan = file[file.rindex(b"\xff\xda") : -2]
    assert decode(file[:-2] + scan * 20 + file[-2:], LIMIT).size == photo.size
    assert "too long" in reason(file[:-2] + scan * 200 + file[-2:])
    # A video behind the picture, as telephones put it there, is no part of it.
    video = np.random.default_rng(0).bytes(10_000_000)
    assert decode(file + video, LIMIT).tobytes() == decode(file, LIMIT).tobytes()

    file = encode(photo, "JPEG2000", tile_size=(16, 16))
    layers = file.index(b"\xff\x52") + 6
    assert decode(patched(file, layers, b"\0\x0a"), LIMIT).size == photo.size
    assert "too long" in reason(patched(file, layers, b"\xff\xff"))


# -- which way is up

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
WITH_EXIF = ["JPEG", "PNG", "WEBP", "TIFF", "MPO", *(["AVIF"] if AVIF else [])]


@pytest.mark.parametrize("kind", WITH_EXIF)
@pytest.mark.parametrize("orientation", range(10))
def test_exif_says_which_way_is_up(kind: str, orientation: int, photo: Image.Image) -> None:
    expected = photo.transpose(TURNS[orientation]) if orientation in TURNS else photo
    more: dict[str, Any] = {"save_all": True, "append_images": [photo]} if kind == "MPO" else {}
    for at_least in (None, (40, 70), (70, 40)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        picture = decode(encode(photo, kind, exif=exif, **more), LIMIT, at_least)
        assert (picture.width > picture.height) == (expected.width > expected.height)
        if at_least:
            assert all(
                side >= 2 * least for side, least in zip(picture.size, at_least, strict=True)
            )
        assert difference(picture.resize((72, 72)), expected.resize((72, 72))) < 6
        assert picture.info == {}
        again = from_pixels(picture, LIMIT)
        assert again.tobytes() == picture.tobytes()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0garbage",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
        b"Exif\0\0MM\0*\xff\xff\xff\xff\0\0",
        b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\x63\0\0\0\0\0\0",
        b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\2\0\0\0\1x\0\0\0\0\0\0\0",
        b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\5\0\0\0\1\0\0\0\x1a\0\0\0\0\0\0\0\6\0\0\0\0",
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_that_makes_no_sense_is_ignored(kind: str, exif: bytes, photo: Image.Image) -> None:
    for at_least in (None, (50, 50)):
        picture = decode(encode(photo, kind, exif=exif), LIMIT, at_least)
        assert difference(picture.resize(photo.size), photo) < 12


# -- modes and depths

ANY = npt.NDArray[Any]
RAMP = np.tile(np.arange(256, dtype=np.uint8), (4, 1))


def grey(levels: ANY) -> ANY:
    return np.repeat(np.asarray(levels)[..., np.newaxis], 3, axis=-1)


def with_palette(alpha: bytes | int | None, rawmode: str = "RGB") -> Image.Image:
    picture = Image.fromarray(RAMP).convert("P")
    colours = np.repeat(np.arange(256, dtype=np.uint8), len(rawmode))
    picture.putpalette(colours.tobytes(), rawmode)
    if alpha is not None:
        picture.info["transparency"] = alpha
    return picture


def of_two_bands(mode: str) -> Image.Image:
    picture = Image.fromarray(RAMP).convert("LA")
    picture.putalpha(128)
    if mode == "PA":
        return Image.merge("PA", [with_palette(None), picture.getchannel("A")])
    return picture.convert(mode)


def over_white(levels: ANY, alpha: ANY | int) -> ANY:
    share = np.asarray(alpha) / 255
    return np.asarray(levels * share + 255 * (1 - share))


ZERO_IS_CLEAR = over_white(RAMP, np.where(RAMP == 7, 0, 255))
MODES: dict[str, tuple[Callable[[], Image.Image], ANY]] = {
    "1": (lambda: Image.fromarray(RAMP > 99), np.where(RAMP > 99, 255, 0)),
    "L": (lambda: Image.fromarray(RAMP), RAMP),
    "L, one grey transparent": (lambda: keyed(Image.fromarray(RAMP), 7), ZERO_IS_CLEAR),
    "RGB, one colour transparent": (
        lambda: keyed(Image.fromarray(RAMP).convert("RGB"), (7, 7, 7)),
        ZERO_IS_CLEAR,
    ),
    "P": (lambda: with_palette(None), RAMP),
    "P, one colour transparent": (lambda: with_palette(7), ZERO_IS_CLEAR),
    "P, alpha by colour": (lambda: with_palette(bytes(range(256))), over_white(RAMP, RAMP)),
    "P, alpha in the palette": (lambda: with_palette(None, "RGBA"), over_white(RAMP, RAMP)),
    "PA": (lambda: of_two_bands("PA"), over_white(RAMP, 128)),
    "LA": (lambda: of_two_bands("LA"), over_white(RAMP, 128)),
    "La": (lambda: of_two_bands("La"), over_white(RAMP, 128)),
    "RGBA": (lambda: of_two_bands("RGBA"), over_white(RAMP, 128)),
    "RGBa": (lambda: of_two_bands("RGBA").convert("RGBa"), over_white(RAMP, 128)),
    "RGBX": (lambda: Image.fromarray(RAMP).convert("RGBX"), RAMP),
    "CMYK": (lambda: Image.fromarray(RAMP).convert("RGB").convert("CMYK"), RAMP),
    "YCbCr": (lambda: Image.fromarray(RAMP).convert("YCbCr"), RAMP),
    "LAB": (lambda: to_lab(Image.fromarray(RAMP).convert("RGB")), RAMP),
    "HSV": (lambda: Image.fromarray(RAMP).convert("RGB").convert("HSV"), RAMP),
    "I;16": (lambda: Image.fromarray(RAMP.astype(np.uint16) * 257), RAMP),
    "I;16B": (lambda: bands_of_16("I;16B"), RAMP),
    "I;16L": (lambda: bands_of_16("I;16L"), RAMP),
    "I;16N": (lambda: bands_of_16("I;16N"), RAMP),
    "I of 8 bits": (lambda: Image.fromarray(RAMP.astype(np.int32)), RAMP),
    "I of 16 bits": (lambda: Image.fromarray(RAMP.astype(np.int32) * 257), RAMP),
    "I of 24 bits": (lambda: Image.fromarray(RAMP.astype(np.int32) * 60_000), RAMP),
    "I below zero": (lambda: Image.fromarray(RAMP.astype(np.int32) - 9), RAMP),
    "F of 0 to 1": (lambda: Image.fromarray(RAMP.astype(np.float32) / 255), RAMP),
    "F of some of 0 to 1": (
        lambda: Image.fromarray(RAMP.astype(np.float32) / 510),
        RAMP.astype(float) / 2,
    ),
    "F of any range": (lambda: Image.fromarray(RAMP.astype(np.float32) * 3 - 50), RAMP),
    "F with NaN and infinity": (
        lambda: Image.fromarray(odd_numbers()),
        np.where(RAMP == 1, 0, np.where(RAMP == 2, 255, np.where(RAMP == 3, 0, RAMP))),
    ),
    "F of one number": (lambda: Image.new("F", (256, 4), 1e30), RAMP * 0),
    "F of NaN": (lambda: Image.new("F", (256, 4), float("nan")), RAMP * 0),
}


def keyed(picture: Image.Image, colour_: Any) -> Image.Image:
    picture.info["transparency"] = colour_
    return picture


def bands_of_16(mode: str) -> Image.Image:
    raw = (RAMP.astype(np.uint16) * 257).astype(">u2" if mode == "I;16B" else "<u2")
    return Image.frombytes(mode, (256, 4), raw.tobytes())


def odd_numbers() -> ANY:
    floats = RAMP.astype(np.float32) / 255
    floats[:, 1], floats[:, 2], floats[:, 3] = np.nan, np.inf, -np.inf
    return floats


@pytest.mark.parametrize("mode", MODES)
def test_modes(mode: str) -> None:
    make, expected = MODES[mode]
    picture = make()
    before, info = picture.tobytes(), dict(picture.info)
    palette = picture.palette.tobytes() if picture.palette else None
    result = from_pixels(picture, LIMIT)
    assert result.mode == "RGB"
    # Two roundings at most, and those of LAB, whose steps are wide.
    assert np.abs(numbers(result) - grey(expected)).max() <= (4 if mode == "LAB" else 2)
    assert result is not picture
    assert (picture.tobytes(), picture.info) == (before, info)
    assert palette == (picture.palette.tobytes() if picture.palette else None)


def test_strips_leave_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    tall = np.random.default_rng(0).integers(0, 256, (701, 53), dtype=np.uint8)
    for levels in (tall, tall.astype(np.uint16) * 257, tall.astype(np.float32) / 255):
        whole = from_pixels(Image.fromarray(levels), LIMIT)
        assert np.abs(numbers(whole) - grey(tall)).max() <= 1
        with monkeypatch.context() as patch:
            patch.setattr(colour, "_STRIP", 500)
            assert from_pixels(Image.fromarray(levels), LIMIT).tobytes() == whole.tobytes()


def test_16_bits_in_files() -> None:
    wide = RAMP.astype(np.uint16) * 257
    files = {
        "grey PNG": (png(wide, 0), RAMP),
        "RGB PNG": (png(grey(wide), 2), RAMP),
        "grey and alpha PNG": (png(np.stack([wide, wide], axis=-1), 4), over_white(RAMP, RAMP)),
        "grey TIFF": (encode(Image.fromarray(wide), "TIFF"), RAMP),
        "LZW TIFF": (encode(Image.fromarray(wide), "TIFF", compression="tiff_lzw"), RAMP),
        "big-endian TIFF": (encode(bands_of_16("I;16B"), "TIFF"), RAMP),
        "PGM": (encode(Image.fromarray(wide), "PPM"), RAMP),
        "dark PGM": (b"P5 2 1 65535\n\0\0\0\xff", np.array([[0, 0]])),
        "float TIFF": (encode(Image.fromarray(RAMP / np.float32(255)), "TIFF"), RAMP),
        "PFM": (encode(Image.fromarray(RAMP / np.float32(255)), "PPM"), RAMP),
    }
    for name, (file, expected) in files.items():
        assert np.abs(numbers(decode(file, LIMIT)) - grey(expected)).max() <= 1, name


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "GIF"])
def test_what_is_transparent_shows_white(kind: str, photo: Image.Image) -> None:
    clear = photo.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(photo.size).point(lambda v: 255 * (v > 127)))
    options = {"lossless": True} if kind == "WEBP" else {}
    picture = decode(encode(clear, kind, **options), LIMIT)
    top = picture.crop((0, 0, photo.width, photo.height // 3))
    assert top.getextrema() == ((255, 255),) * 3
    bottom = (0, photo.height * 2 // 3, *photo.size)
    assert difference(picture.crop(bottom), photo.crop(bottom)) < (16 if kind == "GIF" else 0.01)


# -- colour spaces

D50, SRGB = (0.9642, 1, 0.8249), ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971))
ADOBE = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))


def fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def icc(
    space: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr", pcs: bytes = b"XYZ "
) -> bytes:
    at, body, table = 132 + 12 * len(tags), b"", struct.pack(">I", len(tags))
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", at + len(body), len(content))
        body += content
    head = struct.pack(">I4xI4s4s4s12x4s28x", at + len(body), 0x02100000, kind, space, pcs, b"acsp")
    return head + fixed(*D50) + bytes(48) + table + body


def curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))


def srgb_curve() -> bytes:
    levels = np.arange(1024) / 1023
    bent = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    return (
        b"curv"
        + bytes(4)
        + struct.pack(">I", 1024)
        + (bent * 65535).round().astype(">u2").tobytes()
    )


def rgb_profile(primaries: Any, bend: bytes) -> bytes:
    tags = {b"wtpt": b"XYZ " + bytes(4) + fixed(*D50)}
    for band, primary in zip((b"r", b"g", b"b"), primaries, strict=True):
        tags[band + b"XYZ"] = b"XYZ " + bytes(4) + fixed(*primary)
        tags[band + b"TRC"] = bend
    return icc(b"RGB ", tags)


def grey_profile(gamma: float) -> bytes:
    return icc(b"GRAY", {b"wtpt": b"XYZ " + bytes(4) + fixed(*D50), b"kTRC": curve(gamma)})


def cmyk_profile() -> bytes:
    """Return a press on which cyan prints as black and everything else prints nothing."""
    identity = fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    grid = b"".join(bytes([0 if i & 8 else 255, 128, 128]) for i in range(16))
    ramp = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + ramp * 4 + grid + ramp * 3
    return icc(
        b"CMYK", {b"wtpt": b"XYZ " + bytes(4) + fixed(*D50), b"A2B0": table}, b"prtr", b"Lab "
    )


BLUE = (0.1431, 0.0606, 0.7142)
AS_SRGB = {
    "as Hewlett-Packard wrote it": rgb_profile((*SRGB, BLUE), srgb_curve()),
    "as Little CMS writes it": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", *(["AVIF"] if AVIF else [])])
def test_profiles_are_followed(kind: str, photo: Image.Image) -> None:
    profile = rgb_profile(ADOBE, curve(2.2))
    file = encode(photo, kind, icc_profile=profile)
    plain = opened(file)
    expected = ImageCms.profileToProfile(
        plain,
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        outputMode="RGB",
    )
    assert expected is not None
    assert difference(expected, plain) > 3
    assert decode(file, LIMIT).tobytes() == expected.tobytes()
    assert from_pixels(Image.open(io.BytesIO(file)), LIMIT).tobytes() == expected.tobytes()


@pytest.mark.parametrize("profile", AS_SRGB.values(), ids=AS_SRGB)
def test_srgb_stays_as_it_is(profile: bytes, photo: Image.Image) -> None:
    for kind in ("JPEG", "PNG"):
        file = encode(photo, kind, icc_profile=profile)
        assert decode(file, LIMIT).tobytes() == opened(file).tobytes()


def test_profiles_of_other_modes(photo: Image.Image) -> None:
    ramp = Image.fromarray(RAMP)
    linear = numbers(decode(encode(ramp, "PNG", icc_profile=grey_profile(1.0)), LIMIT))[0, :, 0]
    assert linear[0] == 0
    assert abs(int(linear[55]) - 128) <= 2  # 0.2140 of the light is half of sRGB's scale
    assert linear[255] == 255

    wide = png(
        RAMP.astype(np.uint16) * 257, 0, chunk(b"iCCP", b"x\0\0" + zlib.compress(grey_profile(1.0)))
    )
    assert np.array_equal(numbers(decode(wide, LIMIT))[0, :, 0], linear)

    for picture in (ramp.convert("RGBA"), ramp.convert("RGB").quantize(256)):
        file = encode(picture, "PNG", icc_profile=rgb_profile((*SRGB, BLUE), curve(1.8)))
        bent = numbers(decode(encode(ramp, "PNG", icc_profile=grey_profile(1.8)), LIMIT))
        assert np.abs(numbers(decode(file, LIMIT)) - bent).max() <= 2

    inks = Image.merge("CMYK", [ramp, *(Image.new("L", ramp.size, 200) for _ in range(3))])
    for kind in ("TIFF", "JPEG"):
        printed = numbers(decode(encode(inks, kind, icc_profile=cmyk_profile()), LIMIT))[0, :, 0]
        assert printed[0] > 250
        assert printed[255] < 5
        plain = decode(encode(inks, kind), LIMIT)
        assert difference(plain, inks.convert("RGB")) < 6


@pytest.mark.parametrize(
    "profile",
    [
        b"no profile",
        rgb_profile(ADOBE, curve(2.2))[:200],
        rgb_profile(ADOBE, b"curv" + bytes(4) + struct.pack(">I", 2**31)),
        grey_profile(1.0),
        cmyk_profile(),
        rgb_profile(ADOBE, curve(2.2)) + bytes(5_000_000),
    ],
    ids=["text", "cut", "broken", "grey", "CMYK", "huge"],
)
def test_profiles_that_do_not_fit_are_ignored(profile: bytes, photo: Image.Image) -> None:
    file = encode(photo, "JPEG", icc_profile=profile)
    assert decode(file, LIMIT).tobytes() == opened(file).tobytes()


def test_profiles_are_read_once(photo: Image.Image) -> None:
    file = encode(photo, "PNG", icc_profile=rgb_profile(ADOBE, curve(1.7)))
    before = colour._transform.cache_info()
    for _ in range(5):
        decode(file, LIMIT)
    after = colour._transform.cache_info()
    assert after.misses == before.misses + 1
    assert after.maxsize is not None
    assert after.maxsize <= 32


# -- pixels in memory


def test_arrays(photo: Image.Image) -> None:
    rgb = np.asarray(photo)
    fractions = rgb / 255
    same = {
        "uint8": rgb,
        "uint8, not contiguous": np.asfortranarray(rgb),
        "uint8, upside down twice": rgb[::-1].copy()[::-1],
        "uint16": rgb.astype(np.uint16) * 257,
        "uint16, big-endian": (rgb.astype(np.uint16) * 257).astype(">u2"),
        "float32": fractions.astype(np.float32),
        "float64": fractions,
        "float64, overshooting": fractions * 1.004 - 0.002,
        "RGBA": np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)]),
        "RGBA of floats": np.dstack([fractions, np.ones(rgb.shape[:2])]),
    }
    for name, array in same.items():
        before = array.copy()
        result = from_pixels(array, LIMIT)
        assert np.abs(numbers(result) - rgb).max() <= (1 if "over" in name else 0), name
        assert np.array_equal(array, before)
    half = from_pixels(fractions.astype(np.float16), LIMIT)
    assert np.abs(numbers(half) - rgb).max() <= 1
    for array in (RAMP, RAMP[:, :, np.newaxis], RAMP.astype(np.uint16) * 257, RAMP / 255):
        assert np.array_equal(numbers(from_pixels(array, LIMIT)), grey(RAMP))
    assert np.array_equal(numbers(from_pixels(RAMP > 99, LIMIT)), grey((RAMP > 99) * 255))
    clear = np.dstack([rgb, np.zeros(rgb.shape[:2], np.uint8)])
    assert from_pixels(clear, LIMIT).getextrema() == ((255, 255),) * 3


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((3, 50, 40), np.uint8), "transpose(1, 2, 0)"),
        (np.zeros((1, 50, 40), np.float32), "transpose(1, 2, 0)"),
        (np.zeros((8, 50, 40, 3), np.uint8), "one by one"),
        (np.zeros((50, 40, 2), np.uint8), "1, 3 or 4 channels"),
        (np.zeros(50, np.uint8), "is no picture"),
        (np.zeros((), np.uint8), "is no picture"),
        (np.zeros((0, 40, 3), np.uint8), "no pixel"),
        (np.zeros((40, 0), np.float32), "no pixel"),
        (np.zeros((5, 4, 3), np.int64), "astype(numpy.uint8)"),
        (np.zeros((5, 4, 3), np.complex64), "complex64"),
        (np.zeros((5, 4, 3), object), "object"),
        (np.zeros((5, 4), "U3"), "<U3"),
        (np.full((5, 4, 3), 200.0), "scale it to 0..1"),
        (np.full((5, 4, 3), -1.0, np.float32), "scale it to 0..1"),
        (np.full((5, 4, 3), np.nan), "NaN"),
        (np.full((5, 4, 3), np.inf, np.float16), "infinity"),
    ],
)
def test_arrays_that_are_no_pictures(array: ANY, said: str) -> None:
    with pytest.raises(ImageError) as caught:
        from_pixels(array, LIMIT)
    assert said in str(caught.value)


def test_pillow_pictures_in_memory(photo: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = encode(photo, "JPEG", exif=exif)
    lazy = Image.open(io.BytesIO(file))
    assert from_pixels(lazy, LIMIT).tobytes() == decode(file, LIMIT).tobytes()
    assert (lazy.mode, lazy.size, lazy.getexif()[0x0112]) == ("RGB", photo.size, 6)

    copy = from_pixels(photo, LIMIT)
    assert copy is not photo
    assert copy.tobytes() == photo.tobytes()

    with pytest.raises(ImageError, match="a PIL image of mode RGB that is cut short"):
        from_pixels(Image.open(io.BytesIO(file[: len(file) // 2])), LIMIT)
    closed = Image.open(io.BytesIO(file))
    closed.close()
    with pytest.raises(ImageError):
        from_pixels(closed, LIMIT)
    with pytest.raises(ImageError, match="no pixel"):
        from_pixels(Image.new("RGB", (0, 5)), LIMIT)
    with pytest.raises(ImageError, match="but list"):
        from_pixels([[1, 2]], LIMIT)  # type: ignore[arg-type]


# -- at reduced scale


def enlarged(picture: Image.Image, long_side: int, seed: int) -> Image.Image:
    scale = long_side / max(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    large = numbers(picture.resize(size, Image.Resampling.BICUBIC))
    noise = np.random.default_rng(seed).normal(0, 5, large.shape)
    return Image.fromarray((large + noise).clip(0, 255).astype(np.uint8))


def mosaic(pictures: list[Image.Image], columns: int, cut: int) -> Image.Image:
    """Put photos side by side: detail as fine as that of a large photo that is sharp."""
    page = Image.new("RGB", (columns * 384, columns * 288))
    for at in range(columns * columns):
        picture = pictures[at % len(pictures)].resize((384, 288))
        page.paste(picture, (at % columns * 384, at // columns * 288))
    return page.crop((0, 0, page.width - cut, page.height - cut // 2))


def likeness(one: Image.Image, other: Image.Image, size: tuple[int, int]) -> float:
    a, b = (np.asarray(im.resize(size, Image.Resampling.BICUBIC), float) for im in (one, other))
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


@pytest.mark.slow
def test_smaller_pictures_look_the_same(data: Path) -> None:
    pictures = [opened(file) for file in photos(data)]
    large = [enlarged(pictures[at], side, at) for at, side in enumerate((2000, 2503, 4000))]
    large += [mosaic(pictures, columns, cut) for columns, cut in ((5, 0), (8, 7), (9, 13))]
    large += [large[1].transpose(Image.Transpose.ROTATE_90)]
    for number, picture in enumerate(large):
        kinds: list[tuple[str, dict[str, Any]]] = [("JPEG", {"quality": 90})]
        if number % 3 == 0:
            kinds += [("JPEG", {"subsampling": 0, "progressive": True}), ("BMP", {})]
        for kind, options in kinds:
            file = encode(picture, kind, **options)
            whole = decode(file, LIMIT)
            assert whole.size == picture.size
            for side in (224, 336):
                small = decode(file, LIMIT, (side, side))
                assert 2 * side <= min(small.size)
                if min(whole.size) >= (4 if kind == "JPEG" else 6) * side:
                    assert small.width * small.height < whole.width * whole.height / 3
                ratio = side / min(whole.size)
                size = (round(whole.width * ratio), round(whole.height * ratio))
                assert likeness(whole, small, size) > 0.999, (kind, whole.size, small.size)


def test_the_ratio_of_sides_stays(photo: Image.Image) -> None:
    random = np.random.default_rng(1)
    off = 0
    for _ in range(60):
        width, height = (int(side) for side in random.integers(900, 2600, 2))
        file = encode(photo.resize((width, height), Image.Resampling.NEAREST), "JPEG")
        small = decode(file, LIMIT, (100, 100))
        off += int(100 * max(width, height) / min(width, height)) != int(
            100 * max(small.size) / min(small.size)
        )
        assert min(small.size) >= 200
    assert off <= 3


def test_small_pictures_are_not_enlarged(photo: Image.Image) -> None:
    for kind in ("JPEG", "PNG"):
        file = encode(photo, kind)
        assert decode(file, LIMIT, (300, 300)).tobytes() == decode(file, LIMIT).tobytes()
        assert decode(file, LIMIT, (10_000, 10)).tobytes() == decode(file, LIMIT).tobytes()


# -- many at once


def test_threads_see_the_same(data: Path, photo: Image.Image) -> None:
    profile = rgb_profile(ADOBE, curve(2.2))
    files = [write(photo) for write, _ in FORMATS.values()] + photos(data)[:20]
    files += [encode(photo, "PNG", icc_profile=profile), encode(photo, "JPEG")[:-500]] * 5

    def outcome(file: bytes) -> bytes | str:
        try:
            return decode(file, LIMIT, (64, 64)).tobytes()
        except ImageError as error:
            return str(error)

    alone = [outcome(file) for file in files]
    colour._transform.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(outcome, files)) == alone
