"""Fit a threshold on labelled pairs, judge it on others, and search their sentences for all."""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import lancedb
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel

from examples.similarity_finder import SimilarityFinder, Threshold, compare, fit_threshold, judge
from lancedb_embedders.tools.evaluate.datasets import ScoredPair, read_pairs


def split(pairs: Sequence[ScoredPair]) -> tuple[list[ScoredPair], list[ScoredPair]]:
    """Return pairs to fit on and a half held out, which have no text in common."""
    mixed = random.Random(0).sample(pairs, len(pairs))
    held_out = mixed[: len(mixed) // 2]
    known = {text for pair in held_out for text in (pair.first, pair.second)}
    return [p for p in mixed[len(held_out) :] if known.isdisjoint((p.first, p.second))], held_out


def run(folder: Path, data: Path, count: int) -> Threshold:
    """Fit on half of so many pairs, judge on the rest, and search their sentences for all."""
    sbert = get_registry().get("sbert").create()
    pairs = read_pairs(data / "dup_mrpc" / "mrpc-train.tsv")
    learned, held_out = split(random.Random(0).sample(pairs, min(count, len(pairs))))
    fitted = fit_threshold(compare(sbert, learned), [pair.score > 0 for pair in learned])
    same = [pair.score > 0 for pair in held_out]
    found = judge(compare(sbert, held_out), same, fitted.similarity)
    print(f"threshold {fitted.similarity:.3f}, fitted on {len(learned):,} pairs")
    print(
        f"{len(held_out):,} other pairs: precision {found.precision:.3f}, "
        f"recall {found.recall:.3f}, F1 {found.f1:.3f}, AP {found.average_precision:.3f}"
    )

    class Sentence(LanceModel):
        id: int
        text: str = sbert.SourceField()
        vector: sbert.Vector() = sbert.VectorField()  # type: ignore[valid-type]

    table = lancedb.connect(folder).create_table("sentences", schema=Sentence)
    texts = list(dict.fromkeys(text for pair in held_out for text in (pair.first, pair.second)))
    table.add([{"id": i, "text": text} for i, text in enumerate(texts)])

    finder = SimilarityFinder(table)
    start = time.perf_counter()
    indexed = finder.index()
    # Of all pairs of a table nearly none is the same, unlike those that people were asked about.
    threshold = max(fitted.similarity, 0.8)
    alike = list(finder.pairs(threshold))
    clusters, tight = finder.clusters(alike), finder.clusters(alike, complete=threshold)
    print(
        f"{len(texts):,} sentences, {'through an index' if indexed else 'too few for an index'}: "
        f"{len(alike):,} pairs at {threshold:.2f} in {time.perf_counter() - start:.1f} s"
    )
    if clusters:
        least, largest = min(one.least for one in clusters), len(clusters[0].keys)
        print(f"{len(clusters):,} clusters, at most {largest} rows, least similarity {least:.2f}")
        print(f"{len(tight):,} by complete linkage, at most {len(tight[0].keys)} rows")
        key = clusters[0].keys[0]
        alike_rows = ", ".join(
            f"{match.row['id']} ({match.similarity:.2f})" for match in finder.similar_to(key, 3)
        )
        print(f"most like row {key}: {alike_rows}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=600, help="labelled pairs to take")
    count = parser.parse_args().pairs
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    data = Path(os.environ.get("LANCEDB_EMBEDDERS_DATA") or default)
    if not data.is_dir():
        print(f"skipped: no evaluation data in {data}; set LANCEDB_EMBEDDERS_DATA to its folder")
        return
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), data, count)


if __name__ == "__main__":
    main()
