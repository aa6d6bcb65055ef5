"""Where graphs come from, and what can go wrong with them."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lancedb.embeddings import get_registry
from safetensors.numpy import load_file, save_file

from lancedb_embedders import settings
from lancedb_embedders.local.openvino_engine import OpenVinoEngine
from lancedb_embedders.local.store import store
from lancedb_embedders.local.torch_engine import TorchEngine
from tests.hub import Hub
from tests.models import SENTENCES, change_json, tiny_bert, tiny_dense

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _own_graphs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Each test makes its graphs itself."""
    monkeypatch.setenv("LANCEDB_EMBEDDERS_CACHE_DIR", str(tmp_path / "cache"))
    yield
    store.clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_bert(tmp_path / "model")


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "lancedb_embedders")
    return caplog


def function_of(folder: Path, engine: str = "openvino") -> Any:
    return get_registry().get("sbert").create(name=str(folder), engine=engine)


def embed(folder: Path, engine: str = "openvino") -> Any:
    """Load the model anew and embed."""
    store.clear()
    return np.stack(function_of(folder, engine).compute_source_embeddings(SENTENCES))


def engine_of(folder: Path) -> Any:
    return function_of(folder).prepared_model("document")[0].engine


def kept(tmp_path: Path) -> Path:
    [found] = (path for path in (tmp_path / "cache" / "openvino").iterdir() if path.is_dir())
    return found


def made(log: pytest.LogCaptureFixture) -> int:
    return sum("making a graph" in message for message in log.messages)


# -- made once ----------------------------------------------------------------------------------


def test_a_graph_is_made_once_and_says_so(
    folder: Path, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    first = embed(folder)
    assert made(log) == 1
    np.testing.assert_array_equal(embed(folder), first)
    assert made(log) == 1
    names = sorted(file.name for file in kept(tmp_path).iterdir())
    assert names[0].startswith("compiled-")
    assert names[1:] == ["facts.json", "model.bin", "model.xml", "tokenizer.json"]


def test_a_copy_of_the_model_finds_it(
    folder: Path, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    embed(folder)
    embed(Path(shutil.copytree(folder, tmp_path / "elsewhere" / "model")))
    assert made(log) == 1


@pytest.mark.parametrize(
    "change",
    ["weights", *(pytest.param(one, marks=pytest.mark.slow) for one in ("config", "file"))],
)
def test_another_content_is_another_graph(
    folder: Path, log: pytest.LogCaptureFixture, change: str
) -> None:
    before = embed(folder)
    if change == "weights":
        weights = load_file(folder / "model.safetensors")
        noise = np.random.default_rng(1).standard_normal
        changed = {
            name: (array + 0.3 * noise(array.shape)).astype(np.float32)
            if array.dtype == np.float32
            else array.copy()  # it is a view of the file that is written over
            for name, array in weights.items()
        }
        save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})
    elif change == "config":
        change_json(folder / "config.json", layer_norm_eps=0.5)
    else:
        (folder / "more.json").write_text("{}", encoding="utf-8")
    after = embed(folder)
    assert made(log) == 2
    np.testing.assert_allclose(after, embed(folder, "torch"), atol=1e-4)
    assert np.allclose(before, after, atol=1e-3) is (change == "file")


_PROCESS = """
import logging, sys, json
logging.basicConfig(level=logging.INFO, stream=sys.stderr)
import lancedb_embedders
from lancedb.embeddings import get_registry
function = get_registry().get("sbert").create(name=sys.argv[1], engine="openvino")
print("ready", flush=True)
vectors = function.compute_source_embeddings(["One text", "and one more"])
print(json.dumps([v.tolist() for v in vectors]))
"""


def start(folder: Path) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", _PROCESS, str(folder)], stdout=pipe, stderr=pipe, text=True, cwd=ROOT
    )


