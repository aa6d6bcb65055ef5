"""``lancedb-embedders autoload``: registration without an import, for this environment."""

from __future__ import annotations

import typer

from lancedb_embedders import autoload
from lancedb_embedders.cli.errors import clear_errors

autoload_app = typer.Typer(
    help="Register the functions wherever this environment imports LanceDB.",
    no_args_is_help=True,
)


@autoload_app.command()
def enable() -> None:
    """Write the start-up line; nothing else has to import lancedb_embedders then."""
    with clear_errors():
        file = autoload.enable()
    typer.echo(f"on: import lancedb registers the functions, by {file}")


@autoload_app.command()
def disable() -> None:
    """Delete the start-up line."""
    with clear_errors():
        file = autoload.disable()
    typer.echo("off: there was no start-up line" if file is None else f"off: deleted {file}")


@autoload_app.command()
def status() -> None:
    """Say whether there is a start-up line, and where."""
    file = autoload.status()
    if file is None:
        typer.echo("off: a program has to import lancedb_embedders")
    elif autoload.is_current(file):
        typer.echo(f"on: import lancedb registers the functions, by {file}")
    else:
        typer.echo(f"on, by the line of another version; enable renews it: {file}")
