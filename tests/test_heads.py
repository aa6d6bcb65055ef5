"""Pooling and layers in numpy against the modules of sentence-transformers themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.sentence_transformer.modules import Dropout, LayerNorm, Pooling

from lancedb_embedders import ConfigurationError
from lancedb_embedders.local.declared import POOLING_MODES
from lancedb_embedders.local.heads import Head, UnsupportedModelError, read_head, span_means
from tests.models import change_json, plain_bert, tiny_bert, tiny_dense, tiny_router, tiny_static

DIM = 32
LENGTHS = (9, 1, 4, 7)


def batch(left: bool) -> tuple[Any, Any]:
    """Token vectors and a mask; what is padding holds numbers that must not count."""
    chance = np.random.default_rng(3)
    tokens = chance.standard_normal((len(LENGTHS), max(LENGTHS), DIM)).astype(np.float32)
    mask = np.zeros(tokens.shape[:2], dtype=np.int64)
    for row, length in enumerate(LENGTHS):
        mask[row, max(LENGTHS) - length :] = 1 if left else 0
        mask[row, :length] = mask[row, :length] if left else 1
    tokens[mask == 0] = 1000.0
    return tokens, mask


@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
@pytest.mark.parametrize("prompt", [0, 3])
@pytest.mark.parametrize("mode", [*POOLING_MODES, "cls+mean", "max+lasttoken+weightedmean"])
def test_pooling_is_that_of_sentence_transformers(mode: str, prompt: int, left: bool) -> None:
    if prompt and min(LENGTHS) <= prompt:
        lengths = [length for length in LENGTHS if length > prompt]
    else:
        lengths = list(LENGTHS)
    tokens, mask = batch(left)
    kept = [LENGTHS.index(length) for length in lengths]
    tokens, mask = tokens[kept], mask[kept]
    modes = tuple(mode.split("+"))
    theirs = Pooling(DIM, modes, include_prompt=False)
    features = {
        "token_embeddings": torch.from_numpy(tokens),
        "attention_mask": torch.from_numpy(mask),
        "prompt_length": prompt,
    }
    expected = theirs(features)["sentence_embedding"].numpy()
    found = Head(modes, include_prompt=False).vectors(tokens, mask, prompt)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    "activation",
    [torch.nn.Tanh(), torch.nn.Identity(), torch.nn.ReLU(), torch.nn.Sigmoid()],
    ids=lambda activation: type(activation).__name__,
)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("old", [True, False], ids=["bin", "safetensors"])
def test_layers_are_those_of_sentence_transformers(
    activation: Any, bias: bool, old: bool, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    norm = LayerNorm(DIM)
    torch.nn.init.normal_(norm.norm.weight)
    dense = Dense(DIM, 12, bias=bias, activation_function=activation)
    model = SentenceTransformer(str(tiny_bert(tmp_path / "base", normalize=False)), device="cpu")
    whole = SentenceTransformer(
        modules=[model[0], Pooling(DIM, "mean"), norm, Dropout(0.1), dense, Normalize()],
        device="cpu",
    )
    whole.save_pretrained(str(tmp_path / "m"), safe_serialization=not old)
    vectors = np.random.default_rng(2).standard_normal((5, DIM)).astype(np.float32)
    features = {"sentence_embedding": torch.from_numpy(vectors)}
    for layer in list(whole)[2:]:
        features = layer.eval()(features)
    expected = features["sentence_embedding"].detach().numpy()
    np.testing.assert_allclose(
        read_head(tmp_path / "m").finish(vectors), expected, rtol=1e-4, atol=1e-5
    )


def test_spans_are_means_of_tokens_that_are_no_padding() -> None:
    tokens, mask = batch(left=True)
    spans = [np.array([[0, 9], [2, 5]]), np.array([[0, 1]]), np.array([[1, 3]]), np.array([[6, 7]])]
    rows = [tokens[row][mask[row] == 1] for row in range(4)]
    expected = [
        rows[0].mean(0),
        rows[0][2:5].mean(0),
        rows[1][0],
        rows[2][1:3].mean(0),
        rows[3][6],
    ]
    np.testing.assert_allclose(span_means(tokens, mask, spans), np.stack(expected), rtol=1e-6)


def test_what_a_folder_says(tmp_path: Path) -> None:
    assert read_head(plain_bert(tmp_path / "plain")).pooling == "mean"
    head = read_head(tiny_bert(tmp_path / "b", pooling=("cls", "max"), include_prompt=False))
    assert (head.pooling, head.include_prompt) == ("cls+max", False)
    assert head.changed(None) is head
    assert head.changed("mean").pooling == "mean"


def test_a_pooling_that_the_layers_behind_cannot_take(tmp_path: Path) -> None:
    head = read_head(tiny_dense(tmp_path / "d"))
    assert head.changed("max").pooling == "max"
    with pytest.raises(ConfigurationError, match="cls\\+mean"):
        head.changed("cls+mean")


def test_models_of_other_kinds_are_refused(tmp_path: Path) -> None:
    for folder in (tiny_static(tmp_path / "s"), tiny_router(tmp_path / "r")):
        with pytest.raises(UnsupportedModelError) as error:
            read_head(folder)
        assert error.value.expected


def test_an_activation_that_is_not_known_is_refused(tmp_path: Path) -> None:
    folder = tiny_dense(tmp_path / "d")
    [dense] = folder.glob("*Dense*/config.json")
    change_json(dense, activation_function="torch.nn.modules.activation.GELU")
    with pytest.raises(UnsupportedModelError, match="GELU"):
        read_head(folder)
