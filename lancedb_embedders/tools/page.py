"""The frame of every page: it needs nothing else, and a browser fetches and runs nothing."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files

_BASE = "page.css"


def page_html(title: str, styles: Sequence[str], body: str, *, images: bool = False) -> str:
    """Return a page of HTML, for phones and for the dark, too.

    Parameters
    ----------
    title : str
        Its title, as a text.
    styles : sequence of str
        Files of styles below the folder of the tools, which come after those of all pages.
    body : str
        HTML within the page's body; scripts in it are not run, and nothing is fetched.
    images : bool, default False
        Whether it has pictures, as ``data:`` references.
    """
    folder = files(__package__)
    style = "".join(folder.joinpath(name).read_text(encoding="utf-8") for name in (_BASE, *styles))
    digest = base64.b64encode(sha256(style.encode()).digest()).decode()
    pictures = "img-src data:; " if images else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; {pictures}\
style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
