"""``lancedb-embedders images``: the pictures of a folder, searched by a text or a picture."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import lancedb
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lancedb_embedders.cli.errors import clear_errors
from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.extras import require
from lancedb_embedders.functions import ClipEmbeddings
from lancedb_embedders.inputs.images import Image
from lancedb_embedders.tools.gallery import MOST_HITS, Hit, write_gallery
from lancedb_embedders.tools.image_folder import image_table, search_images


def images(
    folder: Annotated[Path, typer.Argument(help="Folder of pictures, with all below it.")],
    query: Annotated[
        str | None, typer.Option(help="Text to search by.", show_default=False)
    ] = None,
    like: Annotated[
        Path | None, typer.Option(help="Picture to search by.", show_default=False)
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Page to write, with the pictures in it.", dir_okay=False)
    ] = None,
    model: Annotated[str | None, typer.Option(help="Name or folder of the model.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_HITS, help="How many pictures.")] = 12,
    db: Annotated[
        Path | None,
        typer.Option(help="Where the table is kept for the next time.", show_default=False),
    ] = None,
) -> None:
    """Find the pictures in a folder that are nearest to a text or to a picture."""
    with clear_errors():
        require("clip", "the search of pictures")
        wanted = _wanted(query, like)
        _check(folder, html)
        options = {} if model is None else {"name": model}
        clip = ClipEmbeddings.create(source="image", on_bad_image="null", **options)
        # What is wrong with query or model comes out before many pictures are embedded.
        clip.compute_query_embeddings([wanted])
        with _database(db) as database:
            table = image_table(folder, database, clip)
            count = table.count_rows()
            hits = search_images(table, wanted, limit)
        console = Console()
        console.print(_listed(query or str(like), hits))
        console.print(f"of {count:,} pictures", highlight=False)
        if html is not None:
            write_gallery(wanted, hits, html)
            typer.echo(f"The page: {html.resolve()}")


def _wanted(query: str | None, like: Path | None) -> str | Image:
    if query is not None and like is None:
        return query
    if like is not None and query is None:
        return Image(like)
    raise ConfigurationError("say what to search by: --query, or --like")


def _check(folder: Path, html: Path | None) -> None:
    if not folder.is_dir():
        raise ConfigurationError(f"there is no folder {folder}")
    if html is not None and not os.access(html.parent, os.W_OK):
        raise ConfigurationError(f"no page can be written to the folder {html.parent}")


@contextmanager
def _database(folder: Path | None) -> Iterator[Any]:
    if folder is not None:
        yield lancedb.connect(folder)
        return
    with TemporaryDirectory() as temporary:
        yield lancedb.connect(temporary)


def _listed(query: str, hits: Sequence[Hit]) -> Table:
    table = Table(title=_plain(f"“{query}”"), title_justify="left")
    table.add_column("cosine", justify="right")
    table.add_column("file", overflow="fold")
    for hit in hits:
        table.add_row(f"{hit.similarity:.3f}", _plain(hit.name))
    return table


def _plain(text: str) -> Text:
    # Names of files may hold what a terminal would obey.
    return Text("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))
