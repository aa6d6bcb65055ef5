"""Periods compared: false alarms, real drift, and a history that other processes go on with."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from scipy.stats import ks_2samp

from lancedb_embedders import ConfigurationError, SbertEmbeddings
from lancedb_embedders.output import quantize
from lancedb_embedders.tools import QualityMonitor
from lancedb_embedders.tools.monitor import Drift
from lancedb_embedders.tools.watch.drift import Period, compared
from lancedb_embedders.tools.watch.history import TABLE

Vectors = npt.NDArray[Any]


@pytest.fixture(scope="module")
def vectors(data: Path) -> Vectors:
    """Return the vectors of 400 questions of customers, in random order."""
    lines = (data / "intent_banking77" / "train.tsv").read_text(encoding="utf-8").splitlines()
    rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    chosen = np.random.default_rng(0).choice(len(rows), 400, replace=False)
    texts = [rows[i]["text"] for i in chosen]
    return np.asarray(SbertEmbeddings.create().compute_source_embeddings(texts))


def drifted(found: Drift) -> list[str]:
    return [test.name for test in found.tests if test.drifted]


def alarms(vectors: Vectors, splits: int) -> int:
    """Return in how many random splits of one set drift is found."""
    count = 0
    for seed in range(splits):
        order = np.random.default_rng(seed).permutation(len(vectors))
        first, second = np.split(vectors[order], 2)
        found = compared(Period(first, np.zeros(0)), Period(second, np.zeros(0)), seed=seed)
        count += not found.ok
    return count


def test_halves_of_one_set_are_alike(vectors: Vectors) -> None:
    assert alarms(vectors, 8) == 0


@pytest.mark.slow
def test_false_alarms_are_as_rare_as_stated(vectors: Vectors) -> None:
    # 1 in 100 is what alpha allows: 7 or more of 200 would be one case in 200.
    assert alarms(vectors, 200) <= 6


def shifted(vectors: Vectors) -> Vectors:
    return np.asarray(vectors + 0.3 * np.random.default_rng(0).normal(size=384) / 384**0.5)


def narrowed(vectors: Vectors) -> Vectors:
    """Return the half that is nearest to one of the vectors, as a topic would be."""
    return np.asarray(vectors[np.argsort(vectors @ vectors[0])[len(vectors) // 2 :]])


def repeated(vectors: Vectors) -> Vectors:
    noise = np.random.default_rng(0).normal(size=vectors.shape) / 384**0.5
    return np.asarray(vectors[np.arange(len(vectors)) // 2] + 0.1 * noise)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (shifted, {"distribution", "norm"}),
        (repeated, {"nn_distance"}),
        (lambda vectors: vectors * 1.5, {"norm"}),
        (narrowed, {"distribution"}),
    ],
)
def test_a_change_is_found(
    vectors: Vectors, change: Callable[[Vectors], Vectors], names: set[str]
) -> None:
    found = QualityMonitor().compare(vectors[:200], change(vectors[200:]))
    assert names <= set(drifted(found))
    assert not found.ok
    assert {finding.code for finding in found.findings} == {f"drift_{n}" for n in drifted(found)}
    assert "p (Holm)" in str(found)


def test_what_is_sure_and_small_is_no_drift() -> None:
    chance = np.random.default_rng(0)
    before = chance.normal(size=(100_000, 8)) + 3
    after = chance.normal(size=(100_000, 8)) + 3.02
    # A test of all rows is sure of that.
    assert ks_2samp(before[:, 0], after[:, 0]).pvalue < 1e-3
    assert QualityMonitor().compare(before, after).ok


def test_shares_of_nulls_are_compared(vectors: Vectors) -> None:
    holes = [None if i % 5 == 0 else vector for i, vector in enumerate(vectors[200:])]
    assert drifted(QualityMonitor().compare(vectors[:200], holes)) == ["nulls"]


@pytest.mark.parametrize("kind", ["binary", "float16"])
def test_quantized_vectors_are_compared(vectors: Vectors, kind: Any) -> None:
    first, second = quantize(vectors[:200], kind), quantize(vectors[200:], kind)
    assert QualityMonitor().compare(first, second).ok
    moved = quantize(shifted(vectors[200:]).astype(np.float32), kind)
    assert "distribution" in drifted(QualityMonitor().compare(first, moved))


def test_p_values_are_corrected_for_their_number() -> None:
    chance = np.random.default_rng(0)
    near, far = chance.normal(size=(50, 8)) + 2, chance.normal(size=(50, 8)) - 2
    found = QualityMonitor().compare(near, far)
    by_name = {test.name: test for test in found.tests}
    assert len(found.tests) == 4
    # The lowest that 999 permutations give, for the one of four tests that is surest.
    assert by_name["distribution"].p == pytest.approx(4 * 1 / 1000)
    assert by_name["nulls"].p == 1


@pytest.mark.parametrize(
    ("after", "alpha", "message"),
    [
        (np.ones((19, 4)), 0.01, "drift needs 20 vectors of each period; there are 30 before"),
        (np.ones((30, 5)), 0.01, "had 4 dimensions before and have 5 after"),
        (np.ones((30, 4)), 1.5, "alpha=1.5 is no probability"),
    ],
)
def test_what_cannot_be_compared(after: Vectors, alpha: float, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        QualityMonitor().compare(np.ones((30, 4)), after, alpha=alpha)


def test_vectors_that_are_all_the_same() -> None:
    assert QualityMonitor().compare(np.ones((30, 4)), np.ones((30, 4))).ok


# -- history ------------------------------------------------------------------------------------


def test_another_process_goes_on_with_the_history(
    vectors: Vectors, tmp_path: Path, python: Callable[..., str]
) -> None:
    place = tmp_path / "kept"
    np.save(tmp_path / "moved.npy", shifted(vectors[200:]))
    first = QualityMonitor(history=place, name="it's")
    first.check(vectors[:100])
    first.check(vectors[100:200])
    QualityMonitor(history=lancedb.connect(place), name="other").check(vectors[:50])
    assert not QualityMonitor(history=place, name="new").has_periods
    code = """
