"""A page of a monitor's history: figures over time, distributions, a map, findings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.extras import require
from lancedb_embedders.tools.page import page_html
from lancedb_embedders.tools.watch import plots
from lancedb_embedders.tools.watch.history import Entry
from lancedb_embedders.tools.watch.report import FIGURES, Finding, shown

#: Points of the map, at most.
MOST_POINTS = 2000
# Checks whose findings are listed, and findings.
_LISTED = 50
# Checks whose samples the map and the distributions are drawn of.
_DRAWN = 200
# Drawn into the line of another figure.
_DRAWN_ELSEWHERE = {"effective_rank_expected", "spread_expected"}


def write_dashboard(name: str, entries: Sequence[Entry], path: str | os.PathLike[str]) -> None:
    """Write the page of `dashboard_html` to a file; parameters and errors as there."""
    page = dashboard_html(name, entries)
    try:
        Path(path).write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigurationError(
            f"no page can be written to {os.fspath(path)}: {error.strerror}"
        ) from None


def dashboard_html(name: str, entries: Sequence[Entry]) -> str:
    """Return a page that needs nothing else.

    Parameters
    ----------
    name : str
        What is monitored.
    entries : sequence of Entry
        Its checks, the oldest first.

    Returns
    -------
    str
        HTML without scripts, links, or anything that a browser would fetch.

    Raises
    ------
    ConfigurationError
        There are no checks.
    MissingExtraError
        The extra ``tools`` is not installed.
    """
    require("tools", "The page of a monitor")
    if not entries:
        raise ConfigurationError(f"{name!r} has no checks yet that a page could show")
    body = f"""{_header(name, entries)}
<main>
{_findings(entries)}
{_figures(entries[-1])}
{_lines(entries)}
{_distributions(entries[-_DRAWN:])}
{_map(entries[-_DRAWN:])}
</main>"""
    return page_html(f"Quality of {name}", ["watch/dashboard.css"], body)


def _header(name: str, entries: Sequence[Entry]) -> str:
    last = entries[-1].quality
    worst = last.findings[0].severity if last.findings else "ok"
    count = len(last.findings)
    state = f"{count} finding{'s' if count > 1 else ''}" if count else "No findings"
    made_by = " ".join(filter(None, (last.function, last.model))) or "a function not known"
    checks = f"{len(entries):,} check{'s' if len(entries) > 1 else ''}"
    return f"""<header>
