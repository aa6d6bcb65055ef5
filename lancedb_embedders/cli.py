"""The command line: ``lancedb-embedders demo | list | embed``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from lancedb_embedders import catalog
from lancedb_embedders.batch import Role
from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError, EmbeddingError
from lancedb_embedders.extras import installed
from lancedb_embedders.stored import registered
from lancedb_embedders.version import __version__

app = typer.Typer(
    help="Embedding functions for LanceDB.", no_args_is_help=True, add_completion=False
)


@app.callback(invoke_without_command=True)
def main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Embedding functions for LanceDB."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def demo(
    db: Annotated[Path, typer.Option(help="Where the table goes.")] = Path("demo-db"),
    data: Annotated[
        Path, typer.Option(envvar="LANCEDB_EMBEDDERS_DATA", help="Evaluation data, if there.")
    ] = Path("../shared/data"),
    rows: Annotated[int, typer.Option(min=10, help="How many paragraphs to embed.")] = 1500,
) -> None:
    """Embed real documents on this machine, and search them."""
    from lancedb_embedders.demo import run_demo

    with _clear_errors():
        run_demo(db, data, rows, Console())


@app.command("list")
def list_functions() -> None:
    """List the embedding functions: default model, dimensions, what to install."""
    table = Table(title="Embedding functions")
    for heading in ("function", "default model", "dims", "extra", "installed"):
        table.add_column(heading, justify="right" if heading == "dims" else "left")
    for name, function in sorted(registered().items()):
        model = str(function.model_fields["name"].default)
        card = catalog.find(model)
        extra = function.extra
        table.add_row(
            name,
            model,
            str(card.dims) if card else "?",
            extra or "none needed",
            "yes" if extra is None or installed(extra) else f"no: lancedb-embedders[{extra}]",
        )
    Console().print(table)


@app.command()
def embed(
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT...", help="Texts; without any, the lines of standard input."),
    ] = None,
    function: Annotated[str, typer.Option(help="Registry name of the function.")] = "sbert",
    model: Annotated[str | None, typer.Option(help="Name or folder of the model.")] = None,
    role: Annotated[str, typer.Option(help="document or query.")] = "document",
    truncate_dim: Annotated[int | None, typer.Option(help="Keep this many dimensions.")] = None,
) -> None:
    """Embed texts and print one line of JSON a text."""
    with _clear_errors():
        inputs = texts if texts else [line.rstrip("\n") for line in sys.stdin]
        embedder = _create(function, name=model, truncate_dim=truncate_dim)
        for text, vector in zip(inputs, _vectors(embedder, inputs, role), strict=True):
            values = None if vector is None else [round(float(v), 7) for v in vector]
            typer.echo(json.dumps({"text": text, "vector": values}, ensure_ascii=False))


def _create(function: str, **options: Any) -> Embedder:
    known = registered()
    if function not in known:
        raise ConfigurationError(
            f"there is no function {function!r}; there are: {', '.join(sorted(known))}"
        )
    given = {name: value for name, value in options.items() if value is not None}
    embedder: Embedder = known[function].create(**given)
    return embedder


def _vectors(embedder: Embedder, texts: list[str], role: str) -> Any:
    roles: dict[str, Role] = {"document": "document", "query": "query"}
    if role not in roles:
        raise ConfigurationError(f'role is "document" or "query", not {role!r}')
    if roles[role] == "query":
        return embedder.compute_query_embeddings(texts)
    return embedder.compute_source_embeddings(texts)


@contextmanager
def _clear_errors() -> Iterator[None]:
    try:
        yield
    except EmbeddingError as error:
        Console(stderr=True).print(f"[bold red]{type(error).__name__}:[/] ", end="")
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
