"""How good vectors are, and how near to those of float32."""

from __future__ import annotations

from pathlib import Path

from benchmarks.corpus import data_folder
from benchmarks.engines.contestants import CONTESTANTS, REFERENCE
from benchmarks.engines.setting import Setting
from benchmarks.engines.sts import SPLITS, pairs
from benchmarks.engines.vectors import vectors_file
from benchmarks.job import Job, Result


def judged(data: Path) -> tuple[str, ...]:
    """Return what is embedded for this behind the corpus: each sentence once."""
    sentences = (text for split in SPLITS for _, *both in pairs(data, split) for text in both)
    return tuple(dict.fromkeys(sentences))


def measure(job: Job) -> Result:
    """Compare the vectors of the job's contestant with the reference's, and with people."""
    import numpy as np
    from scipy.stats import spearmanr

    folder = Path(Setting.of(job).keep)
    corpus, data = job.texts(), data_folder()
    vectors = np.load(vectors_file(folder, job.who)).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    result: Result = {}
    # What was not computed by the model lies in a space of its own.
    if CONTESTANTS[job.who].arithmetic:
        expected = np.load(vectors_file(folder, REFERENCE)).astype(np.float64)
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        cosines = (vectors * expected)[: len(corpus)].sum(axis=1)
        result |= {"cosine_lowest": float(cosines.min()), "cosine_mean": float(cosines.mean())}

    position = {text: number for number, text in enumerate(judged(data), start=len(corpus))}
    for split in SPLITS:
        found = pairs(data, split)
        if found:
            scores, left, right = zip(*found, strict=True)
            both = ([position[text] for text in side] for side in (left, right))
            similar = np.multiply(*(vectors[rows] for rows in both)).sum(axis=1)
            result[f"sts_{split}"] = 100 * float(spearmanr(similar, scores).statistic)
    return result
