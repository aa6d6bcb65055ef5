"""Plots of a monitor's history as SVG, in the colors of the page that they are put in."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

# Stand for colors while matplotlib draws; classes of the page's style sheet take their place.
_COLORS = {
    "#010101": "text",
    "#020202": "line",
    "#030303": "first",
    "#040404": "second",
    "#050505": "third",
}
TEXT, LINE, FIRST, SECOND, THIRD = _COLORS
# Inches, at 72 units each: what is drawn at this width can be read on a phone.
_SIZE = (4.6, 2.6)
_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"

Points = npt.NDArray[np.float64]


def time_line(
    name: str,
    times: Sequence[datetime],
    values: Sequence[float | None],
    least: Sequence[Any] = (),
    share: bool = False,
) -> str:
    """Return how a figure went.

    Parameters
    ----------
    name : str
        Of the plot, for the ids within it.
    times : sequence of datetime.datetime
        When.
    values, least : sequence of float or None
        The figure, and what was expected of it; gaps where it could not be had.
    share : bool
        Whether it is a share, to be read in percent.
    """

    def draw(axes: Any) -> None:
        from matplotlib import dates
        from matplotlib.ticker import MaxNLocator

        marks: Any = dates  # matplotlib leaves these without types

        known = [(at, value) for at, value in zip(times, values, strict=True) if value is not None]
        if any(one is not None for one in least):
            expected = np.array([np.nan if one is None else one for one in least])
            axes.plot(times, expected, color=SECOND, linestyle="--", linewidth=1.2)
        moments, figures = zip(*known, strict=True)
        axes.plot(moments, figures, color=FIRST, linewidth=1.6)
        # What lies on the edge is shown whole.
        axes.plot(moments, figures, "o", color=FIRST, markersize=4, clip_on=False)
        _room(axes, [value for _, value in known])
        axes.yaxis.set_major_locator(MaxNLocator(5))
        if share:
            axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g}%")
        if len({at for at, _ in known}) == 1:
            axes.set_xticks([known[0][0]])
            axes.xaxis.set_major_formatter(marks.DateFormatter("%Y-%m-%d %H:%M"))
        else:
            locator = marks.AutoDateLocator(minticks=2, maxticks=4)
            axes.xaxis.set_major_locator(locator)
            axes.xaxis.set_major_formatter(marks.ConciseDateFormatter(locator))

    return _svg(name, draw)


def histogram(name: str, before: Points, last: Points) -> str:
    """Return how values are distributed: of checks before, and of the last."""

    def draw(axes: Any) -> None:
        every = np.concatenate([before, last])
        low, high = float(every.min()), float(every.max())
        if high - low < 1e-3 * max(abs(high), 1e-6):  # all the same, but for rounding
            middle = (low + high) / 2
            low, high = (
                middle - 0.01 * max(abs(middle), 0.01),
                middle + 0.01 * max(abs(middle), 0.01),
            )
        edges = np.linspace(low, high, 31)
        for values, color in ((before, SECOND), (last, FIRST)):
            if len(values):
                counts, _ = np.histogram(values, edges)
                shares = counts / len(values)
                axes.stairs(shares, edges, fill=True, color=color, alpha=0.35)
                axes.stairs(shares, edges, color=color, linewidth=1.4)
        axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")

    return _svg(name, draw)


def scatter(name: str, groups: Sequence[tuple[Points, str]]) -> str:
    """Return a map of points, shape ``(n, 2)``, in groups with a color each."""

    def draw(axes: Any) -> None:
        for points, color in groups:
            axes.scatter(points[:, 0], points[:, 1], s=9, color=color, alpha=0.6, linewidths=0)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_aspect("equal", adjustable="datalim")

    return _svg(name, draw, size=(6.2, 4.6), place=(0.01, 0.01, 0.98, 0.98))


def _svg(
    name: str,
    draw: Callable[[Any], None],
    size: tuple[float, float] = _SIZE,
    place: tuple[float, float, float, float] = (0.15, 0.17, 0.81, 0.78),
) -> str:
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "axes.edgecolor": LINE,
        "axes.labelcolor": TEXT,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": LINE,
        "xtick.color": LINE,
        "ytick.color": LINE,
        "xtick.labelcolor": TEXT,
        "ytick.labelcolor": TEXT,
        "font.size": 11,
        "text.color": TEXT,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=size)
        FigureCanvasSVG(figure)
        axes = figure.add_axes(place)
        figure.patch.set_alpha(0)
        axes.patch.set_alpha(0)
        draw(axes)
        axes.xaxis.get_offset_text().set_color(TEXT)
        axes.yaxis.get_offset_text().set_color(TEXT)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return _themed(file.getvalue(), name)


def _room(axes: Any, values: Sequence[float]) -> None:
    """Leave room around a line that hardly moves, so that rounding does not look like news."""
    low, high = axes.get_ylim()
    least = max(0.1 * max(map(abs, values)), 1e-3)
    if high - low < least:
        middle = (low + high) / 2
        low, high = middle - least / 2, middle + least / 2
    axes.set_ylim(max(low, 0) if min(values) >= 0 else low, high)


def _themed(svg: str, name: str) -> str:
    """Return matplotlib's SVG for use within a page: no styles, no foreign ids, our classes."""
    ElementTree.register_namespace("", _SVG[1:-1])
    ElementTree.register_namespace("xlink", _HREF[1:-5])
    root = ElementTree.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{_SVG}metadata", f"{_SVG}style") or child.tag.endswith("}RDF"):
                parent.remove(child)
    for element in root.iter():
        for attribute in ("id", _HREF, "clip-path"):
            value = element.get(attribute)
            if value is not None:
                element.set(attribute, _own(value, attribute, name))
        _unstyle(element)
    for attribute in ("width", "height"):
        root.attrib.pop(attribute, None)
    root.set("aria-hidden", "true")
    return ElementTree.tostring(root, encoding="unicode")


def _own(value: str, attribute: str, name: str) -> str:
    if attribute == "id":
        return f"{name}-{value}"
    return value.replace("#", f"#{name}-")


def _unstyle(element: Any) -> None:
    """Turn a style, which the page's policy forbids, into attributes and classes."""
    style = element.attrib.pop("style", "")
    classes = []
    for declaration in filter(None, re.split(r";\s*", style)):
        key, _, value = declaration.partition(":")
        key, value = key.strip(), value.strip()
        if value in _COLORS:
            classes.append(f"{key}-{_COLORS[value]}")
        elif key in ("font", "font-size"):
            size = re.search(r"([\d.]+)px", value)
            if size is not None:
                element.set("font-size", size[1])
        elif key in (
            "fill",
            "stroke",
            "opacity",
            "fill-opacity",
            "stroke-opacity",
            "stroke-width",
            "stroke-dasharray",
            "stroke-dashoffset",
            "stroke-linecap",
            "stroke-linejoin",
            "text-anchor",
        ):
            element.set(key, value)
    if element.tag == f"{_SVG}text" and not any(one.startswith("fill") for one in classes):
        classes.append("fill-text")
    if classes:
        element.set("class", " ".join(classes))
