"""The checks of a batch: figures of each, and what of them is a finding."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lancedb_embedders.tools.watch.baseline import Baseline
from lancedb_embedders.tools.watch.checked import Checked
from lancedb_embedders.tools.watch.limits import Limits
from lancedb_embedders.tools.watch.rows import Rows
from lancedb_embedders.tools.watch.spread import judged_size, spread_of
from lancedb_embedders.tools.watch.text_checks import alike, duplicates

# Mean cosine distance below which vectors are all the same, whatever made them.
_CONSTANT = 1e-4


def check_rows(
    rows: Rows, limits: Limits, normalized: bool | None, baseline: Baseline | None, seed: int
) -> Checked:
    """Check vectors, all but whether their texts were cut.

    Parameters
    ----------
    rows : Rows
        What to check.
    limits : Limits
        From where on something is a finding.
    normalized : bool, optional
        Whether vectors should have length 1; None: if most have.
    baseline : Baseline, optional
        What the function gives for ordinary text; None: it is not judged how vectors spread,
        unless all are the same.
    seed : int
        Of the random samples.
    """
    checked = Checked()
    checked.figures.update(rows=rows.total)
    _whole(rows, limits, checked)
    if len(rows.vectors):
        checked.figures.update(dims=rows.vectors.shape[1])
        _norms(rows, limits, normalized, baseline, checked)
        _size(rows, baseline, checked)
    first = duplicates(rows, limits, checked)
    chance = np.random.default_rng(seed)
    _spread(rows, first, limits, baseline, checked, chance)
    alike(rows, first, limits, checked, chance)
    return checked


def _whole(rows: Rows, limits: Limits, checked: Checked) -> None:
    total = max(rows.total, 1)
    nulls, broken = len(rows.nulls) / total, len(rows.broken) / total
    checked.figures.update(nulls=nulls, non_finite=broken)
    if len(rows.broken):
        checked.found(
            "non_finite",
            "error",
            f"{len(rows.broken):,} of {rows.total:,} vectors hold NaN or infinity "
            f"({rows.named(rows.broken)}): no search finds them. Embed these rows again, in "
            "float32 if the model ran in half precision",
            share=broken,
        )
    if nulls > limits.nulls:
        checked.found(
            "nulls",
            "warning",
            f"{len(rows.nulls):,} of {rows.total:,} rows have no vector "
            f"({rows.named(rows.nulls)}): no "
            "search finds them. Look at their text; tables.reembed(table, only_missing=True) fills "
            "what has some",
            share=nulls,
        )


def _norms(
    rows: Rows,
    limits: Limits,
    normalized: bool | None,
    baseline: Baseline | None,
    checked: Checked,
) -> None:
    norms, owners = rows.norms, rows.owners
    if not len(norms):
        return
    low, middle, high = (float(one) for one in np.quantile(norms, [0, 0.5, 1]))
    zeros = np.unique(owners[norms == 0])
    checked.figures.update(
        norm_min=low, norm_median=middle, norm_max=high, zeros=len(zeros) / rows.total
    )
    if len(zeros):
        checked.found(
            "zeros",
            "error",
            f"{len(zeros):,} of {rows.total:,} vectors are all zeros ({rows.named(zeros)}): a "
            "search by cosine does not find them. Embed these rows again",
            share=len(zeros) / rows.total,
        )
    if normalized is None:
        normalized = abs(middle - 1) <= limits.norm
    if normalized:
        bounds = 1 - limits.norm, 1 + limits.norm
        what = "have another length than 1, which the function gives them"
    elif baseline is not None and len(baseline.norms):
        bounds = baseline.norms.min() / limits.scale, baseline.norms.max() * limits.scale
        what = f"are {limits.scale:g} times shorter or longer than any of ordinary text"
    else:
        bounds = middle / limits.scale**2, middle * limits.scale**2
        what = f"are {limits.scale**2:g} times shorter or longer than the middle one"
    outside = np.unique(owners[((norms < bounds[0]) | (norms > bounds[1])) & (norms > 0)])
    if len(outside):
        checked.found(
            "norm",
            "warning",
            f"{len(outside):,} of {rows.total:,} vectors {what} ({rows.named(outside)}; lengths "
            f"{low:.4g} to {high:.4g}): they come from elsewhere, or were changed. By dot product "
            "and L2 they rank wrongly; run tables.check, and embed them again",
            share=len(outside) / rows.total,
            lowest=float(bounds[0]),
            highest=float(bounds[1]),
        )


def _size(rows: Rows, baseline: Baseline | None, checked: Checked) -> None:
    width = rows.vectors.shape[1]
    if baseline is not None and baseline.vectors.shape[1] != width:
        expected = baseline.vectors.shape[1]
        checked.found(
            "dimensions",
            "error",
            f"the vectors have {width} dimensions, and the function gives {expected}: they are of "
            "another model, or were cut. Embed them again",
            dims=width,
            expected=expected,
        )


def _spread(
    rows: Rows,
    first: npt.NDArray[np.int64],
    limits: Limits,
    baseline: Baseline | None,
    checked: Checked,
    chance: np.random.Generator,
) -> None:
    size = judged_size(len(first))
    if size is None:
        return
    judged = rows.vectors[chance.choice(first, size, replace=False)]
    spread = spread_of(judged)
    figures = {"effective_rank": spread.effective_rank, "spread": spread.distance}
    checked.figures.update(figures)
    if spread.distance < _CONSTANT:
        checked.found(
            "collapsed",
            "error",
            f"all of {size} vectors are practically the same (mean cosine distance "
            f"{spread.distance:.2g}): a search finds any of them. The model or its weights are "
            "broken; embed everything again with one that works",
            **figures,
        )
        return
    if baseline is None or baseline.vectors.shape[1] != judged.shape[1]:
        return
    expected = baseline.expected(size)
    usual = np.median(expected.variances)
    alive = expected.variances > usual * limits.flat
    # A narrow topic varies less in all dimensions, and a flat one less than the others.
    ratios = spread.variances[alive] / expected.variances[alive]
    flat = int((ratios < limits.flat * min(1.0, float(np.median(ratios)))).sum())
    figures |= {
        "effective_rank_expected": expected.effective_rank,
        "spread_expected": expected.distance,
    }
    checked.figures.update(figures, flat_dims=flat)
    # The signs of a few dimensions make patterns of many more.
    power = (1 + limits.rank) / 2 if rows.packed else limits.rank
    if (
        spread.effective_rank < expected.effective_rank**power
        or spread.distance < limits.distance * expected.distance
    ):
        checked.found(
            "collapsed",
            "error",
            f"{size} vectors use {spread.effective_rank:.1f} dimensions at a mean cosine distance "
            f"of {spread.distance:.3f}; as many ordinary texts use "
            f"{expected.effective_rank:.1f} at {expected.distance:.3f} or more. Even "
            "one narrow topic spreads wider: the model or its weights are broken; embed everything "
            "again with one that works",
            **figures,
        )
    elif flat > max(1, limits.flat_dims * int(alive.sum())) and not rows.packed:
        checked.found(
            "flat_dimensions",
            "error",
            f"{flat} of {len(spread.variances)} dimensions hardly vary among {size} vectors, and "
            "do with ordinary text: a part of each vector says nothing. Embed everything "
            "again, and look at how vectors are cut and stored",
            flat_dims=flat,
        )
