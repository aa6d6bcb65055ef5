"""Whether both contestants do the same work: how far their vectors agree."""

from __future__ import annotations

from benchmarks.contestants import CONTESTANTS, create
from benchmarks.job import Job, Result


def measure(job: Job) -> Result:
    """Return the lowest cosine of the two vectors of a text; both are normalized."""
    import numpy as np

    texts = job.texts()
    ours, theirs = (
        np.asarray(create(who).compute_source_embeddings(texts), dtype=np.float64)
        for who in CONTESTANTS
    )
    return {"lowest": float((ours * theirs).sum(axis=1).min())}
