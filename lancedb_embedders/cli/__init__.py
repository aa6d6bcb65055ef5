"""The command line, ``lancedb-embedders``: what is not in a file of its own in this folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ByteSize, TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Table

from lancedb_embedders import catalog
from lancedb_embedders.batch import Role
from lancedb_embedders.cache import VectorCache, shared_cache
from lancedb_embedders.cli.autoload import autoload_app
from lancedb_embedders.cli.benchmark import batch_size, benchmark
from lancedb_embedders.cli.choose import CHOICES
from lancedb_embedders.cli.errors import clear_errors
from lancedb_embedders.cli.evaluate import evaluate_app
from lancedb_embedders.cli.expand import expand
from lancedb_embedders.cli.fine_tune import fine_tune
from lancedb_embedders.cli.images import images
from lancedb_embedders.cli.monitor import monitor
from lancedb_embedders.cli.tables import COMMANDS, created
from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.extras import installed
from lancedb_embedders.settings import settings
from lancedb_embedders.stored import registered
from lancedb_embedders.version import __version__

app = typer.Typer(
    help="Embedding functions for LanceDB.", no_args_is_help=True, add_completion=False
)
app.command("images")(images)
app.command("fine-tune")(fine_tune)
app.command()(monitor)
app.command()(expand)
app.command()(benchmark)
app.command("batch-size")(batch_size)
for command in (*CHOICES, *COMMANDS):
    app.command()(command)
app.add_typer(autoload_app, name="autoload")
app.add_typer(evaluate_app, name="evaluate")

cache_app = typer.Typer(help="Look after the vectors on disk.", no_args_is_help=True)
app.add_typer(cache_app, name="cache")

CacheFolder = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        envvar="LANCEDB_EMBEDDERS_CACHE_DIR",
        help="Folder of the cache; by default the user's cache folder.",
        show_default=False,
    ),
]


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

    with clear_errors():
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
    with clear_errors():
        inputs = texts if texts else [line.rstrip("\n") for line in sys.stdin]
        embedder = created(function, name=model, truncate_dim=truncate_dim)
        for text, vector in zip(inputs, _vectors(embedder, inputs, role), strict=True):
            values = None if vector is None else [round(float(v), 7) for v in vector]
            typer.echo(json.dumps({"text": text, "vector": values}, ensure_ascii=False))


@cache_app.command()
def stats(folder: CacheFolder = None) -> None:
    """Say how many vectors there are, of which models, and how much room they take."""
    with clear_errors():
        found = _cache(folder).stats()
    table = Table(title=str(found.path))
    for heading in ("what made them", "dims", "vectors", "size"):
        table.add_column(heading, justify="left" if heading == "what made them" else "right")
    for space in found.spaces:
        table.add_row(
            _described(space.description),
            str(space.width),
            f"{space.vectors:,}",
            ByteSize(space.bytes).human_readable(),
        )
    console = Console()
    console.print(table)
    size = ByteSize(found.file_bytes).human_readable()
    console.print(f"{found.vectors:,} vectors, {size} on disk", highlight=False)


@cache_app.command()
def prune(
    max_size: Annotated[
        str | None, typer.Option(help='Size that it may have, like "10GB".', show_default=False)
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(help='Age at which vectors go, like "90d" or "12h".', show_default=False),
    ] = None,
    folder: CacheFolder = None,
) -> None:
    """Delete vectors, the oldest first."""
    with clear_errors():
        if max_size is None and older_than is None:
            raise ConfigurationError("say what may stay: --max-size, --older-than, or both")
        count = _cache(folder).prune(
            None if max_size is None else _size(max_size),
            None if older_than is None else _age(older_than),
        )
    typer.echo(f"{count:,} vectors deleted")


@cache_app.command()
def clear(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    folder: CacheFolder = None,
) -> None:
    """Delete all vectors; on a terminal it asks first."""
    with clear_errors():
        cache = _cache(folder)
        if not yes and sys.stdin.isatty():
            typer.confirm(f"Delete all vectors in {cache.path}?", abort=True)
        count = cache.clear()
    typer.echo(f"{count:,} vectors deleted")


@cache_app.command()
def export(
    target: Annotated[Path, typer.Argument(help="Parquet file to write.")],
    folder: CacheFolder = None,
) -> None:
    """Write all vectors to a Parquet file."""
    with clear_errors():
        count = _cache(folder).export(target)
    typer.echo(f"{count:,} vectors written to {target}")


@cache_app.command()
def verify(folder: CacheFolder = None) -> None:
    """Read everything, and check that it is what was stored."""
    with clear_errors():
        count = _cache(folder).verify()
    typer.echo(f"{count:,} vectors, all sound")


def _cache(folder: Path | None) -> VectorCache:
    return shared_cache(folder or settings.cache_dir)


def _described(description: str) -> str:
    try:
        facts = json.loads(description)
    except ValueError:
        return description
    if not isinstance(facts, dict):
        return description
    options = facts.get("options") or {}
    model = facts.get("model") or options.get("name") or "?"
    kind = facts.get("kind") or facts.get("role")
    return " ".join(str(part) for part in (facts.get("provider"), model, kind) if part)


def _size(text: str) -> int:
    try:
        return int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError:
        raise ConfigurationError(f'{text!r} is no size; write it like "10GB" or "500MB"') from None


def _age(text: str) -> float:
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
    unit = text[-1:].lower()
    try:
        return float(text[:-1]) * seconds[unit]
    except (KeyError, ValueError):
        raise ConfigurationError(f'{text!r} is no age; write it like "90d" or "12h"') from None


def _vectors(embedder: Embedder, texts: list[str], role: str) -> Any:
    roles: dict[str, Role] = {"document": "document", "query": "query"}
    if role not in roles:
        raise ConfigurationError(f'role is "document" or "query", not {role!r}')
    if roles[role] == "query":
        return embedder.compute_query_embeddings(texts)
    return embedder.compute_source_embeddings(texts)
