"""The OpenVINO engine: its vectors are those of torch, whatever the model; it needs no torch."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pytest
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel

from lancedb_embedders import ConfigurationError, settings
from lancedb_embedders.local.cores import cores, idle_cores
from lancedb_embedders.local.device import runs_on_cpu
from lancedb_embedders.local.openvino_engine import OpenVinoEngine
from lancedb_embedders.local.openvino_runtime import arithmetic
from lancedb_embedders.local.store import store
from lancedb_embedders.local.torch_engine import TorchEngine
from tests.models import (
    SENTENCES,
    plain_bert,
    tiny_bert,
    tiny_dense,
    tiny_qwen,
    tiny_roberta,
    tiny_router,
    tiny_static,
)

MODELS: dict[str, Callable[[Path], Path]] = {
    "mean": tiny_bert,
    "cls": lambda folder: tiny_bert(folder, pooling="cls"),
    "max": lambda folder: tiny_bert(folder, pooling="max"),
    "lasttoken": lambda folder: tiny_bert(folder, pooling="lasttoken"),
    "two": lambda folder: tiny_bert(folder, pooling=("cls", "mean")),
    "prompts": lambda folder: tiny_bert(
        folder, prompts={"query": "query: ", "document": "passage: "}, include_prompt=False
    ),
    "dense": tiny_dense,
    "roberta": tiny_roberta,
    "qwen": tiny_qwen,
    "plain": plain_bert,
}
TEXTS = [*SENTENCES, "word", " ".join(SENTENCES) * 4, "7", "日本語 and العربية, 🦊"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {name: make(root / name) for name, make in MODELS.items()}


def create(name: Any, engine: str = "openvino", **options: Any) -> Any:
    return get_registry().get("sbert").create(name=str(name), engine=engine, **options)


def vectors(function: Any, texts: list[str] = TEXTS) -> Any:
    return np.stack(function.compute_source_embeddings(texts))


def engine_of(function: Any) -> Any:
    return function.prepared_model("document")[0].engine


def assert_alike(found: Any, expected: Any, least: float = 0.99999) -> None:
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    cosines = (found * expected).sum(axis=1) / norms
    assert cosines.min() >= least, int(cosines.argmin())


@pytest.mark.parametrize("model", MODELS)
def test_vectors_are_those_of_torch(folders: dict[str, Path], model: str) -> None:
    ours, torchs = create(folders[model]), create(folders[model], "torch")
    assert isinstance(engine_of(ours), OpenVinoEngine)
    assert isinstance(engine_of(torchs), TorchEngine)
    assert engine_of(ours).facts == engine_of(torchs).facts
    assert_alike(vectors(ours), vectors(torchs))
    for text in (SENTENCES[0], "word"):
        [query] = ours.compute_query_embeddings(text)
        [expected] = torchs.compute_query_embeddings(text)
        assert_alike(query[None], expected[None])
    assert ours.fingerprint() == torchs.fingerprint() or ours.normalize


@pytest.mark.parametrize("pooling", ["cls", "max", "lasttoken", "weightedmean", "cls+mean"])
def test_another_pooling(folders: dict[str, Path], pooling: str) -> None:
    found = vectors(create(folders["mean"], pooling=pooling))
    assert_alike(found, vectors(create(folders["mean"], "torch", pooling=pooling)))


@pytest.mark.slow
def test_many_texts_of_mixed_length_keep_their_order() -> None:
    texts = [" ".join(f"word{i} number {j}" for j in range(i * 7 % 60 + 1)) for i in range(300)]
    whole = vectors(create("all-MiniLM-L6-v2"), texts)
    assert_alike(whole, vectors(create("all-MiniLM-L6-v2", "torch"), texts))
    for i in (0, 17, 299):
        assert_alike(whole[i : i + 1], vectors(create("all-MiniLM-L6-v2"), texts[i : i + 1]))


def test_it_is_what_runs_on_a_cpu() -> None:
    function = get_registry().get("sbert").create(device="cpu")
    assert isinstance(engine_of(function), OpenVinoEngine)


def test_long_documents(folders: dict[str, Path]) -> None:
    text = " ".join(SENTENCES * 6)
    ways: list[dict[str, Any]] = [
        {},
        {"reduce": "none"},
        {"late": True, "max_tokens": 12, "reduce": "max"},
    ]
    for options in ways:
        ours, torchs = [
            np.atleast_2d(
                get_registry()
                .get("long-document")
                .create(name=str(folders["mean"]), engine=engine, **options)
                .compute_source_embeddings([text])[0]
            )
            for engine in ("openvino", "torch")
        ]
        assert_alike(ours, torchs)


def test_threads_do_not_mix_vectors() -> None:
    function = create("all-MiniLM-L6-v2")
    texts = [f"Thread and text number {i} of many." for i in range(64)]
    expected = vectors(function, texts)
    wrong: list[int] = []

    def search(start: int) -> None:
        for i in range(start, 64, 4):
            [query] = function.compute_query_embeddings(texts[i])
            if not float(query @ expected[i]) > 0.9999:
                wrong.append(i)

    def add() -> None:
        if not np.allclose(vectors(function, texts), expected, atol=1e-4):
            wrong.append(-1)

    threads = [threading.Thread(target=search, args=(i,)) for i in range(4)]
    threads += [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(("first", "then"), [("torch", "openvino"), ("openvino", "torch")])
def test_a_table_of_one_engine_is_searched_by_the_other(
    tmp_path: Path, first: str, then: str
) -> None:
    with settings.override(engine=first):
        function = get_registry().get("sbert").create()

        class Document(LanceModel):
            text: str = function.SourceField()
            vector: function.Vector() = function.VectorField()  # type: ignore[valid-type]

        table = lancedb.connect(tmp_path / "db").create_table("t", schema=Document)
        table.add([{"text": text} for text in SENTENCES])
    with settings.override(engine=then):
        table = lancedb.connect(tmp_path / "db").open_table("t")
        table.add([{"text": SENTENCES[0]}])
        rows = table.search(SENTENCES[0]).limit(2).to_list()
    assert [row["text"] for row in rows] == [SENTENCES[0]] * 2
    assert max(row["_distance"] for row in rows) < 1e-5


# -- which engine -------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [tiny_static, tiny_router], ids=["static", "router"])
def test_other_kinds_of_models_run_on_torch(
    make: Callable[[Path], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make(tmp_path / "m")
    with caplog.at_level(logging.WARNING, "lancedb_embedders"):
        assert isinstance(engine_of(create(folder, "auto")), TorchEngine)
    assert caplog.messages == []
    with caplog.at_level(logging.WARNING, "lancedb_embedders"):
        assert isinstance(engine_of(create(folder, "openvino")), TorchEngine)
    [message] = caplog.messages
    assert "runs on torch" in message


def test_another_device_cannot_be_asked_for() -> None:
    with pytest.raises(ConfigurationError, match="runs on the CPU"):
        create("all-MiniLM-L6-v2", device="cuda").compute_source_embeddings(["text"])


@pytest.mark.slow
def test_without_openvino_torch_runs_in_silence(python: Callable[..., str]) -> None:
    from tests.conftest import HIDE

    code = (
        HIDE
        + """