@pytest.mark.slow
def test_processes_that_come_together_make_one(folder: Path) -> None:
    processes = [start(folder) for _ in range(3)]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, outputs
    assert sum("making a graph" in log for _, log in outputs) == 1
    assert len({out for out, _ in outputs}) == 1


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_nothing_half_done(
    folder: Path, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(3)
    for _ in range(3):
        process = start(folder)
        assert process.stdout is not None
        process.stdout.readline()
        places = tmp_path / "cache" / "openvino"
        while not places.is_dir() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 3))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    np.testing.assert_allclose(embed(folder), embed(folder, "torch"), atol=1e-4)
    assert [message for message in log.messages if "made anew" in message] == []
    embed(folder)
    assert made(log) <= 1


# -- damage -------------------------------------------------------------------------------------


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


def _unpad(facts: Path) -> None:
    facts.write_text(facts.read_text().replace('"pad": 0', '"pad": 1'))


def _empty(kept: Path) -> None:
    for file in kept.iterdir():
        file.unlink()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "weights cut": lambda kept: os.truncate(kept / "model.bin", 1000),
    "weights changed": lambda kept: _flip(kept / "model.bin"),
    "weights gone": lambda kept: (kept / "model.bin").rename(kept / "gone"),
    "graph is no graph": lambda kept: (kept / "model.xml").write_text("<net/>"),
    "graph empty": lambda kept: (kept / "model.xml").write_text(""),
    "tokenizer changed": lambda kept: _flip(kept / "tokenizer.json"),
    "facts gone": lambda kept: (kept / "facts.json").rename(kept / "gone"),
    "facts empty": lambda kept: (kept / "facts.json").write_text(""),
    "facts changed": lambda kept: _unpad(kept / "facts.json"),
    "facts of another kind": lambda kept: (kept / "facts.json").write_text("[1]"),
    "all gone": _empty,
}


_QUICK = {"weights changed", "all gone"}


@pytest.mark.parametrize(
    "damage",
    [pytest.param(one, marks=[] if one in _QUICK else pytest.mark.slow) for one in DAMAGES],
)
def test_a_damaged_graph_is_made_anew(
    folder: Path, tmp_path: Path, log: pytest.LogCaptureFixture, damage: str
) -> None:
    before = embed(folder)
    for compiled in kept(tmp_path).glob("compiled-*"):  # with it the graph is not even read
        compiled.unlink()
    DAMAGES[damage](kept(tmp_path))
    np.testing.assert_allclose(embed(folder), before, atol=1e-6)
    assert sum("damaged and made anew" in message for message in log.messages) == 1
    assert made(log) == 2
    embed(folder)
    assert made(log) == 2


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_compiled_form_is_made_anew(
    folder: Path, tmp_path: Path, log: pytest.LogCaptureFixture, damage: str
) -> None:
    before = embed(folder)
    store.clear()
    [compiled] = kept(tmp_path).glob("compiled-*")
    whole = compiled.read_bytes()
    broken = {"cut": whole[:5000], "empty": b"", "changed": whole[:-9] + b"\xff" + whole[-8:]}
    compiled.write_bytes(broken[damage])
    np.testing.assert_allclose(embed(folder), before, atol=1e-6)
    [again] = kept(tmp_path).glob("compiled-*")
    assert again.stat().st_size > 5000
    assert made(log) == 1
    assert [message for message in log.messages if "made anew" in message] == []


