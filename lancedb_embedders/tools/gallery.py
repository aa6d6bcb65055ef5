"""A page of pictures: what was searched for, and the nearest with their cosine similarities."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import Path

from lancedb_embedders.errors import ConfigurationError, ImageError
from lancedb_embedders.inputs.images.decode import decode, from_pixels
from lancedb_embedders.inputs.images.image import FILE_BYTES, Image
from lancedb_embedders.inputs.images.limits import ImageLimits
from lancedb_embedders.inputs.images.read import read_image
from lancedb_embedders.tools.page import page_html

#: Pictures that one page may hold, for it to stay a page that opens at once.
MOST_HITS = 200

_SIDE = 256
_LONGEST_QUERY = 300


@dataclass(frozen=True)
class Hit:
    """A picture that a search found.

    Attributes
    ----------
    name : str
        What to call it.
    image : Image
        Where it is.
    similarity : float
        Its cosine similarity to the query: 1 - the cosine distance.
    """

    name: str
    image: Image
    similarity: float


def write_gallery(query: str | Image, hits: Sequence[Hit], path: Path) -> None:
    """Write the page of `gallery_html` to a file; parameters and errors as there."""
    # Names of files need not be valid Unicode.
    path.write_text(gallery_html(query, hits), encoding="utf-8", errors="replace")


def gallery_html(query: str | Image, hits: Sequence[Hit]) -> str:
    """Return a page that needs nothing else: pictures are in it as thumbnails.

    Parameters
    ----------
    query : str or Image
        What was searched for.
    hits : sequence of Hit
        What was found, the nearest first; 200 at most.

    Returns
    -------
    str
        HTML without scripts, links, or anything that a browser would fetch.

    Raises
    ------
    ConfigurationError
        More hits than a page may hold.
    ImageError
        A picture cannot be had; named.
    """
    if len(hits) > MOST_HITS:
        raise ConfigurationError(f"a page holds {MOST_HITS} pictures, not {len(hits):,}")
    body = f"""{_header(query)}
<main>
<h2>{"Nearest pictures, by cosine similarity" if hits else "No pictures found"}</h2>
<ol>
{"".join(map(_card, hits))}</ol>
</main>"""
    return page_html(_title(query), ["gallery.css"], body, images=True)


def _title(query: str | Image) -> str:
    if isinstance(query, str):
        text = query if len(query) <= _LONGEST_QUERY else query[: _LONGEST_QUERY - 1] + "…"
        return f"“{text}”"
    # The folders above it are nobody's business to whom the page is sent.
    return query.source.name if isinstance(query.source, Path) else query.reference


def _header(query: str | Image) -> str:
    is_text = isinstance(query, str)
    picture = "" if isinstance(query, str) else _img(query, "The picture that was searched for")
    return f"""<header>{picture}
<div>
<p>{"Pictures for" if is_text else "Pictures like"}</p>
<h1><bdi>{escape(_title(query))}</bdi></h1>
</div>
</header>"""


def _card(hit: Hit) -> str:
    return f"""<li><figure>{_img(hit.image, hit.name)}
<figcaption><data value="{hit.similarity:.6f}">{hit.similarity:.3f} <small>cosine</small></data>
<bdi>{escape(hit.name)}</bdi></figcaption></figure></li>
"""


def _img(image: Image, description: str) -> str:
    limits = ImageLimits.current()
    try:
        source = read_image(image, limits)
        if isinstance(source, FILE_BYTES):
            picture = decode(source, limits.max_pixels, (_SIDE, _SIDE))
        else:
            picture = from_pixels(source, limits.max_pixels)
    except ImageError as error:
        raise ImageError(f"{image.reference}: {error}") from None
    picture.thumbnail((_SIDE, _SIDE))
    file = BytesIO()
    picture.save(file, "JPEG", quality=82, comment=b"")
    data = base64.b64encode(file.getvalue()).decode("ascii")
    width, height = picture.size
    return (
        f'<img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" '
        f'alt="{escape(description)}">'
    )
