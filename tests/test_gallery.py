"""A folder of pictures: as a table, searched, as a page, and from a shell."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from typer.testing import CliRunner

from lancedb_embedders import (
    ClipEmbeddings,
    ConfigurationError,
    EmbeddingWarning,
    Image,
    ImageError,
)
from lancedb_embedders.cli import app
from lancedb_embedders.tools.gallery import MOST_HITS, Hit, gallery_html, write_gallery
from lancedb_embedders.tools.image_folder import TABLE, image_table, search_images
from tests.image_models import tiny_clip
from tests.test_cli import run

EVIL = "<script>alert('x')</script> & \"y\".png"
SHAPES = ["red circle.png", "red square.png", "blue circle.png", "sub/blue square.png"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_clip(tmp_path_factory.mktemp("models") / "tiny-clip"))


@pytest.fixture
def clip(model: str) -> ClipEmbeddings:
    return ClipEmbeddings.create(name=model, on_bad_image="null")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    for name in SHAPES:
        draw(folder / name)
    (folder / "notes.txt").write_text("no picture, and not named like one")
    return folder


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The files that are embedded from now on, a list a batch."""
    batches: list[list[str]] = []
    compute = ClipEmbeddings.compute_source_embeddings

    def spy(self: ClipEmbeddings, values: Any) -> Any:
        batches.append([Path(value).name for value in values.to_pylist()])
        return compute(self, values)

    monkeypatch.setattr(ClipEmbeddings, "compute_source_embeddings", spy)
    return batches


