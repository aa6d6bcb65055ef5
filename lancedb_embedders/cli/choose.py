"""Commands that choose a model and count its cost: ``choose | recommend | cost``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from lancedb_embedders.cli.errors import clear_errors
from lancedb_embedders.cli.output import AsJson, show
from lancedb_embedders.cli.tables import Option, Storage, open_table, option_values
from lancedb_embedders.errors import ConfigurationError

UseCase = Annotated[
    str,
    typer.Argument(
        help="general, qa, retrieval, multilingual, multimodal, long-documents or code."
    ),
]
Priority = Annotated[str, typer.Option(help="speed, balanced or quality.")]
Privacy = Annotated[str, typer.Option(help='"any", or "local": texts stay on this machine.')]
Language = Annotated[
    list[str] | None, typer.Option("--language", help='BCP 47 code, like "de"; repeat it.')
]
Commercial = Annotated[
    bool, typer.Option(help="Leave out licences that forbid commercial use, or are not stated.")
]


def choose(
    use_case: UseCase = "general",
    priority: Priority = "balanced",
    privacy: Privacy = "any",
    language: Language = None,
    commercial: Commercial = True,
    as_json: AsJson = False,
) -> None:
    """Choose a model by use case and priority."""
    with clear_errors():
        from lancedb_embedders.tools.choose.recommend import choose_model

        found = choose_model(
            use_case, priority, privacy=privacy, languages=language, commercial=commercial
        )
        show(found, as_json)


def recommend(
    use_case: UseCase = "general",
    priority: Priority = "balanced",
    rows: Annotated[int | None, typer.Option(help="Rows of the table.")] = None,
    tokens_per_row: Annotated[int | None, typer.Option(help="Tokens of a row.")] = None,
    budget: Annotated[float | None, typer.Option(help="US dollars for all rows, once.")] = None,
    latency: Annotated[float | None, typer.Option(help="Milliseconds of a query.")] = None,
    privacy: Privacy = "any",
    language: Language = None,
    commercial: Commercial = True,
    stored: Annotated[str, typer.Option(help="float32, float16 or binary.")] = "float32",
    filtered: Annotated[bool, typer.Option("--filtered", help="Most searches filter.")] = False,
    measure: Annotated[bool, typer.Option("--measure", help="Time the model here.")] = False,
    as_json: AsJson = False,
) -> None:
    """Recommend a model, its storage, the index to build, and what embedding costs."""
    with clear_errors():
        from lancedb_embedders.tools.choose.recommend import recommend_model

        found = recommend_model(
            use_case,
            priority=priority,
            budget=budget,
            latency=latency,
            privacy=privacy,
            dataset_size=rows,
            tokens_per_row=tokens_per_row,
            languages=language,
            commercial=commercial,
            # A wrong one is refused there.
            stored=cast("Literal['float32', 'float16', 'binary']", stored),
            filtered=filtered,
            measure=measure,
        )
        show(found, as_json)


def cost(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Parquet, JSONL, CSV, text; or folders.")
    ] = None,
    db: Annotated[str | None, typer.Option(help="Folder or address of the database.")] = None,
    table: Annotated[str | None, typer.Option(help="Table, in place of files.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Model, or function; none: that of the table.")
    ] = None,
    column: Annotated[str | None, typer.Option(help="Column of the texts.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of a cache whose vectors cost nothing.")
    ] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Time the model here.")] = False,
    option: Option = None,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Count what embedding files or a table would cost; nothing is sent."""
    with clear_errors():
        from lancedb_embedders.tools.cost.estimate import estimate_cost

        if bool(files) == (table is not None):
            raise ConfigurationError("say what to count: files, or --db and --table")
        if table is not None and db is None:
            raise ConfigurationError("--table is of a database; name that by --db")
        given = files if table is None else open_table(str(db), table, storage)
        found = estimate_cost(
            given,
            model,
            column=column,
            cache=cache,
            measure=measure,
            **option_values(option),
        )
        show(found, as_json)


CHOICES: tuple[Callable[..., None], ...] = (choose, recommend, cost)