@pytest.mark.slow
def test_damage_to_all_that_is_kept(
    folder: Path, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    before = embed(folder)
    store.clear()
    for file in kept(tmp_path).glob("*[!n]"):  # all but JSON
        _flip(file)
    np.testing.assert_allclose(embed(folder), before, atol=1e-6)
    assert made(log) == 2


def test_a_folder_that_cannot_be_written(
    folder: Path, tmp_path: Path, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("where a folder should be", encoding="utf-8")
    monkeypatch.setenv("LANCEDB_EMBEDDERS_CACHE_DIR", str(tmp_path / "file" / "cache"))
    found = embed(folder)
    assert isinstance(engine_of(folder), OpenVinoEngine)
    np.testing.assert_allclose(found, embed(folder, "torch"), atol=1e-4)
    warnings = [message for message in log.messages if "cannot be kept" in message]
    assert len(warnings) == 1


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="mounting needs root")
def test_a_read_only_file_system(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "readonly"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(place)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        with settings.override(cache_dir=place):
            found = embed(folder)
    finally:
        subprocess.run(["umount", str(place)], check=True)
    np.testing.assert_allclose(found, embed(folder, "torch"), atol=1e-4)


# -- refused ------------------------------------------------------------------------------------

# A trace holds the branch that the example took; this model takes the other for longer texts.
_BRANCHES = """
from transformers import BertModel

class BranchingModel(BertModel):
    def forward(self, input_ids=None, attention_mask=None, **options):
        found = super().forward(input_ids=input_ids, attention_mask=attention_mask, **options)
        if input_ids.shape[1] > 20:
            found.last_hidden_state = found.last_hidden_state.flip(-1)
        return found
"""


def test_a_graph_that_gives_other_vectors_is_refused(
    folder: Path, log: pytest.LogCaptureFixture
) -> None:
    (folder / "branching.py").write_text(_BRANCHES, encoding="utf-8")
    change_json(folder / "config.json", auto_map={"AutoModel": "branching.BranchingModel"})
    with settings.override(trust_remote_code=True):
        found = embed(folder)
        assert isinstance(engine_of(folder), TorchEngine)
        [message] = [one for one in log.messages if "runs on torch" in one]
        assert "gives other vectors" in message
        np.testing.assert_allclose(found, embed(folder, "torch"), atol=1e-6)
        log.clear()
        embed(folder)
    # What was found out is kept: the next process does not try again.
    assert made(log) == 0
    assert len([one for one in log.messages if "gives other vectors" in one]) == 1


def test_code_that_is_not_trusted_does_not_run_for_a_graph_either(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "branching.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')", encoding="utf-8")
    change_json(folder / "config.json", auto_map={"AutoModel": "branching.BranchingModel"})
    embed(folder)
    assert not (tmp_path / "ran").exists()


# -- ready-made ---------------------------------------------------------------------------------


@pytest.fixture
def with_graph(folder: Path, tmp_path: Path) -> Path:
    """The model with a graph in ``openvino/``, as repositories on the hub have it."""
    embed(folder)
    (folder / "openvino").mkdir()
    for suffix in ("xml", "bin"):
        shutil.copy(
            kept(tmp_path) / f"model.{suffix}", folder / f"openvino/openvino_model.{suffix}"
        )
    shutil.rmtree(tmp_path / "cache")
    return folder


def test_a_ready_made_graph_is_taken_without_torch(
    with_graph: Path, tmp_path: Path, python: Callable[..., str]
) -> None:
    expected = embed(with_graph, "torch")
    (with_graph / "model.safetensors").unlink()
    code = """
import json, sys
import lancedb_embedders
from lancedb.embeddings import get_registry
function = get_registry().get("sbert").create(name=sys.argv[1])
vectors = function.compute_source_embeddings(json.loads(sys.argv[2]))
print(json.dumps(["torch" in sys.modules, [v.tolist() for v in vectors]]))
"""
    torch_loaded, found = json.loads(python(code, str(with_graph), json.dumps(SENTENCES)))
    assert not torch_loaded
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert [file.suffix for file in kept(tmp_path).iterdir()] == [".blob"]


def test_an_onnx_graph_will_do(folder: Path, tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("onnx", reason="exporting needs onnx")
    import torch
    from sentence_transformers import SentenceTransformer

    transformer: Any = SentenceTransformer(str(folder), device="cpu")[0]

    class TokenVectors(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = transformer.model

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            return self.model(
                input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
            ).last_hidden_state

    (folder / "onnx").mkdir()
    ids = torch.ones(2, 8, dtype=torch.int64)
    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    torch.onnx.export(
        TokenVectors().eval(),
        (ids, ids, torch.zeros_like(ids)),
        str(folder / "onnx" / "model.onnx"),
        input_names=inputs,
        output_names=["last_hidden_state"],
        dynamic_axes={name: {0: "batch", 1: "length"} for name in [*inputs, "last_hidden_state"]},
        dynamo=False,
    )
    found = embed(folder)
    assert made(log) == 0
    np.testing.assert_allclose(found, embed(folder, "torch"), atol=1e-4)


def test_a_damaged_ready_made_graph_is_left_aside(
    with_graph: Path, log: pytest.LogCaptureFixture
) -> None:
    (with_graph / "openvino" / "openvino_model.xml").write_text("<net/>", encoding="utf-8")
    log.clear()
    found = embed(with_graph)
    assert any("is left aside" in message for message in log.messages)
    np.testing.assert_allclose(found, embed(with_graph, "torch"), atol=1e-4)


def test_a_graph_with_inputs_that_are_not_known(
    with_graph: Path, log: pytest.LogCaptureFixture
) -> None:
    xml = with_graph / "openvino" / "openvino_model.xml"
    xml.write_text(xml.read_text().replace("attention_mask", "something_else"), encoding="utf-8")
    found = embed(with_graph)
    assert isinstance(engine_of(with_graph), TorchEngine)
    np.testing.assert_allclose(found, embed(with_graph, "torch"), atol=1e-6)


def test_dense_weights_of_the_old_format(tmp_path: Path) -> None:
    folder = tiny_dense(tmp_path / "dense")
    [weights] = folder.glob("*Dense*/model.safetensors")
    from safetensors.torch import load_file as load_tensors
    from torch import save

    save(load_tensors(weights), weights.with_name("pytorch_model.bin"))
    weights.unlink()
    found = embed(folder)
    assert isinstance(engine_of(folder), OpenVinoEngine)
    np.testing.assert_allclose(found, embed(folder, "torch"), atol=1e-4)


# -- on the hub ---------------------------------------------------------------------------------

_FROM_HUB = """
import json, sys
import lancedb_embedders
from lancedb.embeddings import get_registry
function = get_registry().get("sbert").create(name="team/model", engine=sys.argv[1])
vectors = function.compute_source_embeddings(json.loads(sys.argv[2]))
print(json.dumps(["torch" in sys.modules, [v.tolist() for v in vectors]]))
"""


@pytest.mark.slow
def test_a_graph_on_the_hub_is_fetched_in_place_of_the_weights(
    with_graph: Path, tmp_path: Path, python: Callable[..., str]
) -> None:
    expected = embed(with_graph, "torch")
    with Hub() as hub:
        hub.publish("team/model", with_graph)
        env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}
        texts = json.dumps(SENTENCES)
        for _ in range(2):
            torch_loaded, found = json.loads(python(_FROM_HUB, "openvino", texts, env=env))
            assert not torch_loaded
            np.testing.assert_allclose(found, expected, atol=1e-4)
        assert len(hub.asked("openvino_model.bin")) >= 1
        assert hub.asked("model.safetensors") == []
        before = len(hub.requests)
        offline = {**env, "HF_HUB_OFFLINE": "1"}
        python(_FROM_HUB, "openvino", texts, env=offline)
        assert len(hub.requests) == before
        # Torch needs the weights, and fetches them then.
        _, found = json.loads(python(_FROM_HUB, "torch", texts, env=env))
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert hub.asked("model.safetensors") != []


@pytest.mark.slow
def test_a_graph_from_the_hub_that_is_of_no_use(
    with_graph: Path, tmp_path: Path, python: Callable[..., str]
) -> None:
    expected = embed(with_graph, "torch")
    with Hub() as hub:
        hub.publish("team/model", with_graph, {"openvino/openvino_model.xml": b"<net/>"})
        env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}
        _, found = json.loads(python(_FROM_HUB, "auto", json.dumps(SENTENCES), env=env))
    np.testing.assert_allclose(found, expected, atol=1e-4)
