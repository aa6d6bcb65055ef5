"""Fine-tune a model on a few texts of each intent, and move a table to it.

Of BANKING77 (PolyAI, CC BY 4.0), questions of bank customers with 77 intents, ten questions of each
are trained on; the test questions are seen by nothing before the end. Learning rate and epochs
were chosen on other questions of the training file.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lancedb
import torch
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel

from lancedb_embedders import settings, tables
from lancedb_embedders.tools import evaluate_classification, fine_tune
from lancedb_embedders.tools.evaluate.datasets import Labelled, RetrievalSet, read_labelled
from lancedb_embedders.tools.fine_tuning import pairs_from_labels

TEXTS = 10  # of each intent, to train on
HELD_OUT = 4  # of each intent, to choose the checkpoint by
QUESTION = "I still haven't got the card that I ordered"


def split(rows: Sequence[Labelled], seed: int) -> tuple[list[Labelled], list[Labelled]]:
    """Return texts to train on, and texts to choose the checkpoint by."""
    chance = random.Random(seed)
    by_label: dict[str, list[Labelled]] = {}
    for row in rows:
        by_label.setdefault(row.label, []).append(row)
    learned, held_out = [], []
    for _, texts in sorted(by_label.items()):
        chosen = chance.sample(texts, TEXTS + HELD_OUT)
        learned += chosen[:TEXTS]
        held_out += chosen[TEXTS:]
    return learned, held_out


def retrieval(learned: Sequence[Labelled], held_out: Sequence[Labelled]) -> RetrievalSet:
    """Return what is measured while training: held-out texts are to find those of their intent."""
    documents = {f"d{number}": one for number, one in enumerate(learned)}
    queries = {f"q{number}": one for number, one in enumerate(held_out)}
    return RetrievalSet(
        corpus={key: one.text for key, one in documents.items()},
        queries={key: one.text for key, one in queries.items()},
        qrels={
            query: {key: 1 for key, one in documents.items() if one.label == asked.label}
            for query, asked in queries.items()
        },
    )


def make_table(db: Any, learned: Sequence[Labelled]) -> Any:
    """Return a table of questions and their intents, embedded by all-MiniLM-L6-v2."""
    sbert = get_registry().get("sbert").create()

    class Question(LanceModel):
        text: str = sbert.SourceField()
        intent: str
        vector: sbert.Vector() = sbert.VectorField()  # type: ignore[valid-type]

    table = db.create_table("questions", schema=Question)
    table.add([{"text": one.text, "intent": one.label} for one in learned])
    return table


def nearest_intent(table: Any, function: Any, test: Sequence[Labelled]) -> float:
    """Return the percentage of questions whose nearest neighbour in the table has their intent."""
    right = 0
    vectors = function.compute_query_embeddings([one.text for one in test])
    for one, vector in zip(test, vectors, strict=True):
        found = table.search(vector).distance_type("cosine").limit(1).to_list()
        right += found[0]["intent"] == one.label
    return 100 * right / len(test)


def run(folder: Path, data: Path, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Train, move a table to the new model, and return figures of both, before and after."""
    learned, held_out = split(read_labelled(data / "intent_banking77" / "train.tsv"), seed)
    test = read_labelled(data / "intent_banking77" / "test.tsv")
    table = make_table(lancedb.connect(folder / "db"), learned)
    base = get_registry().get("sbert").create()
    neighbour = nearest_intent(table, base, test)
    probe = evaluate_classification(base, learned, test).accuracy

    result = fine_tune(
        base,
        pairs_from_labels(learned, seed=seed),
        output=folder / "banking-minilm",
        evaluation=retrieval(learned, held_out),
        epochs=3,
        batch_size=32,
        learning_rate=5e-5,
        max_length=32,  # the questions are short
        seed=seed,
    )
    print(result)

    with settings.override(models=(folder,)):  # or LANCEDB_EMBEDDERS_MODELS
        tuned = get_registry().get("sbert").create(name=result.folder.name)
        tables.reembed(table, tuned)
        found = table.search(QUESTION).limit(3).to_list()
        figures = {
            "nearest neighbour in the table": (neighbour, nearest_intent(table, tuned, test)),
            "linear probe": (probe, evaluate_classification(tuned, learned, test).accuracy),
        }
    print(f"nearest to “{QUESTION}”: {', '.join(row['intent'] for row in found)}")
    for name, (before, after) in figures.items():
        print(f"test accuracy, {name}: {before:.2f} -> {after:.2f} (seed {seed})")
    return figures


def main() -> None:
    default = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    data = Path(os.environ.get("LANCEDB_EMBEDDERS_DATA") or default)
    if not data.is_dir():
        sys.exit(f"no evaluation data in {data}; set LANCEDB_EMBEDDERS_DATA to its folder")
    # Threads that wait for a core that others keep busy take longer than one thread does alone.
    torch.set_num_threads(1)
    seeds = [int(seed) for seed in sys.argv[1:]] or [0]
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            run(Path(folder), data, seed)


if __name__ == "__main__":
    main()
