"""What bytes are, told by how they begin and never by a name."""

from __future__ import annotations

import re

#: Bytes from the beginning that tell what a file is.
HEAD = 1024

# Formats that hold pixels and whose readers run no other program. Text forms of PPM are left
# out: they take hours to read if they are made for that.
_PICTURES = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "GIF": rb"GIF8[79]a",
    "WEBP": rb"RIFF.{4}WEBPVP8",
    "AVIF": rb".{4}ftyp(.{4}){0,15}?avi[fs]",
    "HEIF": rb".{4}ftyp(.{4}){0,15}?(hei[cxms]|hev[cx]|mif1|msf1)",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "BMP": rb"BM.{12}[\x0c(48@l|]\0\0\0",
    "JPEG2000": rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n",
    "PPM": rb"P[456f]\s",
    "ICO": rb"\0\0\x01\0",
}
_OTHERS = {
    "an HTML page, not a picture": rb"(\xef\xbb\xbf)?\s*<(?i:!doctype html|html|head|body)\b",
    "an SVG drawing, not pixels; render it to PNG": rb"(\xef\xbb\xbf)?\s*<(.*<)?svg\b",
    "an XML document, not a picture": rb"(\xef\xbb\xbf)?\s*<\?xml\b",
    "JSON, not a picture": rb'(\xef\xbb\xbf)?\s*[\[{]\s*["\[{\]}\d-]',
    "a PDF document, not a picture; render its pages to PNG": rb"%PDF",
    "a PostScript document, not pixels; render it to PNG": rb"%!PS|\xc5\xd0\xd3\xc6",
    "a Photoshop document; export it to PNG": rb"8BPS",
    "a video, not a picture; extract a frame": rb".{4}ftyp|\x1aE\xdf\xa3|RIFF.{4}AVI ",
    "a ZIP archive, not a picture": rb"PK\x03\x04",
    "a gzip file, not a picture": rb"\x1f\x8b",
    "a pointer of Git LFS, not the picture; run git lfs pull": rb"version https://git-lfs",
    "base64 text; decode it, or put it into a data: reference": rb"/9j/|iVBORw0KGgo|R0lGOD|UklGR",
    "nothing but zeros": rb"\0+\Z",
    "text, not a picture": rb"[\t\n\r -~]+\Z",
}
# A scan of a JPEG file, and how many layers there are to the tiles of one of JPEG 2000.
_SCAN = re.compile(rb"\xff\xda\0[\x06\x08\x0a\x0c][\x01-\x04]")
_LAYERS = re.compile(rb"\xff\x52\0[\x0c-\x2d][\0-\x07][\0-\x04](..)[\0\x01][\0-\x20]", re.DOTALL)
_TILE = b"\xff\x90\0\x0a"


def picture_format(head: bytes) -> str | None:
    r"""Return the format of a file that begins with `head`, as Pillow calls it.

    Examples
    --------
    >>> picture_format(b"\x89PNG\r\n\x1a\n...")
    'PNG'
    >>> picture_format(b"%PDF-1.7") is None
    True
    """
    return _first(_PICTURES, head)


def describe_other(head: bytes) -> str:
    """Say what a file is that is no picture.

    Examples
    --------
    >>> describe_other(b"<!DOCTYPE html><title>Not found</title>")
    'an HTML page, not a picture'
    """
    if not head:
        return "empty: 0 bytes"
    known = ", ".join(_PICTURES)
    return _first(_OTHERS, head) or f"no picture in a known format ({known})"


def announced_size(name: str, data: bytes) -> tuple[int, int]:
    """Return width and height of a GIF or WebP file, for which Pillow makes room as it opens them.

    Of other formats, and of files that end before, (0, 0).
    """
    if name == "GIF":
        return _gif_size(data)
    if name == "WEBP":
        return _webp_size(data)
    return (0, 0)


def passes(name: str, data: bytes) -> int:
    """Return over how many parts a file has its reader go, where that is the file's to choose."""
    if name == "JPEG":
        return len(_SCAN.findall(data))
    if name == "JPEG2000":
        layers = [int.from_bytes(count, "big") for count in _LAYERS.findall(data)]
        return data.count(_TILE) * max(layers, default=1)
    return 0


def _first(patterns: dict[str, bytes], head: bytes) -> str | None:
    return next((name for name in patterns if re.match(patterns[name], head, re.DOTALL)), None)


def _webp_size(data: bytes) -> tuple[int, int]:
    if data[12:16] == b"VP8X":
        return _little(data, 24, 3) + 1, _little(data, 27, 3) + 1
    if data[12:16] == b"VP8L":
        bits = _little(data, 21, 4)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return _little(data, 26, 2) & 0x3FFF, _little(data, 28, 2) & 0x3FFF


def _gif_size(data: bytes) -> tuple[int, int]:
    """Return the size of the canvas, grown where the first frame reaches past it."""
    width, height, flags = _little(data, 6, 2), _little(data, 8, 2), _little(data, 10, 1)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while data[at : at + 1] not in (b"", b",", b";"):
        if data[at] == ord("!"):
            at += 2
            while _little(data, at, 1):
                at += 1 + data[at]
        at += 1
    left, top = _little(data, at + 1, 2), _little(data, at + 3, 2)
    return (
        max(width, left + _little(data, at + 5, 2)),
        max(height, top + _little(data, at + 7, 2)),
    )


def _little(data: bytes, at: int, count: int) -> int:
    return int.from_bytes(data[at : at + count], "little")
