"""A comparison as one page that needs nothing else: table, plots, and how it was measured."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from lancedb_embedders.tools.benchmark.plot import Panel, panel_svg, panels
from lancedb_embedders.tools.benchmark.result import SIZE, SPEED, figures_of
from lancedb_embedders.tools.page import page_html
from lancedb_embedders.tools.result import printable

if TYPE_CHECKING:
    from lancedb_embedders.tools.benchmark.result import Benchmark, ModelFigures

_HEADINGS = (*SPEED, *SIZE)


def benchmark_html(benchmark: Benchmark) -> str:
    """Return a page without scripts, links, or anything that a browser would fetch.

    Raises
    ------
    MissingExtraError
        Matplotlib is not installed.
    """
    plots = "".join(_figure(panel, i) for i, panel in enumerate(panels(benchmark)))
    notes = "".join(f"<li>{_text(note)}</li>\n" for note in benchmark.notes())
    body = f"""<header><div>
<p>{benchmark.day.isoformat()}</p>
<h1>Embedding models</h1>
</div></header>
<main>
<h2>Figures</h2>
<table>
<thead><tr><th scope="col">model</th>{"".join(_column(h) for h in _HEADINGS)}</tr></thead>
<tbody>
{"".join(map(_row, benchmark.models))}{_failed(benchmark)}</tbody>
</table>
<h2>Plots</h2>
<div class="plots">
{plots}</div>
<h2>How it was measured</h2>
{"".join(f"<p>{_text(remark)}</p>" for remark in benchmark.remarks())}
{f'<h2>Notes</h2><ul class="notes">{notes}</ul>' if notes else ""}
</main>"""
    return page_html("Embedding models", ["benchmark/benchmark.css"], body)


def _column(heading: str) -> str:
    return f'<th scope="col">{escape(heading)}</th>'


def _row(model: ModelFigures) -> str:
    cells = zip(_HEADINGS, figures_of(model, _HEADINGS), strict=True)
    return f'<tr><th scope="row"><bdi>{_text(model.label)}</bdi></th>{"".join(map(_cell, cells))}</tr>\n'  # noqa: E501


def _cell(figure: tuple[str, str]) -> str:
    heading, value = figure
    first, _, more = value.partition("\n")
    small = f"<small>{_text(more)}</small>" if more else ""
    return f'<td data-figure="{escape(heading)}"><span>{_text(first)}{small}</span></td>'


def _failed(benchmark: Benchmark) -> str:
    return "".join(
        f'<tr><th scope="row"><bdi>{_text(one.label)}</bdi></th>'
        f'<td colspan="{len(_HEADINGS)}" data-figure="">failed</td></tr>\n'
        for one in benchmark.failed
    )


def _figure(panel: Panel, number: int) -> str:
    title = _text(panel.title)
    # What it shows is in the table as text; a reader of screens is told no more than its title.
    svg = panel_svg(panel, number).replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
    return f"<figure><figcaption>{title}</figcaption>{svg}</figure>\n"


def _text(text: str) -> str:
    return escape(printable(text))
