"""ONNX Runtime without anything around it: batches of like length up to a budget of tokens."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

_BUDGET = 2048
_MAX_LENGTH = 256


def load(model: Path, file: str = "onnx/model.onnx") -> Callable[[list[str]], Any]:
    """Load the model."""
    np: Any = importlib.import_module("numpy")
    tokenizer: Any = importlib.import_module("tokenizers").Tokenizer.from_file(
        str(model / "tokenizer.json")
    )
    tokenizer.no_padding()
    tokenizer.enable_truncation(_MAX_LENGTH)
    runtime: Any = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(str(model / file), providers=["CPUExecutionProvider"])

    def embed(texts: list[str]) -> Any:
        ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]
        vectors = np.empty((len(texts), 384), dtype=np.float32)
        for batch in _batches([len(item) for item in ids]):
            shape = len(batch), max(len(ids[position]) for position in batch)
            inputs, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
            for row, position in enumerate(batch):
                inputs[row, : len(ids[position])] = ids[position]
                mask[row, : len(ids[position])] = 1
            feed = {
                "input_ids": inputs,
                "attention_mask": mask,
                "token_type_ids": np.zeros_like(mask),
            }
            states = session.run(None, feed)[0]
            # Norms make the mean of a sum.
            sums = (mask[:, None, :].astype(np.float32) @ states)[:, 0]
            vectors[batch] = sums / np.linalg.norm(sums, axis=1, keepdims=True)
        return vectors

    return embed


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    batch: list[int] = []
    for position in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and lengths[batch[0]] * (len(batch) + 1) > _BUDGET:
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch
