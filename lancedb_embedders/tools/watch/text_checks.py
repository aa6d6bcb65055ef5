"""Vectors beside their texts: repeated texts, and vectors that texts share or should share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lancedb_embedders.tools.watch.checked import Checked
from lancedb_embedders.tools.watch.limits import Limits
from lancedb_embedders.tools.watch.rows import Float32, Rows, unit
from lancedb_embedders.tools.watch.spread import MOST_PAIRED, nearest

# Cosine similarity that the vectors of one text have at least, whatever batch it was in.
_STABLE = 0.99
# One pair of texts may well look the same to a model; three rows are no chance.
_PAIR_AND_MORE = 3


def plain(text: str) -> str:
    """Return a text without what does not make it another: case and white space."""
    return " ".join(text.split()).casefold()


def duplicates(rows: Rows, limits: Limits, checked: Checked) -> npt.NDArray[np.int64]:
    """Return positions of vectors whose text comes first, which are all if no texts are known."""
    if rows.texts is None:
        return np.arange(len(rows.vectors))
    seen: dict[str, int] = {}
    first, again, changed = [], [], []
    exact: dict[str, int] = {}
    for position, place in enumerate(rows.places.tolist()):
        text = rows.texts[place]
        if text is None:
            first.append(position)
            continue
        if seen.setdefault(plain(text), position) == position:
            first.append(position)
        else:
            again.append(place)
        before = exact.setdefault(text, position)
        if before != position and not _same(rows.vectors[before], rows.vectors[position]):
            changed.append(place)
    share = len(again) / max(len(rows.places), 1)
    checked.figures.update(duplicates=share, unstable=len(changed) / max(len(rows.places), 1))
    if share > limits.duplicates:
        checked.found(
            "duplicates",
            "warning",
            f"{len(again):,} of {rows.total:,} rows have a text that has come before "
            f"({rows.named(again)}): searches find the same again and again. Write rows with a key "
            "by table.merge_insert or tables.upsert",
            share=share,
        )
    if changed:
        checked.found(
            "unstable",
            "error",
            f"{len(changed):,} rows have the text of a row before and another vector "
            f"({rows.named(changed)}): vectors are in the wrong rows, or of two models. Run "
            "tables.check",
            share=len(changed) / len(rows.places),
        )
    return np.array(first, dtype=np.int64)


def _same(one: Float32, other: Float32) -> bool:
    scale = float(np.linalg.norm(one) * np.linalg.norm(other))
    return scale == 0 or float(one @ other) >= _STABLE * scale


def alike(
    rows: Rows,
    first: npt.NDArray[np.int64],
    limits: Limits,
    checked: Checked,
    chance: np.random.Generator,
) -> None:
    """Look at distances to the nearest other vector, and for vectors that texts share.

    Parameters
    ----------
    rows : Rows
        What to check.
    first : numpy.ndarray
        Positions of the vectors to compare, which are of different texts.
    limits : Limits
        From where on something is a finding.
    checked : Checked
        Gets what is found.
    chance : numpy.random.Generator
        Chooses the sample where they are many.
    """
    if len(first) < 2:
        return
    chosen = np.sort(chance.choice(first, min(len(first), MOST_PAIRED), replace=False))
    scaled = unit(rows.vectors[chosen])
    cosines = scaled @ scaled.T
    checked.near = nearest(cosines)
    checked.figures.update(nn_distance=float(np.median(checked.near)))
    if rows.texts is None:
        return  # vectors may be the same because texts are
    np.fill_diagonal(cosines, 0)
    same = (cosines >= limits.same_cosine).any(axis=1)
    equal = first[_equal(rows.vectors[first])]
    places = rows.places[np.union1d(chosen[same], equal)]
    share = max(len(equal) / len(first), float(same.mean()))
    checked.figures.update(near_identical=share)
    if len(places):
        few = len(places) < _PAIR_AND_MORE or share <= limits.near_identical
        checked.found(
            "near_identical",
            "info" if few else "warning",
            f"{share:.2%} of rows have the same vector as a row with another text "
            f"({rows.named(places)}; cosine {limits.same_cosine} or more): the model cannot tell "
            "these texts apart, or rows got the vector of another. Look at texts that are cut at "
            "the same place, and at languages that the model does not know",
            share=share,
        )


def _equal(vectors: Float32) -> npt.NDArray[np.bool_]:
    """Tell which vectors another is equal to, among all of them and not a sample alone."""
    first: dict[bytes, int] = {}
    equal = np.zeros(len(vectors), dtype=bool)
    for position, vector in enumerate(vectors):
        before = first.setdefault(vector.tobytes(), position)
        if before != position:
            equal[[before, position]] = True
    return equal
