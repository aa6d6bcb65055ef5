"""``lancedb-embedders evaluate sts | retrieval | classification``: how good vectors are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from lancedb_embedders.cli.errors import clear_errors
from lancedb_embedders.cli.output import AsJson, show
from lancedb_embedders.cli.tables import Option, open_table, option_values
from lancedb_embedders.errors import ConfigurationError

evaluate_app = typer.Typer(help="Measure how good vectors are.", no_args_is_help=True)

Model = Annotated[
    str, typer.Option(help="Registry name of a function, or name or folder of a model.")
]


@evaluate_app.command()
def sts(
    pairs: Annotated[Path, typer.Argument(help="Scored pairs: TSV, CSV or JSON lines.")],
    model: Model = "sbert",
    option: Option = None,
    as_json: AsJson = False,
) -> None:
    """Compare cosines of pairs with scores that people gave them."""
    from lancedb_embedders.tools.evaluate import evaluate_sts
    from lancedb_embedders.tools.given import function_of

    with clear_errors():
        show(evaluate_sts(function_of(model, **option_values(option)), pairs), as_json)


@evaluate_app.command()
def retrieval(
    folder: Annotated[Path, typer.Argument(help="Corpus, queries and qrels in the form of BEIR.")],
    model: Annotated[
        str | None, typer.Option(help="Function or model; it embeds the corpus of the set.")
    ] = None,
    option: Option = None,
    db: Annotated[str | None, typer.Option(help="Database of a table to measure.")] = None,
    name: Annotated[str | None, typer.Option("--table", help="Table to measure.")] = None,
    id_column: Annotated[str, typer.Option(help="The table's column of document ids.")] = "id",
    split: Annotated[str | None, typer.Option(help="Which queries, if there are several.")] = None,
    query_type: Annotated[str, typer.Option(help='"vector", "fts" or "hybrid".')] = "vector",
    nprobes: Annotated[int | None, typer.Option(help="Of the vector index.")] = None,
    refine_factor: Annotated[int | None, typer.Option(help="Of the vector index.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure what a table finds; exact search beside its index."""
    from lancedb_embedders.tools.evaluate import evaluate_retrieval
    from lancedb_embedders.tools.given import function_of

    with clear_errors():
        if (db is None) != (name is None):
            raise ConfigurationError("a table is named by --db and --table")
        if db is not None and (model is not None or option):
            raise ConfigurationError("a table has its function: give --model, or --db and --table")
        target: Any
        if db is not None and name is not None:
            target = open_table(db, name)
        else:
            target = function_of(model or "sbert", **option_values(option))
        found = evaluate_retrieval(
            target,
            folder,
            split=split,
            id_column=id_column,
            query_type=cast("Any", query_type),  # a wrong one is refused there
            nprobes=nprobes,
            refine_factor=refine_factor,
        )
        show(found, as_json)


@evaluate_app.command()
def classification(
    train: Annotated[Path, typer.Argument(help="Labelled texts to learn from.")],
    test: Annotated[Path, typer.Argument(help="Labelled texts to try it on.")],
    model: Model = "sbert",
    option: Option = None,
    as_json: AsJson = False,
) -> None:
    """Train a linear probe on vectors, and try it on others."""
    from lancedb_embedders.tools.evaluate import evaluate_classification
    from lancedb_embedders.tools.given import function_of

    with clear_errors():
        function = function_of(model, **option_values(option))
        show(evaluate_classification(function, train, test), as_json)
