"""Commands for a table over time: ``attach | reembed | refresh | check | ingest | discard``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal, cast

import pyarrow as pa
import typer
from pydantic import TypeAdapter, ValidationError

from lancedb_embedders.cli.errors import clear_errors
from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.stored import registered

Db = Annotated[str, typer.Option(help="Folder or address of the database.")]
Name = Annotated[str, typer.Option("--table", help="Name of the table.")]
Vector = Annotated[str | None, typer.Option(help="The vector column, if there are several.")]
Function = Annotated[str | None, typer.Option(help="Registry name of the function.")]
Option = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", help='Of the function, like "truncate_dim=256"; repeat it.'),
]
Storage = Annotated[
    list[str] | None,
    typer.Option(help='Of the object store, like "region=eu-west-1"; repeat it.'),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what it would come to.")]
Engine = Annotated[str, typer.Option(help='"local", or "ray" for the workers of a cluster.')]
Workers = Annotated[int | None, typer.Option(help="Workers of the cluster.")]
Gpus = Annotated[float | None, typer.Option(help="GPUs of each worker.")]


def attach(
    db: Db,
    name: Name,
    source: Annotated[str, typer.Option(help="Column to embed.")],
    vector: Annotated[str, typer.Option(help="Column that gets the vectors.")] = "vector",
    function: Annotated[str, typer.Option(help="Registry name of the function.")] = "sbert",
    option: Option = None,
    content_hash: Annotated[bool, typer.Option(help="Keep hashes, for refresh.")] = True,
    storage: Storage = None,
    dry_run: DryRun = False,
    engine: Engine = "local",
    workers: Workers = None,
    gpus: Gpus = None,
) -> None:
    """Give an existing table a vector column that embeds by itself from then on."""
    from lancedb_embedders import tables

    with _said():
        found = tables.attach(
            open_table(db, name, storage),
            source,
            vector,
            _made(function, option),
            content_hash=content_hash,
            dry_run=dry_run,
            engine=_engine(engine),
            workers=workers,
            gpus=gpus,
        )
        typer.echo(str(found))


def reembed(
    db: Db,
    name: Name,
    function: Function = None,
    option: Option = None,
    where: Annotated[str | None, typer.Option(help="SQL condition on rows.")] = None,
    only_missing: Annotated[
        bool, typer.Option("--only-missing", help="Rows without a vector.")
    ] = False,
    changed_since: Annotated[
        str | None, typer.Option(help="Rows written after a version, or a time (ISO 8601).")
    ] = None,
    vector: Vector = None,
    storage: Storage = None,
    dry_run: DryRun = False,
    engine: Engine = "local",
    workers: Workers = None,
    gpus: Gpus = None,
) -> None:
    """Replace the vectors of a table by those of another model, in one switch."""
    from lancedb_embedders import tables

    with _said():
        if function is None and option:
            raise ConfigurationError("--option is of a function; name that by --function")
        found = tables.reembed(
            open_table(db, name, storage),
            None if function is None else _made(function, option),
            where,
            only_missing,
            _since(changed_since),
            vector=vector,
            dry_run=dry_run,
            engine=_engine(engine),
            workers=workers,
            gpus=gpus,
        )
        typer.echo(str(found))


def refresh(
    db: Db,
    name: Name,
    vector: Vector = None,
    unknown: Annotated[
        str, typer.Option(help='Of a table without hashes: "error", "embed" or "trust".')
    ] = "error",
    storage: Storage = None,
    dry_run: DryRun = False,
    engine: Engine = "local",
    workers: Workers = None,
    gpus: Gpus = None,
) -> None:
    """Embed the rows whose text is no longer the one that their vector was made from."""
    from lancedb_embedders import tables

    with _said():
        found = tables.refresh(
            open_table(db, name, storage),
            vector,
            unknown=cast("Any", unknown),  # a wrong one is refused there
            dry_run=dry_run,
            engine=_engine(engine),
            workers=workers,
            gpus=gpus,
        )
        typer.echo(str(found))


def check(
    db: Db,
    name: Name,
    vector: Vector = None,
    sample: Annotated[int, typer.Option(min=0, help="Random rows to embed again.")] = 100,
    storage: Storage = None,
) -> None:
    """Say what made a table's vectors, and whether they are still right; status 1 if not."""
    from lancedb_embedders import tables

    with _said():
        found = tables.check(open_table(db, name, storage), vector, sample=sample)
        typer.echo(str(found))
        if not found.ok:
            raise typer.Exit(1)


