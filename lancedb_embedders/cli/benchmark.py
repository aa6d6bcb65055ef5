"""Commands that measure models on this machine: ``benchmark | batch-size``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lancedb_embedders.cli.errors import clear_errors
from lancedb_embedders.cli.output import AsJson, show

Texts = Annotated[Path, typer.Option(help="Parquet, JSONL, CSV or text lines (.txt).")]
Column = Annotated[str, typer.Option(help="Column of the texts.")]


def benchmark(
    models: Annotated[list[str], typer.Argument(help="Registry names, or names of models.")],
    texts: Texts,
    column: Column = "text",
    evaluate: Annotated[
        Path | None, typer.Option(help="Folder in the form of BEIR, or file of scored pairs.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Plot to write: .png, .svg or .pdf.")] = None,
    html: Annotated[Path | None, typer.Option(help="Page to write.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Turns of each model.")] = 3,
    max_cost: Annotated[
        float | None, typer.Option(help="US dollars that hosted models may cost.", min=0)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare models on your own texts: speed, latency, memory, quality."""
    from lancedb_embedders.tools.benchmark.compare import benchmark_models
    from lancedb_embedders.tools.benchmark.result import PAGES, writable

    with clear_errors():
        if plot is not None:
            from lancedb_embedders.tools.benchmark.plot import FORMATS

            writable(plot, FORMATS)
        if html is not None:
            writable(html, PAGES)
        found = benchmark_models(
            models,
            _read_texts(texts, column),
            evaluation=evaluate,
            repeats=repeats,
            max_cost=max_cost,
        )
        show(found, as_json)
        for file in (
            None if plot is None else found.plot(plot),
            None if html is None else found.html(html),
        ):
            if file is not None:
                typer.echo(f"Written: {file.resolve()}", err=True)


def batch_size(
    model: Annotated[str, typer.Argument(help="Registry name, or name of a model.")],
    texts: Texts,
    column: Column = "text",
    repeats: Annotated[int, typer.Option(min=1, help="Turns of each promising budget.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Find how many tokens should go through a local model at once on this machine."""
    from lancedb_embedders.tools.benchmark.batch_size import find_batch_size

    with clear_errors():
        found = find_batch_size(model, _read_texts(texts, column), repeats=repeats)
        show(found, as_json)


def _read_texts(file: Path, column: str) -> list[str]:
    """Return the texts of a file; of a text file, its lines."""
    from lancedb_embedders.tables.file_formats import readable
    from lancedb_embedders.tables.read_files import read_files

    if file.suffix.lower() == ".txt" and file.is_file():
        with readable(file):
            return file.read_text(encoding="utf-8-sig").splitlines()
    source = read_files([file], column)
    return [text for batch in source.batches() for text in batch[column].to_pylist()]
