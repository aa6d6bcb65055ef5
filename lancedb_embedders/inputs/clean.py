"""Cleaning of texts: what `clean=` does to documents and queries before they are embedded."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Literal, get_args

from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.extras import require

Step = Literal["html", "markdown", "urls"]

#: In the order that they are done in.
STEPS: tuple[Step, ...] = get_args(Step)

# Characters that show nothing and carry no meaning between words: control characters but
# for white space, byte order mark, zero-width space, soft hyphen. The joiners U+200C and
# U+200D stay, they change meaning in Persian, in Indic scripts and in emoji.
_INVISIBLE = dict.fromkeys(
    [c for c in range(0xA0) if unicodedata.category(chr(c)) == "Cc" and not chr(c).isspace()]
    + [0xFEFF, 0x200B, 0x00AD]
)
# Elements of HTML (https://html.spec.whatwg.org/multipage/indices.html and its obsolete ones) that
# Beautiful Soup lists neither as blocks nor as empty.
_OTHER = """
    a abbr acronym audio b bdi bdo big body button caption center cite code colgroup data
    datalist del details dfn dialog em font frameset head hgroup html i iframe ins kbd label
    legend map mark menu meter object optgroup option picture progress q rp rt ruby s samp
    script search select slot small span strike strong style sub summary sup svg tbody td
    template textarea th thead time title tr tt u var
"""
_BROKEN = ("br", "caption", "details", "dialog", "legend", "menu", "option", "td", "th", "tr")
_HIDDEN = ("head", "script", "style", "template", "svg", "iframe", "object", "select", "datalist")


def clean_text(text: str, *, html: bool = False, markdown: bool = False, urls: bool = False) -> str:
    r"""Bring text to the form in which it is embedded.

    Always: Unicode form NFC, no invisible or control characters, single spaces.

    Parameters
    ----------
    text : str
        Any text.
    html : bool, default False
        Take out tags, comments, scripts and styles of HTML, and resolve its entities. Only what is
        named like an element of HTML counts as a tag: ``List<String>`` stays.
    markdown : bool, default False
        Take out marks of Markdown (CommonMark and tables) and addresses of links and pictures;
        their texts, code, and numbers of lists stay.
    urls : bool, default False
        Take out addresses, like ``https://...``, ``www...`` and ``mailto:...``.

    Raises
    ------
    MissingExtraError
        A step needs the extra ``clean``: Beautiful Soup, markdown-it and linkify-it.

    Examples
    --------
    >>> clean_text("  co\u00adop\u200berate\n\n now ")
    'cooperate now'
    >>> clean_text("<p>5 &lt; 6 for <b>ev</b>er<br>and List<String></p>", html=True)
    '5 < 6 for ever and List<String>'
    >>> clean_text("# Tea\n\n- *hot*, see [here](https://a.b)\n- `cold`", markdown=True)
    'Tea hot, see here cold'
    """
    if html:
        text = _without_html(text)
    if markdown:
        text = _without_markdown(text)
    if urls:
        text = _without_urls(text)
    return " ".join(unicodedata.normalize("NFC", text).translate(_INVISIBLE).split())


def cleaned(text: str, clean: bool | Sequence[Step]) -> str:
    """Return `text` as the option ``clean`` of a function has it."""
    if not clean:
        return text
    return clean_text(text, **dict.fromkeys(() if clean is True else clean, True))


def steps_of(given: Any) -> Any:
    """Return the option ``clean`` in the one form that is stored.

    Raises
    ------
    ConfigurationError
        A step that is not known; the error lists those that are.

    Examples
    --------
    >>> steps_of("html"), steps_of(["urls", "html"]), steps_of(True)
    (('html',), ('html', 'urls'), True)
    """
    if isinstance(given, str):
        given = (given,)
    if not isinstance(given, (list, tuple, set, frozenset)):
        return given
    unknown = [step for step in given if step not in STEPS]
    if unknown:
        raise ConfigurationError(f"{unknown[0]!r} is no step; there are: {', '.join(STEPS)}")
    return tuple(step for step in STEPS if step in given) or False


def _without_html(text: str) -> str:
    if "<" not in text and "&" not in text:
        return text
    from_tags = _tags()
    from bs4 import BeautifulSoup, Comment
    from bs4.builder import HTMLTreeBuilder

    # What is no tag of HTML would be taken for one, and lost.
    soup = BeautifulSoup(from_tags.sub("&lt;", text), "html.parser")
    for hidden in soup(_HIDDEN):
        hidden.decompose()
    for comment in soup(string=lambda string: isinstance(string, Comment)):
        comment.extract()
    for image in soup("img"):
        image.replace_with(f" {image.get('alt') or ''} ")
    for block in soup([*HTMLTreeBuilder.DEFAULT_BLOCK_ELEMENTS, *_BROKEN]):
        block.insert_before(" ")
        block.insert_after(" ")
    return soup.get_text()


@lru_cache(maxsize=1)
def _tags() -> re.Pattern[str]:
    require("clean", "cleaning of HTML")
    from bs4.builder import HTMLTreeBuilder

    empty = HTMLTreeBuilder.DEFAULT_EMPTY_ELEMENT_TAGS or ()
    names = {*_OTHER.split(), *HTMLTreeBuilder.DEFAULT_BLOCK_ELEMENTS, *empty}
    any_name = "|".join(sorted(names))
    return re.compile(rf"<(?!/?(?:{any_name})(?:[\s/>]|$)|!--|!doctype\b)", re.IGNORECASE)


def _without_markdown(text: str) -> str:
    return "".join(_pieces(_parser().parse(text)))


def _pieces(tokens: Sequence[Any]) -> Iterator[str]:
    for token in tokens:
        if token.type == "inline":
            yield from _pieces(token.children)
            yield "\n"
        elif token.type == "list_item_open" and token.info:
            yield f"{token.info}{token.markup} "  # "1984. A novel" is a list, too
        elif token.type in ("softbreak", "hardbreak"):
            yield "\n"
        elif token.type == "image":
            yield from _pieces(token.children)
        elif token.content:
            yield token.content


@lru_cache(maxsize=1)
def _parser() -> Any:
    require("clean", "cleaning of Markdown")
    from markdown_it import MarkdownIt

    # Tags are text here: taking them out is a step of its own.
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def _without_urls(text: str) -> str:
    found = _linkifier().match(text) or []
    parts, end = [], 0
    for match in found:
        if match.schema or match.raw.lower().startswith("www."):
            parts.append(text[end : match.index])
            end = match.last_index
    return " ".join([*parts, text[end:]])


@lru_cache(maxsize=1)
def _linkifier() -> Any:
    require("clean", "taking out addresses")
    from linkify_it import LinkifyIt

    return LinkifyIt(options={"fuzzy_email": False})
