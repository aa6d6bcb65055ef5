"""Pairs of the STS benchmark with the scores that people gave."""

from __future__ import annotations

import csv
from pathlib import Path

#: In the table's order.
SPLITS = ("test", "dev")

# Score, and the two sentences.
Pair = tuple[float, str, str]


def pairs(data: Path, split: str) -> list[Pair]:
    """Return the pairs of a split; none where its file is absent."""
    file = sts_file(data, split)
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [(float(row["score"]), row["sentence1"], row["sentence2"]) for row in reader]


def sts_file(data: Path, split: str) -> Path:
    """Return where the pairs of a split are."""
    return data / "stsb" / f"sts-{split}.tsv"