<p>Quality of vectors</p>
<h1><bdi>{escape(name)}</bdi></h1>
<p>{checks} from {_time(entries[0].quality.at)} to {_time(last.at)}; \
vectors of <bdi>{escape(made_by)}</bdi></p>
<p class="state {worst}">{state} in the last check</p>
</header>"""


def _findings(entries: Sequence[Entry]) -> str:
    found = [
        (entry.quality.at, finding)
        for entry in reversed(entries[-_LISTED:])
        for finding in entry.quality.findings
    ][:_LISTED]
    items = "\n".join(_item(at, finding) for at, finding in found)
    body = f"<ul>\n{items}\n</ul>" if found else "<p>Nothing was found.</p>"
    return f'<section id="findings">\n<h2>Findings, the newest first</h2>\n{body}\n</section>'


def _item(at: datetime, finding: Finding) -> str:
    return (
        f'<li class="{finding.severity}"><p><strong>{escape(finding.severity)}</strong> '
        f"<code>{escape(finding.code)}</code> {_time(at)}</p>"
        f"<p><bdi>{escape(finding.message)}</bdi></p></li>"
    )


def _figures(entry: Entry) -> str:
    rows = "\n".join(
        f'<div><dt>{escape(FIGURES[name])}</dt><dd><data value="{value:.6g}">'
        f"{_figure(name, value)}</data></dd></div>"
        for name, value in entry.quality.figures.items()
        if value is not None
    )
    return f'<section id="figures">\n<h2>The last check</h2>\n<dl>\n{rows}\n</dl>\n</section>'


def _lines(entries: Sequence[Entry]) -> str:
    times = [entry.quality.at for entry in entries]
    cards = []
    for name, meaning in FIGURES.items():
        values = _values(entries, name)
        if name in _DRAWN_ELSEWHERE or all(value is None for value in values):
            continue
        expected = f"{name}_expected"
        least = _values(entries, expected) if expected in FIGURES else []
        note = ""
        if any(value is not None for value in least):
            note = _key({"second": FIGURES[expected]}, True)
        drawn = plots.time_line(f"line-{name}", times, values, least, _is_share(name))
        first, last = (value for value in (_ends(values)))
        cards.append(
            f"<figure><figcaption>{escape(meaning)}</figcaption>{_described(drawn, meaning)}"
            f'<p class="ends">first {_figure(name, first)}, last {_figure(name, last)}</p>{note}'
            "</figure>"
        )
    body = "\n".join(cards)
    return (
        f'<section id="lines">\n<h2>Over time</h2>\n<div class="cards">\n{body}\n</div>\n</section>'
    )


def _distributions(entries: Sequence[Entry]) -> str:
    kinds = {
        "norms": ("length of vectors", [entry.norms for entry in entries]),
        "distances": (
            "cosine distance to the nearest other vector",
            [entry.distances for entry in entries],
        ),
    }
    cards = []
    for name, (meaning, values) in kinds.items():
        before = np.concatenate([np.zeros(0), *values[:-1]])
        if len(before) + len(values[-1]) == 0:
            continue
        drawn = plots.histogram(f"histogram-{name}", before, values[-1])
        cards.append(
            f"<figure><figcaption>{meaning}</figcaption>{_described(drawn, meaning)}"
            f"{_key({'first': 'last check', 'second': 'checks before'}, len(before) > 0)}</figure>"
        )
    body = "\n".join(cards) or "<p>There are no vectors to show.</p>"
    return (
        '<section id="distributions">\n<h2>Distributions</h2>\n'
        f'<div class="cards">\n{body}\n</div>\n</section>'
    )


def _map(entries: Sequence[Entry]) -> str:
    head = '<section id="map">\n<h2>Map of vectors</h2>\n'
    last = entries[-1]
    width = last.vectors.shape[1]
    alike = [entry for entry in entries if len(entry.vectors) and entry.vectors.shape[1] == width]
    if len(last.vectors) < 3 or width < 2:
        return f"{head}<p>The last check has too few vectors to show.</p>\n</section>"
    earlier = [entry for entry in alike if entry is not last]
    middle = (len(earlier) + 1) // 2
    periods = {
        "third": earlier[:middle],
        "second": earlier[middle:],
        "first": [last],
    }
    share = MOST_POINTS // 3
    chance = np.random.default_rng(0)
    sampled: dict[str, Any] = {}
    for color, period in periods.items():
        if period:
            vectors = np.concatenate([entry.vectors for entry in period])
            chosen = len(vectors) > share
            sampled[color] = chance.choice(vectors, share, replace=False) if chosen else vectors
    points, kept = _flattened(np.concatenate(list(sampled.values())))
    ends = np.cumsum([len(vectors) for vectors in sampled.values()])[:-1]
    colors = {"first": plots.FIRST, "second": plots.SECOND, "third": plots.THIRD}
    groups = [
        (part, colors[color]) for color, part in zip(sampled, np.split(points, ends), strict=True)
    ]
    names = {color: _span(periods[color]) for color in reversed(sampled)}
    names["first"] = f"last check, {names['first']}"
    drawn = plots.scatter("map", groups)
    return (
        f"{head}<figure>{_described(drawn, 'map of vectors')}{_key(names, True)}<p>{len(points):,} "
        f"vectors by their first two principal components, which hold {kept:.0%} of their "
        "variance.</p></figure>\n</section>"
    )


def _flattened(vectors: Any) -> tuple[plots.Points, float]:
    """Return the first two principal components, and the share of variance that they hold."""
    from sklearn.decomposition import PCA

    if not np.ptp(vectors, axis=0).any():
        return np.zeros((len(vectors), 2)), 1.0
    reduced = PCA(2, random_state=0)
    points = reduced.fit_transform(vectors.astype(np.float64))
    return points, float(reduced.explained_variance_ratio_.sum())


def _described(svg: str, meaning: str) -> str:
    return f'<div role="img" aria-label="{escape(meaning)}">{svg}</div>'


def _key(names: dict[str, str], several: bool) -> str:
    if not several:
        return ""
    items = " ".join(
        f'<span><i class="{color}"></i>{escape(text)}</span>' for color, text in names.items()
    )
    return f'<p class="key">{items}</p>'


def _values(entries: Sequence[Entry], name: str) -> list[float | None]:
    return [entry.quality.figures[name] for entry in entries]


def _ends(values: Sequence[float | None]) -> tuple[float, float]:
    known = [value for value in values if value is not None]
    return known[0], known[-1]


def _figure(name: str, value: float) -> str:
    return f"{value:.2%}" if _is_share(name) else shown(value)


def _is_share(name: str) -> bool:
    return FIGURES[name].startswith("share ")


def _span(entries: Sequence[Entry]) -> str:
    first, last = (entries[i].quality.at.strftime("%Y-%m-%d %H:%M") for i in (0, -1))
    return first if first == last else f"{first} to {last}"


def _time(at: datetime) -> str:
    return f'<time datetime="{at.isoformat()}">{at.strftime("%Y-%m-%d %H:%M UTC")}</time>'
