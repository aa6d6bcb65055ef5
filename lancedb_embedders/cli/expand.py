"""``lancedb-embedders expand``: the terms of a collection that are near to a query."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lancedb_embedders.cli.errors import clear_errors
from lancedb_embedders.cli.output import AsJson, show
from lancedb_embedders.cli.tables import open_table
from lancedb_embedders.errors import ConfigurationError


def expand(
    query: Annotated[str, typer.Argument(help="What is searched for.")],
    db: Annotated[
        str | None, typer.Option(help="Folder or address of the database.", show_default=False)
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--table", help="Table whose terms count.", show_default=False),
    ] = None,
    vocabulary: Annotated[
        Path | None, typer.Option(help="File with a term in each line.", show_default=False)
    ] = None,
    function: Annotated[
        str | None,
        typer.Option(help='Function or model; without it the table\'s own, or "sbert".'),
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="Column of texts, if not the one that is embedded.")
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="The most terms that are added.")] = 5,
    min_similarity: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Cosine that a term has at least.")
    ] = None,
    language: Annotated[str, typer.Option(help="Whose word forms count as one.")] = "English",
    as_json: AsJson = False,
) -> None:
    """Find the terms that are near to a query, and print it with them."""
    from lancedb_embedders.tools.expand.expansion import expand_query
    from lancedb_embedders.tools.given import table_function
    from lancedb_embedders.tools.result import printable

    with clear_errors():
        known: Any
        embedder: Any
        if (vocabulary is None) == (name is None) or (name is None) != (db is None):
            raise ConfigurationError("say whose terms: --db and --table, or --vocabulary")
        if vocabulary is not None:
            known = _lines(vocabulary)
            embedder = function or "sbert"
        else:
            known = open_table(str(db), str(name))
            embedder = function or table_function(known)[0]
        found = expand_query(
            embedder,
            query,
            known,
            top_k,
            min_similarity=min_similarity,
            column=column,
            language=language,
        )
        show(found, as_json)
        if not as_json:
            typer.echo(printable(found.expanded))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read as UTF-8 text: {error}") from None
