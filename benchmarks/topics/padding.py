"""How much of what goes through the model is padding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.contestants import OURS, THEIRS, create
from benchmarks.job import Job, Result
from benchmarks.table import Table

if TYPE_CHECKING:
    from benchmarks.bench import Bench


def measure(job: Job) -> Result:
    """Count the tokens of each batch that reaches the model, in place of running it."""
    import torch
    from sentence_transformers import SentenceTransformer

    masks: list[tuple[int, int]] = []

    def forward(self: Any, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        mask = features["attention_mask"]
        masks.append((mask.numel(), int(mask.sum())))
        ones = torch.ones(len(mask), self.get_embedding_dimension())
        return {**features, "sentence_embedding": ones}

    function = create(job.who)
    SentenceTransformer.forward = forward  # type: ignore[method-assign, assignment]
    function.compute_source_embeddings(job.texts())
    padded = sum(size for size, _ in masks)
    real = sum(size for _, size in masks)
    return {
        "share": 100 * (1 - real / padded),
        "tokens": padded,
        "batches": len(masks),
        "largest": max(size for size, _ in masks),
    }


def report(bench: Bench) -> list[Table]:
    """Return the shares; they are the same each time, so one round is enough."""
    results = bench.in_turns(__name__, bench.corpus.texts, rounds=1)
    table = Table("padding: batches as they reach the model")
    table.add("padding among the tokens", "%", results, "share")
    table.add("tokens that the model computes, padding included", "tokens", results, "tokens")
    table.add("batches", "", results, "batches")
    table.add("tokens of the largest batch", "", results, "largest")
    table.notes.append(
        f"{OURS} sorts by tokens and fills a budget of tokens; {THEIRS} sorts by characters and "
        "takes 32 texts a batch."
    )
    return [table]