import sys, numpy as np
from lancedb_embedders.tools import QualityMonitor
monitor = QualityMonitor(history=sys.argv[1], name="it's")
monitor.check(np.load(sys.argv[2]))
found = monitor.drift()
print(found.before, found.after, [test.name for test in found.tests if test.drifted])
"""
    said = python(code, str(place), str(tmp_path / "moved.npy"))
    assert said.startswith("200 200 ['distribution'")
    assert [quality.rows for quality in first.history] == [100, 100, 200]
    assert first.has_periods
    times = [quality.at for quality in first.history]
    assert times == sorted(times)
    # From the second check on; the first alone is before.
    found = first.drift(times[1])
    assert (found.before, found.after) == (100, 300)
    with pytest.raises(ConfigurationError, match="there are 0 before"):
        first.drift(datetime.now().astimezone() - timedelta(days=1))


def test_what_is_kept_is_bounded_and_comes_back(vectors: Vectors, tmp_path: Path) -> None:
    monitor = QualityMonitor(history=tmp_path)
    rows = [None, *vectors[:390]]
    rows[5] = np.full(384, np.nan)
    there = monitor.check(rows, ["secret"] * 391)
    (back,) = QualityMonitor(history=tmp_path).history
    assert back == there
    assert {"non_finite", "duplicates"} < {finding.code for finding in back.findings}
    table = lancedb.connect(tmp_path).open_table(TABLE)
    (row,) = table.search().to_list()
    assert len(row["kept_vectors"]) == 256 * 384 * 4
    assert len(row["kept_norms"]) == 256
    assert row["null_rows"] == 1
    assert "secret" not in str({name: row[name] for name in row if name != "kept_vectors"})


def test_a_history_of_other_columns_is_refused(tmp_path: Path) -> None:
    lancedb.connect(tmp_path).create_table(TABLE, pa.table({"id": ["1"], "rows": [1]}))
    with pytest.raises(ConfigurationError, match=r"name \(missing, not string\), at \(missing"):
        QualityMonitor(history=tmp_path)
    with pytest.raises(ConfigurationError, match="history is a database"):
        QualityMonitor(history=3)


def test_models_of_two_sizes_are_not_mixed(tmp_path: Path) -> None:
    monitor = QualityMonitor(history=tmp_path)
    chance = np.random.default_rng(0)
    for width in (8, 16, 16):
        monitor.check(chance.normal(size=(30, width)))
    with pytest.raises(ConfigurationError, match="vectors of 8 and 16 dimensions"):
        monitor.drift()
