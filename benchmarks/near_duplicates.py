"""Near-duplicates of a large table through an index: ``python -m benchmarks.near_duplicates``.

Times the `SimilarityFinder` of the examples: index, pairs and clusters, and beside them the same
pairs by comparing every row with every other, of which a sample of rows is measured. How the rows
are made is said in `near_duplicate_vectors`; embedding them is not part of the times.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Annotated, Optional

import lancedb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import typer
from lancedb.embeddings import get_registry
from rich.console import Console
from rich.table import Table

import lancedb_embedders  # noqa: F401  registers sbert
from benchmarks.machine import machine, versions
from benchmarks.near_duplicate_vectors import Known, Vectors, known
from examples.similarity_finder import Pair, SimilarityFinder

_BLOCK = 500  # rows that are compared with all others at once

Figures = dict[str, float]
Found = dict[tuple[int, int], float]


def main(
    rows: Annotated[int, typer.Option(min=1000, help="Rows of the table.")] = 100_000,
    sentences: Annotated[int, typer.Option(min=100, help="Sentences to embed.")] = 15_000,
    threshold: Annotated[float, typer.Option(help="Cosine from which rows are the same.")] = 0.9,
    nprobes: Annotated[int, typer.Option(min=1, help="Partitions to search for a row.")] = 8,
    sample: Annotated[int, typer.Option(min=1, help="Rows to compare with all.")] = 2_000,
    vectors: Annotated[
        Optional[Path],  # noqa: UP045, typer reads it at run time
        typer.Option(help="An .npz file that keeps the sentences' vectors."),
    ] = None,
    json_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--json", help="Where to write the figures."),
    ] = None,
) -> None:
    """Measure index, pairs and clusters, and what of the pairs was found."""
    console = Console(width=120)
    for line in (machine(), versions()):
        console.print(line, highlight=False, soft_wrap=True)
    data = known(rows, sentences, _embed, vectors)
    with tempfile.TemporaryDirectory() as folder:
        figures = measured(Path(folder), data, threshold, nprobes, sample)
    shown = Table("what", "figure", title=f"{rows:,} rows, cosine from {threshold}", min_width=60)
    for what, value in figures.items():
        shown.add_row(what, f"{value:,.0f}" if value == int(value) else f"{value:,.4g}")
    console.print(shown)
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2), encoding="utf-8")


def measured(folder: Path, data: Known, threshold: float, nprobes: int, sample: int) -> Figures:
    """Return seconds, counts and shares found."""
    rows, dims = data.vectors.shape
    column = pa.FixedSizeListArray.from_arrays(pa.array(data.vectors.ravel()), dims)
    columns = pa.table({"id": np.arange(rows), "vector": column})
    finder = SimilarityFinder(lancedb.connect(folder).create_table("rows", columns))
    del column, columns
    figures: Figures = {}

    start = time.perf_counter()
    finder.index()
    figures["index, s"] = time.perf_counter() - start
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pairs = list(finder.pairs(threshold, nprobes=nprobes))
    figures["pairs through the index, s"] = time.perf_counter() - start
    figures["rows whose pairs were cut off"] = sum(
        "near-duplicates" in str(w.message) for w in caught
    )
    start = time.perf_counter()
    clusters = finder.clusters(pairs)
    figures["clusters, s"] = time.perf_counter() - start
    start = time.perf_counter()
    tight = finder.clusters(pairs, complete=threshold)
    figures["clusters by complete linkage, s"] = time.perf_counter() - start
    figures["peak memory of the process, MiB"] = _peak_mib()
    figures["memory of all similarities, MiB"] = rows**2 * 4 / 2**20
    figures["pairs"] = len(pairs)
    figures["clusters"] = len(clusters)
    figures["rows of the largest"] = max((len(one.keys) for one in clusters), default=0)
    figures["least similarity in a cluster"] = min((one.least for one in clusters), default=1.0)
    figures["clusters by complete linkage"] = len(tight)

    return {**figures, **_compared(data, pairs, threshold, min(sample, rows))}


def _peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _compared(data: Known, pairs: list[Pair], threshold: float, sample: int) -> Figures:
    """Compare with all pairs of some rows, and with what was planted."""
    rows = len(data.vectors)
    found = {(pair.first, pair.second): pair.similarity for pair in pairs}
    found |= {(second, first): similarity for (first, second), similarity in found.items()}
    start = time.perf_counter()
    chosen = np.random.default_rng(3).choice(rows, sample, replace=False)
    exact = _exact(data.vectors, chosen, threshold)
    seconds = time.perf_counter() - start
    off = [abs(found[pair] - cosine) for pair, cosine in exact.items() if pair in found]
    asked = set(chosen.tolist())
    wrong = sum(pair[0] in asked and pair not in exact for pair in found)
    return {
        f"every row with every other, of {sample:,} rows, s": seconds,
        "every row with every other, by that, s": seconds * rows / sample,
        "pairs of these rows": len(exact),
        "of them found, %": 100 * sum(pair in found for pair in exact) / max(len(exact), 1),
        "found, but not among them": wrong,
        "largest error of a similarity": max(off, default=0.0),
        **_known(data.vectors, data.edits, found, threshold, "edits"),
        **_known(data.vectors, data.planted, found, threshold, "planted vectors"),
    }


def _exact(vectors: Vectors, chosen: npt.NDArray[np.int64], threshold: float) -> Found:
    pairs: Found = {}
    for start in range(0, len(chosen), _BLOCK):
        block = chosen[start : start + _BLOCK]
        alike = vectors[block] @ vectors.T
        first, second = np.nonzero(alike >= threshold)
        for row, other in zip(first, second, strict=True):
            if block[row] != other:
                pairs[int(block[row]), int(other)] = float(alike[row, other])
    return pairs


def _known(
    vectors: Vectors, made: npt.NDArray[np.int64], found: Found, threshold: float, what: str
) -> Figures:
    """Return how many are alike enough, and the share of these that were found."""
    cosines = np.einsum("ij,ij->i", vectors[made[:, 0]], vectors[made[:, 1]])
    alike = made[cosines >= threshold].tolist()
    share = sum((first, second) in found for first, second in alike) / max(len(alike), 1)
    return {
        what: len(made),
        f"{what} from the threshold on": len(alike),
        f"{what} of these found, %": 100 * share,
    }


def _embed(texts: list[str]) -> Vectors:
    function = get_registry().get("sbert").create()
    return np.asarray(function.compute_source_embeddings(texts), dtype=np.float32)


if __name__ == "__main__":
    typer.run(main)
