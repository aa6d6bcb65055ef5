"""Errors and warnings as the command line tells them: a message each, and no traceback."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console

from lancedb_embedders.errors import EmbeddingError, EmbeddingWarning

# What is raised within a write comes out of LanceDB as the text of a traceback.
_WITHIN = re.compile(r"^lancedb_embedders\.errors\.(\w+): (.*)", re.MULTILINE | re.DOTALL)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Print errors and warnings of this package; an error ends the command with status 1."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
            # Where in the code it was raised is nothing that a user can do something about.
            if issubclass(category, EmbeddingWarning):
                _print(type(message).__name__, str(message), "yellow")
            else:
                shown(message, category, *where, **more)

        warnings.showwarning = show
        try:
            yield
        except EmbeddingError as error:
            _print(type(error).__name__, str(error), "red")
            raise typer.Exit(1) from None
        except RuntimeError as error:
            within = _WITHIN.search(str(error))
            if within is None:
                raise
            _print(within[1], within[2].strip(), "red")
            raise typer.Exit(1) from None


def _print(kind: str, message: str, color: str) -> None:
    Console(stderr=True).print(f"[bold {color}]{kind}:[/] ", end="")
    typer.echo(message, err=True)
