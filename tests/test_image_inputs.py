"""Pictures from anywhere: what counts as one, and how its bytes are had."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import PIL.Image
import polars as pl
import pyarrow as pa
import pytest

from lancedb_embedders import ConfigurationError, Image, ImageError, InputError, settings
from lancedb_embedders.inputs.images.accept import accept_images, is_reference, unique
from lancedb_embedders.inputs.images.limits import ImageLimits
from lancedb_embedders.inputs.images.read import read_image

LIMITS = ImageLimits()


def png(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


FILE = png()


def kinds(items: list[Any]) -> list[str]:
    return ["image" if isinstance(item, Image) else type(item).__name__ for item in items]


# -- what a value is


@pytest.mark.parametrize(
    "values",
    [
        pa.array([FILE, None, b""]),
        pa.array([FILE, None, b""], pa.large_binary()),
        pa.array([FILE, None, b""], pa.binary_view()),
        pa.array([FILE, None, b""]).dictionary_encode(),
        pa.chunked_array([pa.array([FILE]), pa.array([None, b""], pa.binary())]),
        [FILE, None, b""],
        (bytearray(FILE), None, b""),
        [memoryview(FILE), None, memoryview(b"")],
        np.array([FILE, None, b""], dtype=object),
        pl.Series([FILE, None, b""]),
    ],
    ids=lambda value: str(getattr(value, "type", type(value).__name__)),
)
def test_bytes_come_in_every_container(values: Any) -> None:
    found = accept_images(values, "image")
    assert kinds(found) == ["image", "NoneType", "NoneType"]
    assert bytes(found[0].source) == FILE  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_strings_are_references_among_images(kind: pa.DataType) -> None:
    found = accept_images(pa.array(["a dog", None, " "], kind), "image")
    assert kinds(found) == ["image", "NoneType", "NoneType"]


def test_strings_are_texts_in_queries_whatever_they_look_like() -> None:
    for source in ("image", "text", "auto"):
        assert accept_images("https://example.com/a.jpg", source, query=True) == [
            "https://example.com/a.jpg"
        ]


@pytest.mark.parametrize(
    "value",
    [FILE, Path("a.png"), PIL.Image.new("RGB", (4, 4)), np.zeros((4, 4, 3)), Image("a.png")],
    ids=lambda value: type(value).__name__,
)
def test_a_single_picture_is_one(value: Any) -> None:
    for query in (True, False):
        assert kinds(accept_images(value, "image", query)) == ["image"]
        assert kinds(accept_images([value, value], "auto", query)) == ["image", "image"]


def test_an_array_of_four_dimensions_is_many_pictures() -> None:
    assert len(accept_images(np.zeros((5, 4, 4, 3), dtype=np.uint8), "image")) == 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://example.com/a?b=1", True),
        ("s3://bucket/key", True),
        ("file:///a/b", True),
        ("data:image/png;base64,AAAA", True),
        ("cat.jpg", True),
        ("photos/my cat.JPEG", True),
        (r"C:\photos\my cat.png", True),
        ("a cat", False),
        ("see cat.jpg", False),
        ("look at https://example.com/a.jpg", False),
        ("notes.txt", False),
        ("data: what we know", False),
        ("10:30", False),
        ("a/b\nc.jpg", False),
        ("x" * 100_000 + ".jpg ", False),
    ],
)
def test_auto_decides_by_looks(text: str, expected: bool) -> None:
    assert is_reference(text) is expected
    assert kinds(accept_images([text], "auto")) == ["image" if expected else "str"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a.png", 5], r"row 1: expected a picture or a string, got int \(5\)"),
        ([b"x", 2.5], "row 1: expected a picture or a string, got float"),
        ([{"a": 1}], "row 0: expected a picture or a string, got dict"),
        (["a", "b\ud800"], "row 1: character 1 is a lone surrogate"),
        (pa.array([1, 2]), "row 0: expected pictures or strings, got a column of Arrow type int64"),
        (pa.array([[1]]), "Arrow type list"),
    ],
)
def test_wrong_types_name_row_and_type(values: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        accept_images(values, "image")


def test_pictures_are_none_among_texts() -> None:
    with pytest.raises(InputError, match="row 1: expected a string, got bytes"):
        accept_images(["a", b"x"], "text")


def test_equal_pictures_are_found_by_content_not_by_size_alone() -> None:
    half = len(png(1)) // 2
    one, other = png(1) * 4, png(1)[:half] + b"?" + png(1)[half + 1 :] + png(1) * 3
    assert len(one) == len(other)
    items = accept_images([one, other, None, one, "a.png", "a.png", "b.png"], "image")
    inputs, index = unique(items)
    assert index.tolist() == [0, 1, -1, 0, 2, 2, 3]
    assert len(inputs) == 4


def test_a_text_and_a_reference_of_the_same_letters_differ() -> None:
    inputs, index = unique(["a.png", Image("a.png")])
    assert index.tolist() == [0, 1]
    assert kinds(inputs) == ["str", "image"]


# -- its bytes


def uri(data: bytes, head: str = "data:image/png;base64,") -> str:
    return head + base64.b64encode(data).decode()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a picture é.png"
    path.write_bytes(FILE)
    return path


@pytest.mark.parametrize(
    "refer",
    [
        lambda path: path,
        lambda path: str(path),
        lambda path: path.as_uri(),
        lambda path: f"file://localhost{path.as_uri()[7:]}",
        lambda path: os.path.relpath(path),
        lambda path: uri(FILE),
        lambda path: uri(FILE, "DATA:;BASE64,"),
        lambda path: "data:image/png," + "".join(f"%{byte:02x}" for byte in FILE),
        lambda path: FILE,
        lambda path: pa.py_buffer(FILE),
    ],
    ids=["Path", "str", "file:", "localhost", "relative", "data:", "DATA:", "%", "bytes", "Buffer"],
)
def test_reads_every_kind_of_reference(file: Path, refer: Callable[[Path], Any]) -> None:
    assert bytes(read_image(Image(refer(file)), LIMITS)) == FILE


def test_reads_object_stores_through_fsspec() -> None:
    with fsspec.open("memory://bucket/a.png", "wb") as target:
        target.write(FILE)
    assert read_image(Image("memory://bucket/a.png"), LIMITS) == FILE
    with pytest.raises(ImageError, match="there is no such object"):
        read_image(Image("memory://bucket/b.png"), LIMITS)
    with pytest.raises(ImageError, match="more than the 10 bytes"):
        read_image(Image("memory://bucket/a.png"), ImageLimits(max_bytes=10))


def test_a_store_whose_package_is_missing_says_which() -> None:
    with pytest.raises(ImageError, match=r"gcsfs|there is no|the store gave"):
        read_image(Image("gs://bucket/a.png"), LIMITS)


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("no-such.png", "there is no such file in "),
        ("/no/such.png", "there is no such file$"),
        ("", "no regular file|there is no such file|cannot be read"),
        (".", "no regular file|cannot be read"),
        ("a\0b.png", "cannot be read: embedded null"),
        ("ftp://host/a.png", "ftp URLs are not read"),
        ("file://host/a.png", "of another machine"),
        ("zip://a.png::http://127.0.0.1/a.zip", "zip URLs are not read"),
        ("memory://a::http://127.0.0.1/a", "chained URLs"),
        ("data:image/png;base64", "without a comma"),
        ("data:image/png;base64,%%%", "base64 is damaged"),
        ("data:image/png;base64,", "empty"),
        ("x" * 5000, "cannot be read"),
    ],
)
def test_what_cannot_be_had_says_why(reference: str, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        read_image(Image(reference), LIMITS)


def test_files_have_a_size_limit(file: Path, tmp_path: Path) -> None:
    limits = ImageLimits(max_bytes=len(FILE) - 1)
    for source in (file, FILE, uri(FILE)):
        with pytest.raises(ImageError, match=r"more than the \d+ bytes .*max_image_bytes"):
            read_image(Image(source), limits)
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(ImageError, match="an empty file"):
        read_image(Image(tmp_path / "empty.png"), LIMITS)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="no regular file"):
        read_image(Image(tmp_path / "pipe.png"), LIMITS)
    with pytest.raises(ImageError, match="no regular file"):
        read_image(Image("/dev/zero"), LIMITS)


def test_only_files_under_the_roots_are_read_where_there_are_any(
    file: Path, tmp_path: Path
) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    inside = allowed / "a.png"
    inside.write_bytes(FILE)
    link = allowed / "link.png"
    link.symlink_to(file)
    limits = ImageLimits(roots=(allowed,))
    assert read_image(Image(inside), limits) == FILE
    assert read_image(Image(uri(FILE)), limits) == FILE
    for outside in (file, file.as_uri(), link, allowed / ".." / file.name, "/etc/passwd"):
        with pytest.raises(ImageError, match=r"outside the folders .* settings\.image_roots"):
            read_image(Image(outside), limits)


# -- names, settings


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (
            "https://user:secret@example.com:8/a.png?X-Signature=secret#x",
            "https://example.com:8/a.png",
        ),
        ("data:image/png;base64," + "A" * 1000, "data:image/png;base64,... (1,022 characters)"),
        (Path("a/b.png"), str(Path("a/b.png"))),
        (b"1234", "4 bytes"),
        (np.zeros((4, 5, 3)), "array of shape (4, 5, 3)"),
        (PIL.Image.new("RGB", (4, 5)), "Image (4, 5)"),
        ("x" * 500, "x" * 119 + "…"),
        ("http://[", "http://..."),
    ],
)
def test_a_reference_is_short_and_without_secrets(source: Any, shown: str) -> None:
    assert Image(source).reference == shown


def test_pixels_become_a_file_for_a_column_of_bytes(file: Path) -> None:
    pixels = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    for source in (pixels, PIL.Image.fromarray(pixels)):
        back = PIL.Image.open(io.BytesIO(Image(source).encode()))
        np.testing.assert_array_equal(np.asarray(back), pixels)
    assert Image(file).encode() == FILE
    assert Image(FILE).encode() == FILE


def test_limits_are_settings_of_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANCEDB_EMBEDDERS_IMAGE_HOSTS", "images.internal, 10.0.0.0/8")
    monkeypatch.setenv("LANCEDB_EMBEDDERS_IMAGE_ROOTS", f"{tmp_path}{os.pathsep}/photos")
    with settings.override(max_image_bytes="2MB", image_timeout=3, max_redirects=0):
        limits = ImageLimits.current()
    assert limits == ImageLimits(
        max_bytes=2_000_000,
        timeout=3,
        max_redirects=0,
        roots=(tmp_path, Path("/photos")),
        hosts=("images.internal", "10.0.0.0/8"),
    )
    assert ImageLimits.current().max_bytes == ImageLimits().max_bytes
    assert ImageLimits.current().max_pixels == ImageLimits().max_pixels
    with pytest.raises(ConfigurationError, match="max_image_pixels"):
        settings.max_image_pixels = 0