import logging
hide(["openvino"])
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
for noisy in ("transformers", "sentence_transformers", "asyncio"):
    logging.getLogger(noisy).setLevel(logging.ERROR)
import lancedb_embedders
from lancedb.embeddings import get_registry
get_registry().get("sbert").create().compute_source_embeddings(["text"])
"""
    )
    lines = [line for line in python(code).splitlines() if "openvino" in line.lower()]
    assert lines == [
        "DEBUG:lancedb_embedders.local.engine:torch runs it: OpenVINO is not installed"
    ]


def test_what_device_runs_is_known_without_torch(python: Callable[..., str]) -> None:
    code = """
import sys
from lancedb_embedders.local.cores import cores, idle_cores
from lancedb_embedders.local.device import runs_on_cpu
print(runs_on_cpu("cpu"), runs_on_cpu("cuda:0"), runs_on_cpu("auto"), "torch" in sys.modules)
"""
    import torch

    cpu_only = torch.version.cuda is None
    found = python(code).split()
    assert found[:2] == ["True", "False"]
    assert runs_on_cpu("auto") is not torch.cuda.is_available()
    if cpu_only and torch.__version__.endswith("+cpu"):
        assert found[2:] == ["True", "False"]


# -- precision and cores ------------------------------------------------------------------------


def test_sixteen_bits_only_where_the_cpu_has_instructions(caplog: pytest.LogCaptureFixture) -> None:
    import openvino

    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert arithmetic("float32") == "f32"
    assert arithmetic("auto") == ("bf16" if "BF16" in able else "f32")
    with caplog.at_level(logging.INFO):
        assert arithmetic("bfloat16") == ("bf16" if "BF16" in able else "f32")
    assert bool(caplog.messages) is ("BF16" not in able)


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16", "float16"])
def test_every_precision_keeps_to_float32(precision: str) -> None:
    found = vectors(create("all-MiniLM-L6-v2", precision=precision))
    assert_alike(found, vectors(create("all-MiniLM-L6-v2", "torch", precision="float32")), 0.999)


@pytest.mark.slow
def test_eight_bits_if_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("nncf", reason="NNCF is not installed")
    whole = get_registry().get("sbert").create(engine="openvino")

    class Document(LanceModel):
        text: str = whole.SourceField()
        vector: whole.Vector() = whole.VectorField()  # type: ignore[valid-type]

    table = lancedb.connect(tmp_path / "db").create_table("t", schema=Document)
    table.add([{"text": text} for text in TEXTS])
    with settings.override(precision="int8"):
        small = get_registry().get("sbert").create(engine="openvino")
        found = vectors(small)
        # The guard knows that eight bits are coarser.
        rows = lancedb.connect(tmp_path / "db").open_table("t").search(TEXTS[1]).to_list()
        with pytest.raises(ConfigurationError, match="int8"):
            create("all-MiniLM-L6-v2", "torch").compute_source_embeddings(["text"])
    assert rows[0]["text"] == TEXTS[1]
    assert_alike(found, vectors(whole), 0.95)
    assert np.abs(found - vectors(whole)).max() > 1e-4  # it did compute in eight bits


def test_cores() -> None:
    assert cores() >= 1
    assert idle_cores() <= (os.cpu_count() or 1)
    with settings.override(threads=1):
        engine = engine_of(create("all-MiniLM-L6-v2"))
        assert engine.workers == 1
        assert_alike(
            vectors(create("all-MiniLM-L6-v2")), vectors(create("all-MiniLM-L6-v2", "torch"))
        )


# -- start-up -----------------------------------------------------------------------------------

_LIBRARIES = """
import json, sys
names = ["torch", "transformers", "sentence_transformers", "openvino_telemetry", "openvino"]
print(json.dumps([name for name in names if name in sys.modules]))
"""


def test_no_torch_once_the_graph_is_there(tmp_path: Path, python: Callable[..., str]) -> None:
    code = """
