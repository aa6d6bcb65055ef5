"""How commands print results: as tables, or as JSON."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from lancedb_embedders.tools.result import Result

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def show(result: Result, as_json: bool) -> None:
    """Print a result."""
    if as_json:
        typer.echo(json.dumps(result.to_dict(), ensure_ascii=False, indent=2))
    else:
        Console().print(result)