def ingest(
    files: Annotated[list[str], typer.Argument(help="Parquet, JSONL, CSV, text; or folders.")],
    db: Db,
    name: Name,
    text: Annotated[str | None, typer.Option(help='Column to embed; "text" if not given.')] = None,
    key: Annotated[str | None, typer.Option(help="Column that tells rows apart.")] = None,
    vector: Annotated[str, typer.Option(help="Column of vectors, in a new table.")] = "vector",
    function: Function = None,
    option: Option = None,
    storage: Storage = None,
    engine: Engine = "local",
    workers: Workers = None,
    gpus: Gpus = None,
) -> None:
    """Stream files into a table that embeds itself; what is there already is skipped."""
    from lancedb_embedders import tables

    with _said():
        found = tables.ingest(
            _connected(db, storage),
            name,
            files,
            text=text,
            key=key,
            vector=vector,
            function=None if function is None and not option else _made(function, option),
            engine=_engine(engine),
            workers=workers,
            gpus=gpus,
        )
        typer.echo(str(found))


def discard(db: Db, name: Name, storage: Storage = None) -> None:
    """Delete what unfinished work on a table has kept."""
    from lancedb_embedders import tables

    with _said():
        count = tables.discard(open_table(db, name, storage))
        typer.echo(f"{count} unfinished works deleted")


COMMANDS: tuple[Callable[..., None], ...] = (attach, reembed, refresh, check, ingest, discard)


def created(registry_name: str, /, **options: Any) -> Embedder:
    """Return a function by its name; options that are None are left out."""
    known = registered()
    if registry_name not in known:
        raise ConfigurationError(
            f"there is no function {registry_name!r}; there are: {', '.join(sorted(known))}"
        )
    given = {key: value for key, value in options.items() if value is not None}
    function: Embedder = known[registry_name].create(**given)
    return function


def option_values(options: list[str] | None) -> dict[str, Any]:
    """Return what `--option name=value` gave, values as JSON has them or as texts."""
    return {key: _value(text) for key, text in _pairs(options).items()}


def _made(function: str | None, options: list[str] | None) -> Embedder:
    return created(function or "sbert", **option_values(options))


@contextmanager
def _said() -> Iterator[None]:
    """Print errors as messages; Ctrl-C ends with one, too."""
    with clear_errors():
        try:
            yield
        except (KeyboardInterrupt, pa.ArrowException) as error:
            # Arrow makes an error of its own of Ctrl-C while it reads.
            if "KeyboardInterrupt" not in repr(error):
                raise
            typer.echo(
                "\nStopped. What was finished is kept; the same command again goes on.", err=True
            )
            raise typer.Exit(130) from None


def _connected(db: str, storage: list[str] | None) -> Any:
    import lancedb

    return lancedb.connect(db, storage_options=_pairs(storage) or None)


def open_table(db: str, name: str, storage: list[str] | None = None) -> Any:
    """Return a table by its name; an error lists those that there are."""
    connection = _connected(db, storage)
    try:
        return connection.open_table(name)
    except (ValueError, FileNotFoundError) as error:
        if "not found" not in str(error):
            raise
        there = ", ".join(connection.list_tables(limit=20).tables) or "none"
        raise ConfigurationError(f"{db} has no table {name!r}; it has: {there}") from None


def _pairs(given: list[str] | None) -> dict[str, str]:
    pairs = {}
    for text in given or ():
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ConfigurationError(f"{text!r} is no option; write it like name=value")
        pairs[key] = value
    return pairs


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _engine(name: str) -> Literal["local", "ray"]:
    if name not in ("local", "ray"):
        raise ConfigurationError(f'engine {name!r} is not known; there are "local" and "ray"')
    return "ray" if name == "ray" else "local"


def _since(text: str | None) -> Any:
    from datetime import datetime

    if text is None or text.isdecimal():
        return None if text is None else int(text)
    try:
        return TypeAdapter(datetime).validate_python(text)
    except ValidationError:
        raise ConfigurationError(
            f"--changed-since {text!r} is neither a version nor a time like 2026-11-25T08:00"
        ) from None
