"""The model card of a model that was trained here: what from, on what, how, and how good it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lancedb_embedders import catalog
from lancedb_embedders.version import __version__

if TYPE_CHECKING:
    from lancedb_embedders.tools.fine_tuning.result import FineTuneResult


def write_card(folder: Path, result: FineTuneResult, languages: Sequence[str]) -> None:
    """Write ``README.md`` into a model's folder.

    Parameters
    ----------
    folder : pathlib.Path
        Of the model.
    result : FineTuneResult
        What is told.
    languages : sequence of str
        BCP 47 codes of the languages of the model that it was made from.
    """
    card = catalog.find(result.model)
    head: list[str] = ["---", "library_name: sentence-transformers"]
    head += ["pipeline_tag: sentence-similarity"]
    if card is not None:
        head += [f"base_model: {card.name}", f"license: {card.licence}"]
    if languages:
        head += ["language:", *(f"- {json.dumps(language)}" for language in languages)]
    lines = [
        *head,
        "---",
        "",
        f"# {result.folder.name}",
        "",
        f"{result.model}, fine-tuned on {result.rows:,} rows with lancedb-embedders {__version__}.",
        "",
        "| | |",
        "|---|---|",
        f"| loss | {result.loss} |",
        f"| steps | {result.steps:,}, kept: {result.best_step:,} |",
        f"| seed | {result.seed} |",
        *(f"| {name} | {value} |" for name, value in result.options.items()),
    ]
    if result.metric is not None:
        lines += [
            "",
            f"| {result.metric} | before | after |",
            "|---|---:|---:|",
            f"| all dimensions | {result.before:.2f} | {result.after:.2f} |",
            *(
                f"| {dims} dimensions | {before:.2f} | {after:.2f} |"
                for dims, (before, after) in result.by_dims.items()
            ),
            "",
            "The checkpoint was chosen by this figure: measure on data that chose nothing.",
        ]
    lines += [
        "",
        "```python",
        "from lancedb.embeddings import get_registry",
        "import lancedb_embedders",
        "",
        f"function = get_registry().get({json.dumps(result.function)}).create(",
        f"    name={json.dumps(result.folder.name)}",
        ")  # with LANCEDB_EMBEDDERS_MODELS set to the folder above this one",
        "```",
        "",
    ]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")
