"""The page of a monitor: its source, and how a browser shows it."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from lancedb_embedders import ConfigurationError
from lancedb_embedders.errors import MissingExtraError
from lancedb_embedders.tools import QualityMonitor
from tests.test_gallery import chromium, contrasts, luminance, requested, show

__all__ = ["chromium"]  # a fixture

EVIL = "<script>alert('x')</script> & \"docs\""
SECTIONS = ["findings", "figures", "lines", "distributions", "map"]


@pytest.fixture(scope="module")
def monitor() -> QualityMonitor:
    """Return a monitor with checks of which the last found something."""
    made = QualityMonitor(name=EVIL)
    chance = np.random.default_rng(0)
    for number in range(6):
        vectors = chance.normal(size=(80, 32)) + 2
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        if number == 5:
            vectors[4] = np.nan
            vectors[20:30] = vectors[20]
        made.check(vectors, [f"text {i}" for i in range(80)])
    return made


@pytest.fixture(scope="module")
def page(monitor: QualityMonitor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    monitor.write_html(path)
    return path


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_needs_nothing_else(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    parser = Elements()
    parser.feed(html)
    tags = {tag for tag, _ in parser.found}
    assert not tags & {"script", "link", "img", "iframe", "object", "image", "foreignobject"}
    ids = [attributes["id"] for _, attributes in parser.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in parser.found:
        assert "style" not in attributes, tag
        assert not any(name.startswith("on") for name in attributes)
        for name in ("href", "xlink:href", "src"):
            target = attributes.get(name)
            assert target is None or target.removeprefix("#") in ids
        for reference in re.findall(r"url\(#([^)]+)\)", str(attributes.get("clip-path"))):
            assert reference in ids
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    digest = base64.b64encode(sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in html
    assert "<script" not in html
    assert "&lt;script&gt;alert(" in html
    assert len(html) < 2_000_000


def test_one_check_is_enough(tmp_path: Path) -> None:
    one = QualityMonitor(name="once")
    with pytest.raises(ConfigurationError, match="'once' has no checks yet"):
        one.write_html(tmp_path / "page.html")
    one.check([None, None])
    one.write_html(tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "1 check from" in html
    assert "too few vectors to show" in html
    with pytest.raises(ConfigurationError, match="no page can be written to"):
        one.write_html(tmp_path / "nowhere" / "page.html")


def test_the_extra_that_is_missing_is_named(
    monitor: QualityMonitor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lancedb_embedders.extras._importable", lambda name: name != "matplotlib")
    with pytest.raises(MissingExtraError, match=r'pip install "lancedb-embedders\[tools\]"'):
        monitor.write_html(tmp_path / "page.html")


def test_bits_and_constants_can_be_drawn(tmp_path: Path) -> None:
    bits = QualityMonitor()
    bits.check(np.random.default_rng(0).integers(0, 255, size=(40, 8)).astype(np.uint8))
    bits.check(np.zeros((40, 8), dtype=np.uint8))
    bits.write_html(tmp_path / "page.html")
    same = QualityMonitor()
    same.check(np.ones((40, 8)))
    same.write_html(tmp_path / "page.html")
    assert "collapsed" in (tmp_path / "page.html").read_text(encoding="utf-8")


def drawn_contrasts(browser: webdriver.Chrome) -> list[float]:
    """Return the contrast of each text within a plot to its card."""
    colors = browser.execute_script("""
        return [...document.querySelectorAll("svg text")].map(e => [
            getComputedStyle(e).fill, getComputedStyle(e.closest("figure")).backgroundColor]);
    """)
    pairs = [sorted(map(luminance, pair)) for pair in colors]
    return [(light + 0.05) / (dark + 0.05) for dark, light in pairs]


@pytest.mark.parametrize("width", [360, pytest.param(1280, marks=pytest.mark.slow)])
def test_the_page_in_a_browser(
    page: Path, chromium: webdriver.Chrome, width: int, monitor: QualityMonitor
) -> None:
    brightness = {}
    right: Callable[[str], Any] = lambda what: chromium.execute_script(  # noqa: E731
        f"return Math.max(...[...document.querySelectorAll('*')].map(e => {what}))"
    )
    for scheme in ("light", "dark"):
        show(chromium, page, width, scheme)
        body = chromium.find_element(By.TAG_NAME, "body")
        assert EVIL in body.text
        assert "2 findings in the last check" in body.text
        for finding in monitor.history[-1].findings:
            assert finding.message in body.text
        for section in SECTIONS:
            assert chromium.find_element(By.ID, section).size["height"] > 60
        plots = chromium.find_elements(By.TAG_NAME, "svg")
        assert len(plots) > 12
        for plot in plots:
            assert plot.size["width"] > 200
            assert plot.size["height"] > 120
        assert right("e.scrollWidth") <= width
        # Points that fade out at the edge of a plot are no scrolling.
        assert right("e.closest('svg svg, svg g') ? 0 : e.getBoundingClientRect().right") <= width
        assert min(contrasts(chromium)) >= 4.5
        assert min(drawn_contrasts(chromium)) >= 4.5
        brightness[scheme] = luminance(body.value_of_css_property("background-color"))
    assert brightness["dark"] < 0.1 < 0.8 < brightness["light"]
    assert chromium.get_log("browser") == []
    assert requested(chromium) == [page.as_uri()] * 2
