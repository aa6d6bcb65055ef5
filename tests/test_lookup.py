"""Where a model is looked for, in which order, and what a table remembers of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import numpy.typing as npt
import pytest
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel
from sentence_transformers import SentenceTransformer

from lancedb_embedders import ModelNotFoundError
from tests.hub import Hub
from tests.models import one_thread, tiny_bert, tiny_dense

TEXT = "The quick brown fox"
SECRET = "hf_secretsecretsecret"

# What each process does: cases by name, so that one that fails leaves the others be.
_RUN = """
import json, os, sys
os.dup2(1, 2)
import lancedb
import lancedb_embedders
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel

def create(**options):
    return get_registry().get("sbert").create(**options)

def made(function, db=None):
    vector = function.compute_source_embeddings([TEXT])[0].tolist()
    stored = function.safe_model_dump()
    if db:
        class Document(LanceModel):
            text: str = function.SourceField()
            vector: function.Vector() = function.VectorField()
        lancedb.connect(db).create_table("t", schema=Document).add([{"text": TEXT}])
    return {"vector": vector, "stored": stored}

def searched(db):
    table = lancedb.connect(db).open_table("t")
    [row] = table.search(TEXT).limit(1).to_list()
    return {"vector": row["vector"], "distance": row["_distance"]}

TEXT, folder = sys.argv[1:3]
results = {}
for name, case in CASES.items():
    try:
        results[name] = case()
    except Exception as error:
        results[name] = {"error": f"{type(error).__name__}: {error}"}
print("RESULTS " + json.dumps(results))
"""

_FIRST = """
def partial():
    # What transformers alone leaves in the cache: it knows nothing of modules and pooling.
    from huggingface_hub import hf_hub_download
    for file in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        hf_hub_download("acme/partial", file)
    return made(create(name="acme/partial"))

CASES = {
    "bundled": lambda: made(create()),
    "short": lambda: made(create(name="tiny-bert")),
    "full": lambda: made(create(name="acme/tiny-bert"), f"{folder}/db"),
    "branch": lambda: made(create(name="acme/tiny-bert", revision="main")),
    "mixed": lambda: made(create(name="acme/mixed")),
    "partial": partial,
}
"""

_SECOND = """
def fetch(name, cache):
    from huggingface_hub import snapshot_download
    return {"folder": snapshot_download(name, cache_dir=f"{folder}/{cache}")}

def about(function):
    return {"ndims": function.ndims(), "stored": function.resolved()}