import sys, lancedb, lancedb_embedders
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel
function = get_registry().get(sys.argv[1]).create()
class Document(LanceModel):
    text: str = function.SourceField()
    vector: function.Vector() = function.VectorField()
table = lancedb.connect("db").create_table("t", schema=Document, mode="overwrite")
table.add([{"text": "A text"}, {"text": "another"}])
table.search("query").to_list()
"""
    get_registry().get("sbert").create().compute_source_embeddings(["made now, if not before"])
    for name in ("sbert", "long-document"):
        out = python(code + _LIBRARIES, name).splitlines()[-1]
        assert json.loads(out) == ["openvino"], name


def test_importing_openvino_forks_and_reports_nothing(python: Callable[..., str]) -> None:
    code = """
import os
forks = []
os.register_at_fork(before=lambda: forks.append(1))
from lancedb_embedders.local.openvino_runtime import import_openvino
print(import_openvino().__name__, forks)
"""
    assert python(code).strip() == "openvino []"


@pytest.mark.slow
def test_a_model_is_loaded_ahead_of_time_if_settings_say_so(python: Callable[..., str]) -> None:
    code = """
import os, sys, time
os.environ["LANCEDB_EMBEDDERS_PRELOAD"] = sys.argv[1]
import lancedb_embedders
from lancedb.embeddings import get_registry
from lancedb_embedders.local.store import store
start = time.monotonic()
functions = [get_registry().get("sbert").create() for _ in range(3)]
print(time.monotonic() - start < 1, len(store))
limit = time.monotonic() + (60 if sys.argv[1] == "1" else 1)
while not len(store) and time.monotonic() < limit:
    time.sleep(0.01)
print(len(store))
"""
    assert python(code, "1").split() == ["True", "0", "1"]
    assert python(code, "0").split() == ["True", "0", "0"]


def test_what_fails_ahead_of_time_is_said_when_it_is_needed(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "m")
    function = create(folder)
    (folder / "model.safetensors").write_bytes(b"damaged")
    store.clear()
    with settings.override(preload=True):
        function = create(folder)
        with pytest.raises(Exception, match="damaged or incomplete"):
            function.compute_source_embeddings(["text"])
