"""The command: measures in turns, and shows a table a model and kind of text."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.corpus import load
from benchmarks.engines.flops import total_flops
from benchmarks.gpu.contestants import OURS, contestants
from benchmarks.gpu.models import Weights, large, small
from benchmarks.gpu.peak import peak_flops
from benchmarks.machine import machine, versions
from benchmarks.timing import seconds

# Of the long texts, special tokens included: what both models take at most.
_LONG = 256


@dataclass(frozen=True)
class Measured:
    """The rounds of one contestant.

    Attributes
    ----------
    model, texts, who : str
        What was run.
    rows, tokens, flop : int
        How many texts, their tokens without padding, and operations on those.
    seconds : list of float
        Of each round.
    """

    model: str
    texts: str
    who: str
    rows: int
    tokens: int
    flop: int
    seconds: list[float]

    @property
    def median(self) -> float:
        """Seconds of the round in the middle."""
        return statistics.median(self.seconds)


def main(
    rows: Annotated[int, typer.Option(min=10, help="Texts of mixed lengths.")] = 20_000,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each contestant.")] = 5,
    json_file: Annotated[
        Optional[Path],  # noqa: UP045, typer reads it at run time
        typer.Option("--json", help="Where to write all figures."),
    ] = None,
) -> None:
    """Measure this package against sentence-transformers on a CUDA device, with equal weights."""
    import torch

    console = Console()
    if not torch.cuda.is_available():
        console.print("no CUDA device: nothing was measured")
        return
    peak = peak_flops()
    corpus = load(rows, 0)
    for line in (
        f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}; {machine()}",
        versions(),
        f"Corpus: {corpus.source}, {len(corpus.texts):,} texts",
        f"bf16 peak, measured by a product of matrices of 8192 x 8192: {peak / 1e12:,.0f} TFLOP/s",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    found: list[Measured] = []
    with tempfile.TemporaryDirectory() as folder:
        for weights in (small(), large(Path(folder))):
            for name, texts in (("mixed", corpus.texts), ("long", _long(corpus.texts))):
                measured = list(_measure(weights, name, texts, rounds))
                console.print(_table(measured, peak))
                found += measured
    if json_file is not None:
        content = {
            "device": torch.cuda.get_device_name(),
            "machine": machine(),
            "versions": versions(),
            "peak_flops": peak,
            "rounds": rounds,
            "measured": [asdict(one) for one in found],
        }
        json_file.write_text(json.dumps(content, indent=2), encoding="utf-8")


def _measure(
    weights: Weights, name: str, texts: Sequence[str], rounds: int, device: str = "cuda"
) -> Iterator[Measured]:
    lengths = [min(length, weights.shape.max_length) for length in _lengths(weights, texts)]
    flop = total_flops(lengths, weights.shape)
    loaded = contestants(weights.folder, device)
    times: dict[str, list[float]] = {who: [] for who in loaded}
    for embed in loaded.values():
        embed(texts[:2000])  # loads, and chooses kernels
    for _ in range(rounds):
        for who, embed in loaded.items():
            times[who].append(seconds(partial(embed, texts)))
    for who, own in times.items():
        yield Measured(weights.name, name, who, len(texts), sum(lengths), flop, own)


def _lengths(weights: Weights, texts: Sequence[str]) -> list[int]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(weights.folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return [len(encoding.ids) for encoding in tokenizer.encode_batch_fast(list(texts))]


def _long(texts: Sequence[str]) -> list[str]:
    """Return texts, each different, that fill what the small model takes and are cut there."""
    words = " ".join(texts).split()
    size = 2 * _LONG  # a word is a token or more, so none is shorter than the limit
    return [
        " ".join(words[start : start + size]) for start in range(0, len(words) - size, size // 4)
    ][: len(texts) // 4]


def _table(measured: Sequence[Measured], peak: float) -> Table:
    first = measured[0]
    title = (
        f"{first.model}, {first.texts} texts ({first.tokens / first.rows:.0f} tokens on average)"
    )
    shown = Table(title=title, title_justify="left", title_style="bold")
    for column in ("", "texts/s", "tokens/s", "TFLOP/s", "of peak", f"{OURS} is faster by"):
        shown.add_column(column, justify="right" if column else "left")
    ours = next(one for one in measured if one.who == OURS)
    for one in measured:
        ratios = [b / a for a, b in zip(ours.seconds, one.seconds, strict=True)]
        flops = one.flop / one.median
        shown.add_row(
            one.who,
            f"{one.rows / one.median:,.0f}",
            f"{one.tokens / one.median:,.0f}",
            f"{flops / 1e12:,.1f}",
            f"{flops / peak:.0%}",
            "-" if one is ours else _spread(ratios),
        )
    return shown


def _spread(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    typer.run(main)