CASES = {
    "again": lambda: about(create(name="acme/tiny-bert")),
    "missing": lambda: about(create(name="acme/all-MiniLM-L6-v3")),
    "forbidden": lambda: about(create(name="acme/forbidden")),
    "unauthorized": lambda: about(create(name="acme/unauthorized")),
    "broken": lambda: about(create(name="acme/broken")),
    "newer": lambda: fetch("acme/tiny-bert", "newer"),
    "minilm": lambda: fetch("sentence-transformers/all-MiniLM-L6-v2", "minilm"),
}
"""

_OFFLINE = """
CASES = {
    "table": lambda: searched(f"{folder}/db"),
    "short": lambda: made(create(name="tiny-bert")),
    "by-folder": lambda: searched(f"{folder}/by-folder"),
    "broken": lambda: made(create(name="acme/broken")),
}
"""


@dataclass(frozen=True)
class Downloads:
    """What three processes saw: the first with a hub, a second one, and one without."""

    folder: Path
    first: dict[str, Any]
    second: dict[str, Any]
    offline: dict[str, Any]
    first_requests: list[str]
    second_requests: list[str]
    second_output: str
    tokens: set[str]
    commits: dict[str, str]
    sources: dict[str, Path]

    @property
    def cache(self) -> Path:
        return self.folder / "hf" / "hub"

    def expected(self, name: str) -> npt.NDArray[np.float32]:
        return plain(self.sources[name])


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Downloads:
    folder = tmp_path_factory.mktemp("lookup")
    sources = {
        "short": tiny_bert(folder / "short", seed=1),
        "full": tiny_bert(folder / "full", seed=2),
        "newer": tiny_bert(folder / "full-newer", seed=3),
        "partial": tiny_bert(folder / "partial", pooling="cls", seed=4),
        "mixed": tiny_dense(folder / "mixed"),
        "minilm": tiny_bert(folder / "minilm-on-the-hub", seed=5),
        "by-folder": tiny_bert(folder / "here" / "my-bert", seed=6),
    }
    _as_pickle(sources["mixed"] / "2_Dense")
    make_table(create(name=str(sources["by-folder"])), folder / "by-folder")
    shutil.copytree(sources["by-folder"], folder / "there" / "my-bert")
    environment = {
        "HF_HOME": str(folder / "hf"),
        "LANCEDB_EMBEDDERS_MODELS": "",
        "OMP_NUM_THREADS": "1",
    }
    with Hub() as hub:
        online = {**environment, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"}
        commits = {
            "short": hub.publish("sentence-transformers/tiny-bert", sources["short"], _OTHERS),
            "full": hub.publish("acme/tiny-bert", sources["full"], _OTHERS),
            "partial": hub.publish("acme/partial", sources["partial"], _OTHERS),
            "mixed": hub.publish("acme/mixed", sources["mixed"], _OTHERS),
        }
        hub.publish("sentence-transformers/all-MiniLM-L6-v2", sources["minilm"])
        first, _ = run(_FIRST, folder, online)
        first_requests = list(hub.requests)
        hub.requests.clear()
        commits["newer"] = hub.publish("acme/tiny-bert", sources["newer"])
        for name, status in (("forbidden", 403), ("unauthorized", 401)):
            hub.publish(f"acme/{name}", sources["full"])
            hub.gated[f"acme/{name}"] = status
        hub.publish("acme/broken", sources["full"])
        hub.broken.add("acme/broken/1_Pooling/config.json")
        second, second_output = run(_SECOND, folder, {**online, "HF_TOKEN": SECRET})
        second_requests = list(hub.requests)
    models = {"LANCEDB_EMBEDDERS_MODELS": str(folder / "there")}
    offline, _ = run(_OFFLINE, folder, {**online, **models, "HF_HUB_OFFLINE": "1"})
    return Downloads(
        folder,
        first,
        second,
        offline,
        first_requests,
        second_requests,
        second_output,
        hub.tokens,
        commits,
        sources,
    )


#: Files that a model's repository holds besides, and that no one needs.
_OTHERS = {
    "README.md": b"# A model",
    ".gitattributes": b"*.onnx filter=lfs",
    "onnx/model.onnx": b"onnx",
    "onnx/config.json": b"{}",
    "openvino/openvino_model.xml": b"<xml/>",
    "tf_model.h5": b"tensorflow",
    "rust_model.ot": b"rust",
    "flax_model.msgpack": b"flax",
    "pytorch_model.bin": b"pickled",
}


def run(cases: str, folder: Path, environment: dict[str, str]) -> tuple[dict[str, Any], str]:
    """Run `cases` in a process of its own; return their results and all that it printed."""
    before, _, after = _RUN.partition("results = {}")
    inherited = {name: value for name, value in os.environ.items() if name != "HF_TOKEN"}
    done = subprocess.run(
        [sys.executable, "-c", f"{before}{cases}results = {{}}{after}", TEXT, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=300,
        cwd=folder,
        env={**inherited, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stdout
    results = next(line for line in done.stdout.splitlines() if line.startswith("RESULTS "))
    return json.loads(results.removeprefix("RESULTS ")), done.stdout


def _as_pickle(folder: Path) -> None:
    # As in repositories where only the transformer's weights were converted to safetensors.
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def create(**options: Any) -> Any:
    function: Any = get_registry().get("sbert")
    return function.create(**options)


def plain(folder: Path) -> npt.NDArray[np.float32]:
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    return np.asarray(model.encode(TEXT, normalize_embeddings=True))


def embed(**options: Any) -> npt.NDArray[np.float32]:
    return np.asarray(create(**options).compute_source_embeddings([TEXT])[0])


def make_table(embedder: Any, folder: Path) -> Any:
    class Document(LanceModel):
        text: str = embedder.SourceField()
        vector: embedder.Vector() = embedder.VectorField()  # type: ignore[valid-type]

    table = lancedb.connect(folder).create_table("t", schema=Document)
    table.add([{"text": TEXT}])
    return table


def assert_same(found: Any, expected: npt.NDArray[np.float32]) -> None:
    np.testing.assert_allclose(np.asarray(found), expected, atol=1e-5)


def files_that_hold(folder: Path, text: str) -> list[Path]:
    return [
        file
        for file in folder.rglob("*")
        if file.is_file()
        and (text.encode() in file.read_bytes() or text in str(file.relative_to(folder)))
    ]


# -- folders ------------------------------------------------------------------------------------


def test_an_explicit_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_bert(tmp_path / "models" / "first-bert", seed=1)
    explicit = tiny_bert(tmp_path / "elsewhere" / "first-bert", seed=2)
    monkeypatch.setenv("LANCEDB_EMBEDDERS_MODELS", str(tmp_path / "models"))
    assert_same(embed(name=str(explicit)), plain(explicit))
    assert_same(embed(name="first-bert", folder=explicit), plain(explicit))


def test_folders_of_models_by_full_and_short_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = tiny_bert(tmp_path / "a" / "acme" / "second-bert", seed=1)
    short = tiny_bert(tmp_path / "b" / "second-bert", seed=2)
    known = tiny_bert(tmp_path / "c" / "sentence-transformers" / "second-bert", seed=3)

    def use(*roots: str) -> None:
        path = os.pathsep.join(str(tmp_path / root) for root in roots)
        monkeypatch.setenv("LANCEDB_EMBEDDERS_MODELS", path)

    use("a", "b", "c")
    assert_same(embed(name="acme/second-bert"), plain(full))
    assert_same(embed(name="second-bert"), plain(short))
    use("c", "b")
    assert_same(embed(name="second-bert"), plain(known))
    assert_same(embed(name="sentence-transformers/second-bert"), plain(known))
    assert_same(embed(name="acme/second-bert"), plain(short))
    use("nowhere", "b", "a")  # the first folder that has it, be it by the short name
    assert_same(embed(name="acme/second-bert"), plain(short))


def test_tilde_in_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_bert(tmp_path / "models" / "third-bert", seed=1)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LANCEDB_EMBEDDERS_MODELS", "~/models")
    assert_same(embed(name="third-bert"), plain(model))
    monkeypatch.delenv("LANCEDB_EMBEDDERS_MODELS")
    assert_same(embed(name="~/models/third-bert"), plain(model))


def test_folders_of_models_come_before_hub_cache_and_bundled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, downloads: Downloads
) -> None:
    minilm = tiny_bert(tmp_path / "all-MiniLM-L6-v2", seed=7)
    cached = tiny_bert(tmp_path / "acme" / "tiny-bert", seed=8)
    monkeypatch.setenv("LANCEDB_EMBEDDERS_MODELS", str(tmp_path))
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(downloads.cache))
    assert_same(embed(), plain(minilm))
    assert_same(embed(name="acme/tiny-bert"), plain(cached))


def test_a_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_bert(tmp_path / "models" / "fourth-bert", seed=1)
    monkeypatch.chdir(tmp_path)
    embedder = create(name="models/fourth-bert")
    monkeypatch.chdir("/")
    assert_same(embedder.compute_source_embeddings([TEXT])[0], plain(model))
    assert embedder.name == "fourth-bert"


@pytest.mark.parametrize("name", ["/nowhere/model", "./nowhere", "~/nowhere", "../nowhere"])
def test_a_path_that_is_not_there(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match="there is no such folder"):
        create(name=name)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"none of modules\.json, config\.json"):
        create(name=str(tmp_path))
    with pytest.raises(ModelNotFoundError, match="no model in its folder"):
        create(name="fifth-bert", folder=tmp_path)


def test_a_folder_given_once_does_not_answer_for_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = tiny_bert(tmp_path / "once" / "sixth-bert", seed=1)
    usual = tiny_bert(tmp_path / "usual" / "sixth-bert", seed=2)
    monkeypatch.setenv("LANCEDB_EMBEDDERS_MODELS", str(tmp_path / "usual"))
    assert_same(embed(name=str(once)), plain(once))
    assert_same(embed(name="sixth-bert"), plain(usual))


def test_tables_of_two_folders_of_one_name(tmp_path: Path) -> None:
    folders = [tiny_bert(tmp_path / str(seed) / "seventh-bert", seed=seed) for seed in (1, 2)]
    tables = [make_table(create(name=str(folder)), folder / "db") for folder in folders]
    for table, folder in zip(tables, folders, strict=True):
        table.add([{"text": TEXT}])
        assert_same(table.to_pandas()["vector"].iloc[1], plain(folder))
        assert table.search(TEXT).to_list()[0]["_distance"] == pytest.approx(0, abs=1e-6)


# -- what a table remembers ---------------------------------------------------------------------


def test_a_table_stores_the_name_and_no_path(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "my-models" / "my-bert")
    table = make_table(create(name=str(folder)), tmp_path / "db")
    table.add([{"text": "more"}])
    table.search("fox").to_list()
    table.optimize()
    assert files_that_hold(tmp_path / "db", "my-bert")
    assert not files_that_hold(tmp_path / "db", "my-models")
    assert not files_that_hold(tmp_path / "db", str(tmp_path))


def test_another_process_finds_the_folder_by_its_name(downloads: Downloads) -> None:
    found = downloads.offline["by-folder"]
    assert_same(found["vector"], downloads.expected("by-folder"))
    assert found["distance"] == pytest.approx(0, abs=1e-6)


def test_a_snapshot_path_becomes_name_and_revision(tmp_path: Path, downloads: Downloads) -> None:
    commit = downloads.commits["partial"]
    snapshot = downloads.cache / "models--acme--partial" / "snapshots" / commit
    embedder = create(name=f"{snapshot}/")
    assert (embedder.name, embedder.revision) == ("acme/partial", commit)
    make_table(embedder, tmp_path / "db")
    assert files_that_hold(tmp_path / "db", commit)
    assert not files_that_hold(tmp_path / "db", str(downloads.folder))
    assert not files_that_hold(tmp_path / "db", "snapshots")


# -- the hub ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["short", "full", "mixed"])
def test_a_model_is_downloaded_and_its_commit_is_stored(downloads: Downloads, case: str) -> None:
    result = downloads.first[case]
    assert "error" not in result, result["error"]
    assert_same(result["vector"], downloads.expected(case))
    assert result["stored"]["revision"] == downloads.commits[case]


def test_a_branch_is_stored_as_its_commit(downloads: Downloads) -> None:
    assert downloads.first["branch"]["stored"]["revision"] == downloads.commits["full"]


def test_only_needed_files_are_asked_for(downloads: Downloads) -> None:
    fetched = {
        request.rsplit(f"{downloads.commits['full']}/", 1)[1]
        for request in downloads.first_requests
        if request.startswith("GET /acme/tiny-bert/resolve/")
    }
    assert "model.safetensors" in fetched
    assert not fetched & set(_OTHERS)
    for name in ("tf_model.h5", "onnx", ".msgpack", ".ot", "openvino"):
        assert not [request for request in downloads.first_requests if name in request]


def test_the_bundled_model_is_not_asked_for(downloads: Downloads) -> None:
    assert len(downloads.first["bundled"]["vector"]) == 384
    assert "revision" not in downloads.first["bundled"]["stored"]
    assert not [request for request in downloads.first_requests if "all-MiniLM" in request]


def test_files_that_transformers_left_in_the_cache_are_no_model(downloads: Downloads) -> None:
    result = downloads.first["partial"]
    assert "error" not in result, result["error"]
    assert result["stored"]["pooling"] == "cls"
    assert_same(result["vector"], downloads.expected("partial"))


def test_a_second_process_takes_what_is_on_disk(downloads: Downloads) -> None:
    # The hub has moved on to another commit meanwhile, and is not even asked.
    again = downloads.second["again"]
    assert again["ndims"] == 32
    assert again["stored"]["revision"] == downloads.commits["full"]
    # One request is there: the process also fetched the newer commit, to another folder.
    question = "GET /api/models/acme/tiny-bert/revision/main"
    assert downloads.second_requests.count(question) == 1


def test_a_process_without_a_hub_finds_it_in_the_cache(downloads: Downloads) -> None:
    assert downloads.offline["table"]["distance"] == pytest.approx(0, abs=1e-6)
    assert_same(downloads.offline["table"]["vector"], downloads.expected("full"))
    assert_same(downloads.offline["short"]["vector"], downloads.expected("short"))
    assert downloads.offline["short"]["stored"]["revision"] == downloads.commits["short"]


def test_a_download_that_broke_off_is_no_model(downloads: Downloads) -> None:
    # All but one small file came, and without it the pooling would have to be guessed.
    assert downloads.second["broken"]["error"].startswith("ModelNotFoundError: ")
    assert downloads.offline["broken"]["error"].startswith("ModelNotFoundError: ")


def test_facts_of_a_cached_model_are_known_before_it_is_loaded(
    downloads: Downloads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(downloads.cache))
    embedder = create(name="tiny-bert")
    assert embedder.revision == downloads.commits["short"]
    assert (embedder.dim, embedder.pooling) == (32, "mean")


def test_hub_cache_comes_before_bundled(
    downloads: Downloads, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(downloads.folder / "minilm"))
    assert_same(embed(), downloads.expected("minilm"))
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path))
    assert embed().shape == (384,)


def test_another_commit_than_the_tables_is_no_substitute(
    downloads: Downloads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(downloads.folder / "newer"))
    assert embed(name="acme/tiny-bert").shape == (32,)  # the newer one is there
    table = lancedb.connect(downloads.folder / "db").open_table("t")
    commit = downloads.commits["full"]
    with pytest.raises(ModelNotFoundError, match=f"'acme/tiny-bert' at revision '{commit}'"):
        table.search("fox").to_list()
    with pytest.raises(RuntimeError, match=commit):
        table.add([{"text": "fox"}])
    assert table.count_rows() == 1


def test_another_commit_in_a_models_folder_is_no_substitute(
    downloads: Downloads, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(downloads.sources["newer"], tmp_path / "acme" / "tiny-bert")
    monkeypatch.setenv("LANCEDB_EMBEDDERS_MODELS", str(tmp_path))
    table = lancedb.connect(downloads.folder / "db").open_table("t")
    with pytest.raises(Exception, match="is not the model that this table's vectors were made"):
        table.search("fox").to_list()


# -- nowhere ------------------------------------------------------------------------------------


def test_an_unknown_model_names_each_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = [tmp_path / "a", tmp_path / "b"]
    monkeypatch.setenv("LANCEDB_EMBEDDERS_MODELS", os.pathsep.join(map(str, roots)))
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path / "cache"))
    with pytest.raises(ModelNotFoundError) as caught:
        create(name="acme/all-MiniLM-L6-v3").ndims()
    message = str(caught.value)
    for place in (*map(str, roots), str(tmp_path / "cache"), "bundled package", "hub, as acme/"):
        assert place in message
    assert "Did you mean sentence-transformers/all-MiniLM-L6-v2" in message
    assert "LANCEDB_EMBEDDERS_MODELS" in message
    assert "HF_HUB_OFFLINE" in message  # why the hub was not asked


@pytest.mark.parametrize("name", ["a/b/c", "white space", "semi;colon", "x" * 100, "a--b"])
def test_a_name_that_no_hub_takes(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match="was not found"):
        create(name=name).ndims()


def test_an_unknown_model_leaves_no_table(db: Any) -> None:
    embedder = create(name="acme/nothing", dim=32)  # the size is said, so the schema can be made

    class Document(LanceModel):
        text: str = embedder.SourceField()
        vector: embedder.Vector() = embedder.VectorField()  # type: ignore[valid-type]

    with pytest.raises(ModelNotFoundError, match="'acme/nothing'"):
        db.create_table("t", schema=Document)
    assert list(db.list_tables().tables) == []


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("missing", r"(?i)not found|does not exist|no such"),
        ("forbidden", r"(?i)gated|restricted"),
        ("unauthorized", r"(?i)gated|restricted"),
    ],
)
def test_the_hub_says_no(downloads: Downloads, case: str, says: str) -> None:
    error = downloads.second[case]["error"]
    assert error.startswith("ModelNotFoundError: ")
    [line] = [line for line in error.splitlines() if line.startswith("- hub, as acme/")]
    assert re.search(says, line), line


@pytest.mark.parametrize("case", ["forbidden", "unauthorized"])
def test_a_gated_model_tells_how_to_get_in(downloads: Downloads, case: str) -> None:
    error = downloads.second[case]["error"]
    assert "HF_TOKEN" in error or "hf auth login" in error


def test_no_token_and_no_traceback_in_the_output(downloads: Downloads) -> None:
    assert downloads.tokens == {f"Bearer {SECRET}"}  # it was sent
    assert SECRET not in downloads.second_output
    assert "Traceback" not in downloads.second_output
    assert "missing" in downloads.second
