"""Vectors among which near-duplicates are known: real sentences, edits of them, and more like them.

Sentences come from the STS benchmark, SICK-R, MRPC, banking77 and SciFact, as many from each, and
one in ten is edited as people do: a word left out, letters swapped, other punctuation. Both are
embedded. Since 100,000 texts take a small machine long, the rest are made of these vectors:

- *Fillers* are the normalized sum of two sentences' vectors, drawn at random, and of noise. Few
  are near-duplicates of anything.
- *Planted* vectors are a filler's to which an edit happens: the difference that a real edit made
  to the vector of its sentence is added, and the sum normalized.
"""

from __future__ import annotations

import csv
import gzip
import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.corpus import data_folder

_SEED = 11
_EDITED = 0.1  # of the sentences
_PLANTED = 0.1  # of the fillers
_NOISE = 0.3  # length of a filler's noise, beside two vectors of length 1
_LENGTHS = range(15, 301)  # characters of a sentence

Vectors = npt.NDArray[np.float32]
Embed = Callable[[list[str]], Vectors]


@dataclass(frozen=True)
class Known:
    """Vectors in random order, and which were planted.

    Attributes
    ----------
    vectors : numpy.ndarray of shape (rows, dims), float32
        Of length 1.
    edits : numpy.ndarray of shape (edits, 2), int64
        Rows of a sentence and its edit.
    planted : numpy.ndarray of shape (planted, 2), int64
        Rows of a filler and of what was made of it.
    """

    vectors: Vectors
    edits: npt.NDArray[np.int64]
    planted: npt.NDArray[np.int64]


def known(rows: int, sentences: int, embed: Embed, cache: Path | None = None) -> Known:
    """Return `rows` vectors, of which `sentences` and their edits are embedded.

    Parameters
    ----------
    rows, sentences : int
        How many of all; how many sentences.
    embed : callable
        Gives a list of texts their vectors, of length 1.
    cache : pathlib.Path, optional
        An ``.npz`` file that keeps what was embedded.
    """
    real, edits, sources = _embedded(sentences, embed, cache)
    rng = np.random.default_rng(_SEED)
    rest = rows - len(real) - len(edits)
    if rest < 0:
        raise ValueError(f"{rows:,} rows are fewer than the sentences and their edits")
    planted = int(rest * _PLANTED / (1 + _PLANTED))
    fillers = _fillers(real, rest - planted, rng)
    filler = rng.choice(len(fillers), planted, replace=False)
    noise = rng.integers(len(edits), size=planted)
    moved = _normalized(fillers[filler] + (edits - real[sources])[noise])
    starts = np.cumsum([0, len(real), len(edits), len(fillers)])
    order = rng.permutation(rows)
    place = np.argsort(order)
    return Known(
        np.concatenate([real, edits, fillers, moved])[order],
        place[np.column_stack([sources, starts[1] + np.arange(len(edits))])],
        place[np.column_stack([starts[2] + filler, starts[3] + np.arange(planted)])],
    )


def edited(text: str, rng: random.Random) -> str:
    """Return `text` with one or two small edits, and surely not as it was."""
    changed = text
    for _ in range(rng.randint(1, 2)):
        changed = rng.choice(_EDITS)(changed, rng)
    return changed if changed != text else f"{text} !"


def _embedded(
    count: int, embed: Embed, cache: Path | None
) -> tuple[Vectors, Vectors, npt.NDArray[np.int64]]:
    if cache is not None and cache.is_file():
        kept = np.load(cache)
        if len(kept["real"]) == count:
            return kept["real"], kept["edits"], kept["sources"]
    rng = random.Random(_SEED)
    texts = _sentences(count, rng)
    sources = np.array(rng.sample(range(count), int(count * _EDITED)), dtype=np.int64)
    real = embed(texts)
    edits = embed([edited(texts[source], rng) for source in sources])
    if cache is not None:
        np.savez(cache, real=real, edits=edits, sources=sources)
    return real, edits, sources


def _fillers(real: Vectors, count: int, rng: np.random.Generator) -> Vectors:
    first, second = rng.integers(len(real), size=(2, count))
    noise = rng.standard_normal((count, real.shape[1]), dtype=np.float32)
    return _normalized(real[first] + real[second] + _NOISE * _normalized(noise))


def _normalized(vectors: Vectors) -> Vectors:
    lengths: Vectors = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / lengths


def _without_a_word(text: str, rng: random.Random) -> str:
    words = text.split()
    if len(words) > 4:
        del words[rng.randrange(len(words))]
    return " ".join(words)


def _with_a_slip(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text) - 1)
    return f"{text[:at]}{text[at + 1]}{text[at]}{text[at + 2 :]}"


def _with_other_punctuation(text: str, rng: random.Random) -> str:
    return re.sub(r"\s*[.?!]*$", rng.choice(["", ".", "!", " ..."]), text)


def _with_a_word_twice(text: str, rng: random.Random) -> str:
    words = text.split()
    at = rng.randrange(len(words))
    return " ".join([*words[: at + 1], *words[at:]])


_EDITS: tuple[Callable[[str, random.Random], str], ...] = (
    _without_a_word,
    _with_a_slip,
    _with_other_punctuation,
    _with_a_word_twice,
)


def _sentences(count: int, rng: random.Random) -> list[str]:
    """Draw so many sentences, as many from each set, none twice."""
    data = data_folder()
    pools = {
        "stsb": _columns(data / "stsb" / "sts-train.tsv", "sentence1", "sentence2"),
        "sick_r": _columns(data / "sick_r" / "sick-train.tsv", "sentence1", "sentence2"),
        "dup_mrpc": _columns(data / "dup_mrpc" / "mrpc-train.tsv", "sentence1", "sentence2"),
        "intent_banking77": _columns(data / "intent_banking77" / "train.tsv", "text"),
        "scifact": _abstracts(data / "scifact" / "corpus.jsonl.gz"),
    }
    drawn: dict[str, None] = {}
    for left, pool in zip(range(len(pools), 0, -1), pools.values(), strict=True):
        fitting = [text for text in dict.fromkeys(pool) if len(text) in _LENGTHS]
        rng.shuffle(fitting)
        fresh = [text for text in fitting if text not in drawn]
        drawn.update(dict.fromkeys(fresh[: (count - len(drawn)) // left]))
    if len(drawn) < count:
        raise ValueError(f"there are {len(drawn):,} sentences, not {count:,}")
    return list(drawn)


def _columns(file: Path, *names: str) -> Iterator[str]:
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
            yield from (row[name] for name in names)


def _abstracts(file: Path) -> Iterator[str]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for document in map(json.loads, lines):
            yield from _split(document)


def _split(document: dict[str, Any]) -> list[str]:
    return re.split(r"(?<=[.?!])\s+", document["text"])
