"""Measure `clip` against LanceDB's `open-clip`: ``python -m benchmarks.images``.

``--topic coco``, ``phone`` and ``agreement`` choose; all if left out. The heavy imports are in the
processes that it starts: on Linux a new process begins with the peak memory of the one that
started it.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.hosted.job import WorkerError
from benchmarks.images.job import OURS, Job, run
from benchmarks.images.photos import COUNTS, photos_folder
from benchmarks.images.speed import Line, Speed
from benchmarks.machine import machine, versions


class Topic(str, Enum):
    """What can be measured."""

    COCO = "coco"
    PHONE = "phone"
    AGREEMENT = "agreement"


_PACKAGES = ("pillow", "open_clip_torch", "torchvision")


def main(
    topic: Annotated[
        Optional[list[Topic]],  # noqa: UP045, typer reads it at run time
        typer.Option(help="What to measure; may be repeated. All if left out."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each contestant.")] = 5,
    pictures: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=2, help="Of each set; left out: 200 of coco, 60 of phone."),
    ] = None,
    json_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--json", help="Where to write all figures."),
    ] = None,
) -> None:
    """Measure pictures a second, ours and theirs in turns, and whether vectors stay the same."""
    console = Console(width=170)
    if not any(photos_folder().glob("*.jpg")):
        _say(console, f"There are no photos in {photos_folder()}: nothing is measured.")
        _say(console, "Set LANCEDB_EMBEDDERS_DATA to the folder of the evaluation data.")
        return
    topics = list(dict.fromkeys(topic or Topic))
    _say(console, machine(), f"{versions()}{_more_versions()}")
    figures: dict[str, Any] = {"machine": machine(), "versions": versions()}
    with tempfile.TemporaryDirectory() as folder, Console(stderr=True).status("") as status:
        try:
            bench = _Bench(Path(folder), rounds, pictures, console, status.update)
            if topics != [Topic.AGREEMENT]:
                figures["left out"] = bench.find_peers()
            for chosen in topics:
                kind = chosen.value
                figures[kind] = bench.agreement() if kind not in COUNTS else bench.add(kind)
        except WorkerError as error:
            console.print(str(error), style="red", markup=False)
            raise typer.Exit(1) from None
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2), encoding="utf-8")


class _Bench:
    def __init__(
        self, folder: Path, rounds: int, pictures: int | None, console: Console, report: Any
    ) -> None:
        self._folder, self._pictures = folder, pictures
        self._console, self._report = console, report
        self._model = str(folder / "model")
        report("a model with random weights")
        run(Job("model", str(folder), self._model))
        self._speed = Speed(folder, self._model, rounds, report)
        self._contestants = [OURS]

    def find_peers(self) -> dict[str, str]:
        """Find who takes part, and say who does not; return the reasons."""
        peers = run(Job("peers", str(self._folder)))
        left_out = {who: reason for who, reason in peers.items() if reason}
        for who, reason in left_out.items():
            _say(self._console, f"{who} is left out: {reason}")
        self._contestants += [who for who in peers if who not in left_out]
        return left_out

    def add(self, kind: str) -> list[dict[str, Any]]:
        """Measure how many pictures of a set are added in a second, and show it."""
        photos, facts = self._photos(kind)
        lines = self._speed.add(photos, facts["count"], self._contestants)
        self._console.print(_table(kind, facts, lines))
        _say(self._console, "Stages overlap in time, and then each counts: together more than all.")
        return [line.as_dict() for line in lines]

    def agreement(self) -> dict[str, Any]:
        """Compare our vectors to those of transformers, and show it."""
        table = Table(title="cosine to transformers at full resolution, random weights")
        for name in ("pictures", "lowest", "mean", "of two different pictures, mean"):
            table.add_column(name, justify="right")
        table.columns[0].justify = "left"
        found = {}
        for kind in COUNTS:
            photos, facts = self._photos(kind)
            self._report(f"{kind}: vectors of both")
            found[kind] = run(Job("compare", str(self._folder), self._model, photos, kind=kind))
            numbers = (f"{found[kind][name]:.6f}" for name in ("min", "mean", "others"))
            table.add_row(f"{facts['count']} of {kind}", *numbers)
        self._console.print(table)
        return found

    def _photos(self, kind: str) -> tuple[str, dict[str, Any]]:
        file = self._folder / f"{kind}.arrow"
        self._report(f"pictures of {kind}")
        count = self._pictures or COUNTS[kind]
        facts = run(Job("photos", str(self._folder), photos=str(file), kind=kind, count=count))
        return str(file), facts


def _table(kind: str, facts: dict[str, Any], lines: list[Line]) -> Table:
    size = f"{facts['bytes'] / 1e6:.2f} MB on average"
    table = Table(title=f"{kind}: {facts['count']} pictures, {size}", title_justify="left")
    table.add_column("")
    for name in (
        "pictures/s",
        "seconds",
        f"{OURS} is faster by",
        "CPU s",
        "times as much",
        "decode s / CPU s",
        "model s / CPU s",
        "write s / CPU s",
        "peak MiB",
        "of it for the add",
    ):
        table.add_column(name, justify="right")
    for line in lines:
        table.add_row(*_cells(line, lines[0]))
    return table


def _cells(line: Line, ours: Line) -> list[str]:
    seconds = [found["seconds"] for found in line.rounds]
    times = ours.times(line)
    shares = (f"{line.median(name):.2f} / {line.median(f'{name}_cpu'):.2f}" for name in _STAGES)
    return [
        line.who,
        f"{line.rate():.1f}",
        f"{min(seconds):.2f} to {max(seconds):.2f}",
        f"{statistics.median(times):.2f}x ({min(times):.2f} to {max(times):.2f})",
        f"{line.median('cpu'):.2f}",
        f"{statistics.median(ours.times(line, 'cpu')):.2f}",
        *shares,
        f"{line.median('peak'):,.0f}",
        f"{line.extra():,.0f}",
    ]


_STAGES = ("decode", "model", "write")


def _more_versions() -> str:
    found = ""
    for package in _PACKAGES:
        try:
            found += f", {package} {version(package)}"
        except PackageNotFoundError:
            continue
    return found


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
