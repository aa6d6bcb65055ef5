"""The command ``monitor``: whether a table's vectors are what they should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lancedb_embedders.cli.errors import clear_errors
from lancedb_embedders.cli.tables import open_table


def monitor(
    name: Annotated[str, typer.Argument(metavar="TABLE", help="Name of the table.")],
    db: Annotated[str, typer.Option(help="Folder or address of the database.")],
    vector: Annotated[
        str | None, typer.Option(help="The vector column, if there are several.")
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Random rows to look at.")] = 2000,
    since_version: Annotated[
        int | None, typer.Option(min=1, help="Only rows written after this version.")
    ] = None,
    history: Annotated[
        str | None,
        typer.Option(help="Database that keeps the checks; with it, drift is tested, too."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Page to write of all checks.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the vectors of a table; status 1 if something is found."""
    from lancedb_embedders.tools.monitor import QualityMonitor

    with clear_errors():
        table = open_table(db, name)
        known = name if vector is None else f"{name}.{vector}"
        watch = QualityMonitor(name=known, history=history)
        found = watch.check_table(table, vector, sample=sample, since_version=since_version)
        drift = watch.drift() if watch.has_periods else None
        if html is not None:
            watch.write_html(html)
        if as_json:
            parts = {"quality": found.to_dict(), "drift": drift and drift.to_dict()}
            typer.echo(json.dumps(parts, ensure_ascii=False))
        else:
            console = Console()
            console.print(found)
            if drift is not None:
                console.print(drift)
        if not found.ok or (drift is not None and not drift.ok):
            raise typer.Exit(1)
