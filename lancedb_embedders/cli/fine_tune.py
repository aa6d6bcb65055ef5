"""``lancedb-embedders fine-tune``: a model of texts, trained further on pairs in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lancedb_embedders.cli.errors import clear_errors
from lancedb_embedders.cli.output import AsJson, show
from lancedb_embedders.errors import ConfigurationError


def fine_tune(
    model: Annotated[str, typer.Argument(help="Name or folder of the model, or of a function.")],
    train: Annotated[
        Path,
        typer.Option(help="TSV, CSV or JSON lines: two texts and a score, or query and positive."),
    ],
    output: Annotated[Path, typer.Option(help="Folder for the model.")],
    evaluate: Annotated[
        Path | None,
        typer.Option(help="File of pairs or labelled texts, or BEIR folder.", show_default=False),
    ] = None,
    loss: Annotated[
        str | None, typer.Option(help="Name of the loss; by default what fits the rows.")
    ] = None,
    epochs: Annotated[float, typer.Option(help="Passes over the rows.")] = 3,
    batch_size: Annotated[int, typer.Option(help="Rows a step.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="The highest one.")] = 2e-5,
    warmup: Annotated[float, typer.Option(help="Share of the steps.")] = 0.1,
    matryoshka: Annotated[
        str | None, typer.Option(help='Dimensions to cut to later, like "256,128".')
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(help="Tokens of a text that are trained on.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of shuffling and dropout.")] = 0,
    early_stopping: Annotated[
        int | None, typer.Option(help="Evaluations without a new best, then stop.")
    ] = None,
    checkpoint_steps: Annotated[
        int | None, typer.Option(help="Steps between checkpoints; by default an epoch.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--anew", help="Go on with what is there, or replace it.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Train a model further; a run that was stopped goes on when it is started again."""
    from lancedb_embedders.tools import fine_tune

    with clear_errors():
        try:
            result = fine_tune(
                model,
                train,
                output=output,
                evaluation=evaluate,
                loss=loss,
                epochs=epochs,
                batch_size=batch_size,
                learning_rate=learning_rate,
                warmup=warmup,
                matryoshka_dims=_dims(matryoshka),
                max_length=max_length,
                seed=seed,
                early_stopping=early_stopping,
                checkpoint_steps=checkpoint_steps,
                resume=resume,
            )
        except KeyboardInterrupt:
            typer.echo(
                "\nStopped; the same command again goes on from the last checkpoint", err=True
            )
            raise typer.Exit(130) from None
        show(result, as_json)


def _dims(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigurationError(
            f'--matryoshka {text!r} is no list of numbers; write it like "256,128"'
        ) from None