def draw(file: Path, size: tuple[int, int] = (96, 96)) -> Path:
    """Save what the file's name says, like a red circle."""
    file.parent.mkdir(parents=True, exist_ok=True)
    picture = PIL.Image.new("RGB", size, "white")
    pen = PIL.ImageDraw.Draw(picture)
    color = "red" if "red" in file.name else "blue"
    shape = pen.ellipse if "circle" in file.name else pen.rectangle
    shape((size[0] // 6, size[1] // 6, size[0] * 3 // 4, size[1] * 3 // 4), fill=color)
    picture.save(file)
    return file


class Tags(HTMLParser):
    """What a browser would see of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def thumbnails(page: str) -> list[PIL.Image.Image]:
    uris = re.findall(r'src="data:image/jpeg;base64,([^"]*)"', page)
    return [PIL.Image.open(io.BytesIO(base64.b64decode(uri, validate=True))) for uri in uris]


# -- the page -----------------------------------------------------------------------------------


def test_page_shows_query_names_and_similarities_as_they_are(tmp_path: Path) -> None:
    file = draw(tmp_path / "red circle.png")
    hits = [Hit(EVIL, Image(file), 0.98765), Hit("b.png", Image(file), -0.0312)]
    seen = Tags(gallery_html(EVIL, hits))
    assert f"“{EVIL}”" in seen.texts
    assert EVIL in seen.texts
    assert {"0.988", "-0.031"} <= set(seen.texts)
    assert [img["alt"] for img in seen.all("img")] == [EVIL, "b.png"]
    assert [data["value"] for data in seen.all("data")] == ["0.987650", "-0.031200"]
    assert seen.all("html") == [{"lang": "en"}]
    assert len(seen.all("h1")) == len(seen.all("title")) == 1


def test_page_needs_and_runs_nothing_else(tmp_path: Path) -> None:
    file = draw(tmp_path / "red circle.png")
    page = gallery_html("a query", [Hit(EVIL, Image(file), 0.5)])
    seen = Tags(page)
    assert "http:" not in page
    assert "https:" not in page
    assert not {"script", "link", "iframe", "object", "a", "form"} & {tag for tag, _ in seen.tags}
    assert not [name for _, attrs in seen.tags for name in attrs if name.startswith("on")]
    assert "url(" not in page
    [style] = re.findall(r"<style>(.*?)</style>", page, flags=re.DOTALL)
    digest = base64.b64encode(sha256(style.encode()).digest()).decode()
    policy = seen.all("meta")[1]["content"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert f"'sha256-{digest}'" in policy


def test_thumbnails_are_small_upright_and_hold_pixels_alone(tmp_path: Path) -> None:
    file = tmp_path / "phone.jpg"
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    exif[0x010E] = "where I live"
    PIL.Image.new("RGB", (800, 400), "red").save(file, exif=exif, comment=b"my secret")
    page = gallery_html(Image(file), [Hit("small.png", Image(draw(tmp_path / "small.png")), 1.0)])
    query, hit = thumbnails(page)
    assert (query.format, query.size, query.mode) == ("JPEG", (128, 256), "RGB")
    assert hit.size == (96, 96)
    assert not query.getexif()
    assert not {"comment", "exif", "icc_profile"} & set(query.info)
    np.testing.assert_allclose(np.asarray(query)[64, 64], (254, 0, 0), atol=2)
    sizes = [(img["width"], img["height"]) for img in Tags(page).all("img")]
    assert sizes == [("128", "256"), ("96", "96")]


def test_page_of_a_picture_tells_its_name_and_not_where_it_is(tmp_path: Path) -> None:
    file = draw(tmp_path / "private" / "red circle.png")
    page = gallery_html(Image(file), [])
    assert "red circle.png" in Tags(page).texts
    assert "No pictures found" in page
    assert "private" not in page


def test_pages_stay_small(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1500, 3), dtype=np.uint8)
    worst = Hit("noise.png", Image(noise), 0.0)
    assert len(gallery_html("q" * 10_000, [worst])) < 100_000
    with pytest.raises(ConfigurationError, match=f"holds {MOST_HITS} pictures, not 201"):
        gallery_html("query", [worst] * 201)


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_text("no picture")
    with pytest.raises(ImageError, match=re.escape(str(file))):
        gallery_html("query", [Hit("a.png", Image(file), 0.5)])


def test_names_that_are_no_text_are_written_all_the_same(tmp_path: Path) -> None:
    hit = Hit("caf\udce9.png", Image(draw(tmp_path / "red circle.png")), 0.5)
    write_gallery("caf\udce9", [hit], tmp_path / "page.html")
    assert "caf?.png" in (tmp_path / "page.html").read_text(encoding="utf-8")


# -- the table ----------------------------------------------------------------------------------


def test_a_folder_is_searched_by_text_and_by_picture(
    pictures: Path, clip: ClipEmbeddings, db: Any
) -> None:
    table = image_table(pictures, db, clip)
    [query] = clip.compute_query_embeddings(["a red circle"])
    vectors = clip.compute_source_embeddings([str(pictures / name) for name in SHAPES])
    expected = dict(zip(SHAPES, (vectors @ query).tolist(), strict=True))
    hits = search_images(table, "a red circle")
    assert [hit.name for hit in hits] == sorted(expected, key=lambda name: -expected[name])
    for hit in hits:
        assert hit.similarity == pytest.approx(expected[hit.name], abs=1e-5)
        assert hit.image.source == (pictures / hit.name).resolve()
    [best] = search_images(table, Image(pictures / "sub" / "blue square.png"), limit=1)
    assert best.name == "sub/blue square.png"
    assert best.similarity == pytest.approx(1, abs=1e-5)


def test_the_table_can_be_searched_by_anyone(pictures: Path, clip: ClipEmbeddings, db: Any) -> None:
    image_table(pictures, db, clip)
    table = db.open_table(TABLE)
    assert table.search("a red circle").limit(1).to_list()[0]["path"] in SHAPES


def test_what_is_no_picture_is_left_out_with_a_warning(
    pictures: Path, clip: ClipEmbeddings, db: Any
) -> None:
    (pictures / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    for _ in range(2):  # it is told each time
        with pytest.warns(EmbeddingWarning, match=r"1 of . pictures .*broken\.jpg"):
            table = image_table(pictures, db, clip)
        assert {hit.name for hit in search_images(table, "x")} == set(SHAPES)


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text, or links need rights")
def test_files_that_cannot_be_stored_or_reached_are_named(
    pictures: Path, clip: ClipEmbeddings, db: Any
) -> None:
    (pictures / "lost.png").symlink_to("nowhere")
    shutil.copy(pictures / SHAPES[0], pictures / os.fsdecode(b"caf\xe9.png"))
    with pytest.warns(EmbeddingWarning) as warned:
        table = image_table(pictures, db, clip)
    told = sorted(str(warning.message) for warning in warned)
    assert r"caf\udce9.png' is left out" in told[0]
    assert "lost.png' is left out" in told[1]
    assert table.count_rows() == len(SHAPES)


def test_only_new_and_changed_files_are_embedded(
    pictures: Path, clip: ClipEmbeddings, db: Any, embedded: list[list[str]]
) -> None:
    image_table(pictures, db, clip)
    assert embedded.pop() == [
        "blue circle.png",
        "red circle.png",
        "red square.png",
        "blue square.png",
    ]
    image_table(pictures, db, clip)
    assert embedded == []

    (pictures / "red circle.png").unlink()
    (pictures / "red square.png").rename(pictures / "it's red.png")
    changed = draw(pictures / "sub" / "blue square.png", size=(64, 64))
    os.utime(pictures / "blue circle.png", ns=(0, 0))
    table = image_table(pictures, db, clip)
    assert embedded.pop() == ["blue circle.png", "it's red.png", "blue square.png"]
    rows = table.search().select(["path", "size"]).to_list()
    sizes = {row["path"]: row["size"] for row in rows}
    assert sorted(sizes) == ["blue circle.png", "it's red.png", "sub/blue square.png"]
    assert sizes["sub/blue square.png"] == changed.stat().st_size

    (pictures / "it's red.png").unlink()
    assert image_table(pictures, db, clip).count_rows() == 2


def test_pictures_are_embedded_in_batches(
    tmp_path: Path, clip: ClipEmbeddings, db: Any, embedded: list[list[str]]
) -> None:
    file = draw(tmp_path / "many" / "000.png", size=(8, 8))
    for number in range(1, 300):
        shutil.copy(file, file.with_name(f"{number:03}.png"))
    table = image_table(tmp_path / "many", db, clip)
    assert [len(batch) for batch in embedded] == [256, 44]
    assert image_table(tmp_path / "many", db, clip).count_rows() == table.count_rows() == 300
    assert len(embedded) == 2


def test_folders_without_pictures_are_errors(pictures: Path, clip: ClipEmbeddings, db: Any) -> None:
    with pytest.raises(ConfigurationError, match="there is no folder"):
        image_table(pictures / "nowhere", db, clip)
    (pictures / "empty").mkdir()
    with pytest.raises(ImageError, match="no file is named like one"):
        image_table(pictures / "empty", db, clip)
    (pictures / "empty" / "a.png").write_text("no picture")
    with (
        pytest.warns(EmbeddingWarning),
        pytest.raises(ImageError, match=r"none of the 1 files .* holds a picture"),
    ):
        image_table(pictures / "empty", db, clip)


def test_a_table_of_another_folder_or_function_is_left_as_it_is(
    pictures: Path, clip: ClipEmbeddings, db: Any, model: str
) -> None:
    count = image_table(pictures, db, clip).count_rows()
    with pytest.raises(ConfigurationError, match="the pictures of another folder"):
        image_table(pictures / "sub", db, clip)
    cut = ClipEmbeddings.create(name=model, on_bad_image="null", truncate_dim=8)
    with pytest.raises(ConfigurationError, match=r"the table was made with .*truncate_dim=8"):
        image_table(pictures, db, cut)
    for file in pictures.rglob("*.png"):  # as if what it is mounted from were away
        file.unlink()
    with pytest.raises(ImageError):
        image_table(pictures, db, clip)
    assert db.open_table(TABLE).count_rows() == count


# -- from a shell -------------------------------------------------------------------------------


@pytest.fixture
def shell(model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)

    def command(*args: str) -> Any:
        return CliRunner().invoke(app, ["images", *args, "--model", model])

    return command


@pytest.mark.slow
def test_images_in_a_process_of_its_own(pictures: Path, tmp_path: Path, model: str) -> None:
    query = ("--query", "a red circle", "--html", "page.html", "--limit", "3")
    done = run("images", str(pictures), *query, "--model", model, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "“a red circle”" in done.stdout
    assert sum(name in done.stdout for name in SHAPES) == 3
    assert "of 4 pictures" in done.stdout
    assert len(thumbnails((tmp_path / "page.html").read_text(encoding="utf-8"))) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "pictures"]


def test_images_like_one(pictures: Path, shell: Callable[..., Any], tmp_path: Path) -> None:
    done = shell(str(pictures), "--like", str(pictures / SHAPES[3]), "--html", "page.html")
    assert done.exit_code == 0, done.stderr
    first = next(line for line in done.stdout.splitlines() if ".png │" in line)
    assert re.search(r"1\.000 │ sub/blue square\.png", first)
    assert len(thumbnails((tmp_path / "page.html").read_text(encoding="utf-8"))) == 5


def test_images_keeps_its_table(
    pictures: Path, shell: Callable[..., Any], embedded: list[list[str]]
) -> None:
    for count in (4, 0):
        assert shell(str(pictures), "--query", "x", "--db", "kept").exit_code == 0
        assert sum(map(len, embedded)) == count
        embedded.clear()
    assert lancedb.connect("kept").open_table(TABLE).count_rows() == 4


def test_images_obeys_no_names(pictures: Path, shell: Callable[..., Any]) -> None:
    draw(pictures / "\x1b[2J[red]circle.png")
    done = shell(str(pictures), "--query", "[b]\x1b[2Jx")
    assert "�[2J[red]circle.png" in done.stdout
    assert "“[b]�[2Jx”" in done.stdout
    assert "\x1b[2J" not in done.stdout


def test_images_tells_warnings_in_a_line(pictures: Path, shell: Callable[..., Any]) -> None:
    (pictures / "broken.png").write_text("no picture")
    done = shell(str(pictures), "--query", "x")
    assert done.exit_code == 0
    assert done.stderr.startswith("EmbeddingWarning: 1 of 5 pictures")
    assert "broken.png" in done.stderr
    assert ".py:" not in done.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("nowhere", "--query", "x"), "there is no folder nowhere"),
        (("empty", "--query", "x"), "there are no pictures in "),
        (("pictures",), "say what to search by: --query, or --like"),
        (("pictures", "--query", "x", "--like", "x.png"), "say what to search by"),
        (("pictures", "--query", " "), "the query is empty"),
        (("pictures", "--like", "x.png"), "the query (x.png): there is no such file"),
        (("pictures", "--like", "pictures/notes.txt"), "the query (pictures/notes.txt): "),
        (("pictures", "--query", "x", "--html", "nowhere/page.html"), "no page can be written"),
        (("pictures", "--query", "x", "--model", "no-such"), "was not found. Looked in:"),
    ],
)
def test_errors_of_images_are_one_message(
    pictures: Path, shell: Callable[..., Any], tmp_path: Path, args: tuple[str, ...], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    command = shell if "--model" not in args else lambda *a: CliRunner().invoke(app, ["images", *a])
    done = command(*args)
    assert done.exit_code == 1
    assert message in done.stderr
    assert done.stdout == ""


def test_images_names_the_extra_that_is_missing(
    pictures: Path, shell: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lancedb_embedders.extras._importable", lambda module: module != "PIL")
    done = shell(str(pictures), "--query", "x")
    assert done.exit_code == 1
    assert 'pip install "lancedb-embedders[clip]"' in done.stderr


# -- in a browser -------------------------------------------------------------------------------


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for switch in (
        "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking "
        f"disable-component-update disable-sync user-data-dir={tmp_path / 'profile'}"
    ).split():
        options.add_argument(f"--{switch}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(executable_path=driver))
    browser.get("about:blank")
    requested(browser)  # those of the page that a new browser shows
    yield browser
    browser.quit()


def show(browser: webdriver.Chrome, page: Path, width: int, scheme: str) -> None:
    emulate = browser.execute_cdp_cmd
    screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    emulate("Emulation.setDeviceMetricsOverride", screen)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    emulate("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get(page.as_uri())


def luminance(css: str) -> float:
    """Return how bright a color is, as WCAG counts."""
    channels = [int(value) / 255 for value in re.findall(r"\d+", css)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrasts(browser: webdriver.Chrome) -> list[float]:
    """Return the contrast of each text that is shown to what is behind it."""
    colors = browser.execute_script("""
        const behind = e => {
            const color = getComputedStyle(e).backgroundColor;
            return color === "rgba(0, 0, 0, 0)" ? behind(e.parentElement) : color;
        };
        const withText = e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
        return [...document.body.querySelectorAll("*")].filter(withText)
            .map(e => [getComputedStyle(e).color, behind(e)]);
    """)
    pairs = [sorted(map(luminance, pair)) for pair in colors]
    return [(light + 0.05) / (dark + 0.05) for dark, light in pairs]


def requested(browser: webdriver.Chrome) -> list[str]:
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [e["params"] for e in events if e["method"] == "Network.requestWillBeSent"]
    return [params["request"]["url"] for params in sent]


@pytest.mark.parametrize("width", [360, pytest.param(1280, marks=pytest.mark.slow)])
@pytest.mark.parametrize("query", ["a red circle, of which there is one", "picture"])
def test_page_in_a_browser(
    pictures: Path,
    clip: ClipEmbeddings,
    db: Any,
    tmp_path: Path,
    chromium: webdriver.Chrome,
    query: str,
    width: int,
) -> None:
    long = draw(pictures / f"{'red' * 60}.png", size=(900, 300))
    draw(pictures / EVIL.replace("/", "⁄"))
    wanted = Image(long) if query == "picture" else query
    hits = search_images(image_table(pictures, db, clip), wanted)
    page = tmp_path / "page.html"
    write_gallery(wanted, hits, page)

    brightness = {}
    for scheme in ("light", "dark"):
        show(chromium, page, width, scheme)
        shown = chromium.find_element(By.TAG_NAME, "body").text
        assert (long.name if query == "picture" else f"“{query}”") in shown
        for hit in hits:
            assert hit.name in shown
            assert f"{hit.similarity:.3f}" in shown
        images = chromium.find_elements(By.TAG_NAME, "img")
        assert len(images) == len(hits) + (query == "picture")
        for image in images:
            assert image.get_property("naturalWidth") not in (0, None)
            assert image.is_displayed()
            assert image.size["width"] > 40
        right = "return Math.max(...[...document.querySelectorAll('*')].map(%s))"
        assert chromium.execute_script(right % "e => e.scrollWidth") <= width
        assert chromium.execute_script(right % "e => e.getBoundingClientRect().right") <= width
        assert min(contrasts(chromium)) >= 4.5
        background = chromium.find_element(By.TAG_NAME, "body").value_of_css_property(
            "background-color"
        )
        brightness[scheme] = luminance(background)
    assert brightness["dark"] < 0.1 < 0.8 < brightness["light"]
    assert chromium.get_log("browser") == []
    urls = [url for url in requested(chromium) if not url.startswith("data:image/jpeg;base64,")]
    assert urls == [page.as_uri()] * 2
