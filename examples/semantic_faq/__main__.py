"""Measure the FAQ on real questions, and ask a few."""

from __future__ import annotations

import argparse
import os
import random
import tempfile
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
from lancedb.embeddings import get_registry
from sklearn.metrics import average_precision_score

from examples.semantic_faq import Calibration, Outcome, SemanticFaq, calibration_error
from examples.semantic_faq.calibration import shares
from examples.semantic_faq.faq import Asked
from examples.semantic_faq.reading import rows


def halves(asked: Asked, seed: int = 0) -> tuple[Asked, Asked]:
    """Divide questions so that no entry is asked for in both halves."""
    keys = sorted({key for _, key in asked})
    first = set(random.Random(seed).sample(keys, len(keys) // 2))
    return [one for one in asked if one[1] in first], [one for one in asked if one[1] not in first]


def cross_validated(
    faq: SemanticFaq, asked: Asked, precision: float, unanswerable: float
) -> dict[str, float]:
    """Fit on one half of the questions, judge on the other, and the other way round."""
    outcomes: list[Outcome] = []
    sure: list[float] = []
    taken: list[bool] = []
    for learned_from, held_out in (parts := halves(asked), parts[::-1]):
        learned = faq.fit(learned_from, precision=precision, unanswerable=unanswerable)
        for outcome in faq.outcomes(held_out):
            confidence = learned.confidence(outcome.similarity, outcome.lead)
            outcomes.append(outcome)
            sure.append(confidence)
            taken.append(confidence >= learned.threshold)
    can = np.array([outcome.answerable for outcome in outcomes])
    right = np.array([outcome.right for outcome in outcomes])
    cosines = np.clip([outcome.similarity for outcome in outcomes], 0, 1)
    answered, counts = np.array(taken), shares(outcomes, unanswerable)
    return {
        "recall@1": float(right[can].mean()),
        "answered, of what has an entry": float(answered[can].mean()),
        "answered, of what has none": float(answered[~can].mean()),
        "precision of answers": float((counts * right)[answered].sum() / counts[answered].sum()),
        "calibration error of the cosine": calibration_error(cosines, right, counts),
        "calibration error once fitted": calibration_error(sure, right, counts),
    }


def average_precision(function: Any, file: Path, count: int) -> float:
    """Return how well cosine tells questions that are the same, of so many pairs of a file."""
    pairs = [list(row.values()) for row in rows(file)]
    pairs = [pair for pair in pairs if all(text.strip() for text in pair[-2:])]
    pairs = random.Random(0).sample(pairs, min(count, len(pairs)))
    vectors = np.asarray(
        function.compute_source_embeddings([text for pair in pairs for text in pair[-2:]])
    )
    cosines = np.einsum("ij,ij->i", vectors[::2], vectors[1::2])
    return float(average_precision_score([pair[0] in ("1", "true") for pair in pairs], cosines))


def run(folder: Path, data: Path, pairs: int) -> dict[str, float]:
    """Measure on the questions of `data`, and ask a few."""
    faq = SemanticFaq(lancedb.connect(folder))
    entries = faq.load(data / "faq_covid", category="link")
    texts = {row["_id"]: row["text"] for row in rows(data / "faq_covid" / "queries.jsonl")}
    qrels = rows(data / "faq_covid" / "qrels.tsv")
    asked = [(texts[row["query-id"]], row["corpus-id"]) for row in qrels]
    faq.calibration = Calibration(answer_weight=0.0)
    alone = [outcome.right for outcome in faq.outcomes(asked) if outcome.answerable]
    print(f"{entries} entries, {len(asked)} questions, fitted on one half and judged on the other")
    print(f"recall@1 by the entry's question alone  {sum(alone) / len(alone):.3f}")
    measured: dict[str, float] = {}
    for precision, unanswerable in ((0.8, 0.5), (0.9, 0.2)):
        measured = cross_validated(faq, asked, precision, unanswerable)
        print(f"where {unanswerable:.0%} have no entry, for a precision of {precision}:")
        for what, value in measured.items():
            print(f"  {what}  {value:.3f}")
    sbert = get_registry().get("sbert").create()
    for name in ("faq_covid/question-pairs-en", "faq_covid/question-pairs-de", "faq_rqe/rqe-train"):
        value = average_precision(sbert, data / f"{name}.tsv", pairs)
        print(f"average precision of the pairs in {name}  {value:.3f}")

    faq.fit(asked)
    for question in ("Could my cat give me the virus?", "How do I bake bread?"):
        reply = faq.ask(question)
        known = reply.entry.question if reply.entry else "I don't know"
        print(f"{question}  {reply.confidence:.2f}  {known}")
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=200, help="pairs of questions, of each file")
    pairs = parser.parse_args().pairs
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    data = Path(os.environ.get("LANCEDB_EMBEDDERS_DATA") or default)
    if not data.is_dir():
        print(f"skipped: no evaluation data in {data}; set LANCEDB_EMBEDDERS_DATA to its folder")
        return
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), data, pairs)


if __name__ == "__main__":
    main()
