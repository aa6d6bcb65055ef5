"""Plots of a comparison: bars with their spread, and quality against speed."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lancedb_embedders.extras import require
from lancedb_embedders.tools.benchmark.spread import number

if TYPE_CHECKING:
    from lancedb_embedders.tools.benchmark.result import Benchmark, ModelFigures
    from lancedb_embedders.tools.benchmark.spread import Spread

#: Endings of files that are written.
FORMATS = (".png", ".svg", ".pdf")

# Colors of a file on white; on a page they become those of the page.
_TEXT, _BAR, _MARK = "#1a1a1e", "#3b6ea8", "#b5541c"
_ON_PAGE = {_TEXT: "currentColor", _BAR: "var(--bar)", _MARK: "var(--mark)"}
_LONGEST_LABEL = 28
# Inches; what a page shows is small enough for its letters to be read on a phone.
_WIDTH, _PAGE_WIDTH = 7.0, 4.4


@dataclass(frozen=True)
class Panel:
    """One plot.

    Attributes
    ----------
    title : str
        What it shows.
    rows : int
        Models that have the figure.
    draw : callable
        Draws it, given the axes of matplotlib.
    """

    title: str
    rows: int
    draw: Callable[[Any], None]


def panels(benchmark: Benchmark) -> list[Panel]:
    """Return the plots that there are figures for."""
    models = benchmark.models
    found = [
        _bars("Texts a second (more is better)", [(m, m.texts_per_second) for m in models]),
        _latency(models),
    ]
    memory = [(m, m.memory / 2**20) for m in models if m.memory is not None]
    if memory:
        found.append(_bars("Memory at the peak, MiB (less is better)", memory))
    rated = [(m, m.quality) for m in models if m.quality is not None]
    if rated:
        what = f"{rated[0][1].metric} on {_short(rated[0][1].dataset)} (more is better)"
        found.append(_bars(what, [(m, quality.value) for m, quality in rated]))
        found.append(_scatter([(m, quality.value) for m, quality in rated], rated[0][1].metric))
    return found


def write_plot(benchmark: Benchmark, file: Path) -> None:
    """Draw all plots, one below the other, into a file of one of `FORMATS`.

    Raises
    ------
    MissingExtraError
        Matplotlib is not installed.
    """
    drawn = panels(benchmark)
    with _style("path"):
        from matplotlib.figure import Figure

        heights = [_height(panel) for panel in drawn]
        figure = Figure(figsize=(_WIDTH, sum(heights)), layout="constrained")
        axes = figure.subplots(len(drawn), 1, height_ratios=heights, squeeze=False)
        for panel, own in zip(drawn, axes[:, 0], strict=True):
            _draw(panel, own)
            own.set_title(panel.title, loc="left", fontsize=10)
        figure.savefig(file, dpi=150)


def panel_svg(panel: Panel, position: int) -> str:
    """Return a plot as SVG for within a page, without its title.

    Its colors and fonts are the page's, its labels are text.

    There are no style attributes in it, which a strict page would not obey.
    """
    with _style("none", salt=f"panel-{position}"):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(_PAGE_WIDTH, _height(panel)), layout="constrained")
        _draw(panel, figure.subplots())
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata=_NO_METADATA)
    return _for_page(file.getvalue())


# -- the plots ----------------------------------------------------------------------------------


def _bars(title: str, values: Sequence[tuple[ModelFigures, Spread | float]]) -> Panel:
    def draw(axes: Any) -> None:
        middles = [value if isinstance(value, float) else value.median for _, value in values]
        axes.barh(range(len(values)), middles, height=0.55, color=_BAR)
        for row, (_, value) in enumerate(values):
            top = value if isinstance(value, float) else value.high
            if not isinstance(value, float):
                axes.plot([value.low, value.high], [row, row], color=_TEXT, linewidth=1.2)
            _beside(axes, number(middles[row]), (top, row))
        axes.set_xlim(0, 1.18 * max(1e-9, axes.get_xlim()[1]))
        _label(axes, [model.label for model, _ in values])

    return Panel(title, len(values), draw)


def _latency(models: tuple[ModelFigures, ...]) -> Panel:
    def draw(axes: Any) -> None:
        for row, model in enumerate(models):
            low, high = model.query_p50_ms.median, model.query_p99_ms.median
            axes.barh(row, low, height=0.55, color=_BAR)
            axes.plot([low, high], [row, row], color=_MARK, linewidth=1.2)
            axes.plot([high], [row], marker="D", markersize=5, color=_MARK, linestyle="none")
            _beside(axes, f"{number(low)}; {number(high)}", (high, row))
        axes.set_xlim(0, 1.35 * axes.get_xlim()[1])
        _label(axes, [model.label for model in models])

    return Panel("Query, ms: p50 as bar, p99 as diamond (less is better)", len(models), draw)


def _scatter(values: list[tuple[ModelFigures, float]], metric: str) -> Panel:
    def draw(axes: Any) -> None:
        speeds = [model.texts_per_second.median for model, _ in values]
        middle = (min(speeds) + max(speeds)) / 2
        for speed, (model, quality) in zip(speeds, values, strict=True):
            axes.plot([speed], [quality], marker="o", color=_BAR, linestyle="none")
            _beside(axes, _short(model.label), (speed, quality), left=speed > middle)
        axes.margins(0.2)
        axes.set_xlabel("texts a second")
        axes.set_ylabel(metric)

    return Panel("Quality against speed (up and right is better)", 4, draw)


def _beside(axes: Any, text: str, point: tuple[float, float], left: bool = False) -> None:
    axes.annotate(
        text,
        point,
        xytext=(-8 if left else 8, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        va="center",
        fontsize=9,
        color=_TEXT,
    )


def _label(axes: Any, labels: list[str]) -> None:
    axes.set_yticks(range(len(labels)), [_short(label) for label in labels])
    axes.invert_yaxis()
    axes.set_ylim(len(labels) - 0.4, -0.6)


def _draw(panel: Panel, axes: Any) -> None:
    panel.draw(axes)
    axes.spines[["top", "right"]].set_visible(False)


def _height(panel: Panel) -> float:
    return 0.95 + 0.42 * panel.rows


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else f"{label[: _LONGEST_LABEL - 1]}…"


# -- matplotlib ---------------------------------------------------------------------------------

_NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}
_STYLE = re.compile(r' style="([^"]*)"')


@contextmanager
def _style(fonts: str, salt: str | None = None) -> Iterator[None]:
    """Draw under settings of its own; the user's are not changed."""
    require("tools", "a plot")
    import matplotlib

    own = matplotlib.rc_context(
        {
            "axes.edgecolor": _TEXT,
            "axes.labelcolor": _TEXT,
            "axes.titlecolor": _TEXT,
            "font.family": ["sans-serif"],
            "font.size": 9,
            "svg.fonttype": fonts,
            "svg.hashsalt": salt,
            "text.color": _TEXT,
            "text.parse_math": False,
            "text.usetex": False,
            "xtick.color": _TEXT,
            "ytick.color": _TEXT,
        }
    )
    with own, warnings.catch_warnings():
        # A label in a script that its font lacks; on a page the browser has others.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        yield


def _for_page(svg: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    # Names of groups are the same in each plot, and nothing refers to them.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = _STYLE.sub(lambda found: _attributes(found[1]), svg)
    for color, on_page in _ON_PAGE.items():
        svg = svg.replace(f'"{color}"', f'"{on_page}"')
    # As wide as the page has room for.
    return re.sub(r'(?<= )(width|height)="[^"]*" ', "", svg, count=2)


def _attributes(style: str) -> str:
    """Return declarations of CSS as attributes of SVG."""
    found = []
    for declaration in style.split(";"):
        name, _, value = declaration.strip().partition(": ")
        if name == "font":  # like: 9px 'DejaVu Sans', sans-serif
            pixels = re.search(r"[\d.]+px", value)
            found.append(f'font-size="{pixels[0] if pixels else "9px"}"')
        elif name and name != "font-family":
            found.append(f'{name}="{value}"')
    return "".join(f" {attribute}" for attribute in found)
