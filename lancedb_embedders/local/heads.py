"""What stands behind a transformer, in numpy: pooling, dense layers, norms.

The same as the modules of sentence-transformers (``sentence_transformer.modules.Pooling`` and
others) compute, so that an engine without torch gives the same vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.local.declared import (
    Module,
    pooling_modes,
    pooling_name,
    read_modules,
    takes_pictures,
)
from lancedb_embedders.output import Float32

Layer = Callable[[Float32], Float32]
Mask = npt.NDArray[np.int64]

_TINY = 1e-9  # what sentence-transformers divides by where there is no token
_ACTIVATIONS: dict[str, Layer] = {
    "Identity": lambda x: x,
    "Tanh": lambda x: np.tanh(x),
    "ReLU": lambda x: np.maximum(x, 0),
    "Sigmoid": lambda x: np.asarray(1 / (1 + np.exp(-x)), dtype=np.float32),
}


class UnsupportedModelError(Exception):
    """An engine cannot run a model; the message says why. Another engine will.

    Parameters
    ----------
    message : str
        Why.
    expected : bool
        Whether the model is of a kind that was never meant for the engine.
    """

    def __init__(self, message: str, *, expected: bool = False) -> None:
        super().__init__(message)
        self.expected = expected


@dataclass(frozen=True)
class Head:
    """The modules behind a transformer.

    Attributes
    ----------
    modes : tuple of str
        How token vectors become one; what several give is laid side by side.
    include_prompt : bool
        Whether the tokens of a prompt count.
    layers : tuple of callable
        Layers behind the pooling, each from float32 rows to float32 rows.
    keeps_size : bool
        Whether the layers take vectors of any size.
    """

    modes: tuple[str, ...] = ("mean",)
    include_prompt: bool = True
    layers: tuple[Layer, ...] = ()
    keeps_size: bool = True

    @property
    def pooling(self) -> str:
        """The name of the pooling, several modes joined by ``+``."""
        return pooling_name(self.modes)

    def changed(self, pooling: str | None) -> Head:
        """Return a head that pools by `pooling`; None: as it is.

        Raises
        ------
        ConfigurationError
            The layers behind the pooling do not take vectors of that size.
        """
        if pooling is None or pooling == self.pooling:
            return self
        modes = tuple(pooling.split("+"))
        if len(modes) != len(self.modes) and not self.keeps_size:
            raise ConfigurationError(
                f"pooling={pooling!r} gives {len(modes)} vectors side by side, and the layers "
                f"behind it take {len(self.modes)}"
            )
        return replace(self, modes=modes)

    def vectors(self, tokens: Float32, mask: Mask, prompt_length: int) -> Float32:
        """Pool token vectors and run the layers behind.

        Parameters
        ----------
        tokens : numpy.ndarray
            float32, shape ``(batch, length, dim)``.
        mask : numpy.ndarray
            int64, shape ``(batch, length)``, 0 for padding.
        prompt_length : int
            Tokens of the prompt, the start token included; 0 without one.
        """
        counted = mask
        if prompt_length and not self.include_prompt:
            positions = np.arange(mask.shape[1]) - mask.argmax(axis=1)[:, None]
            counted = np.where(positions < prompt_length, 0, mask)
        pooled = [_POOLINGS[mode](tokens, counted, mask) for mode in self.modes]
        return self.finish(np.concatenate(pooled, axis=1) if len(pooled) > 1 else pooled[0])

    def finish(self, vectors: Float32) -> Float32:
        """Run the layers behind the pooling."""
        for layer in self.layers:
            vectors = layer(vectors)
        return np.ascontiguousarray(vectors, dtype=np.float32)


def read_head(folder: Path) -> Head:
    """Read the modules behind the transformer of the model in `folder`.

    Raises
    ------
    UnsupportedModelError
        A module that is not known here.
    """
    modules = read_modules(folder)
    if takes_pictures(folder):
        raise UnsupportedModelError("it takes pictures", expected=True)
    if not modules:  # a plain transformer: sentence-transformers takes the mean
        return Head()
    first, *others = modules
    if first.kind != "Transformer":
        message = f"it begins with {first.kind}, not with a transformer"
        raise UnsupportedModelError(message, expected=True)
    if not others or others[0].kind != "Pooling":
        raise UnsupportedModelError("no pooling follows its transformer", expected=True)
    pooling, *behind = others
    layers = [(_layer(module, folder), module.kind) for module in behind]
    return Head(
        modes=pooling_modes(pooling.config),
        include_prompt=bool(pooling.config.get("include_prompt", True)),
        layers=tuple(layer for layer, _ in layers if layer is not None),
        keeps_size=all(kind in {"Normalize", "Dropout"} for _, kind in layers),
    )


def _layer(module: Module, folder: Path) -> Layer | None:
    if module.kind == "Dropout":
        return None
    if module.kind == "Normalize":
        return _normalize
    if module.kind == "LayerNorm":
        weights = _weights(folder / module.path)
        return lambda x: _layer_norm(x, weights["norm.weight"], weights["norm.bias"])
    if module.kind == "Dense":
        return _dense(module.config, _weights(folder / module.path))
    raise UnsupportedModelError(f"its module {module.kind} is not known to this engine")


def _dense(config: Mapping[str, Any], weights: Mapping[str, Float32]) -> Layer:
    name = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    activation = _ACTIVATIONS.get(name.rsplit(".", 1)[-1])
    if activation is None or not name.startswith("torch."):
        raise UnsupportedModelError(f"the activation {name} of its dense layer is not known here")
    places = {config.get("module_input_name"), config.get("module_output_name")}
    if places - {None, "sentence_embedding"} or config.get("use_residual"):
        raise UnsupportedModelError("its dense layer is not one of whole vectors")
    matrix = np.ascontiguousarray(weights["linear.weight"].T)
    bias = weights.get("linear.bias", np.zeros(matrix.shape[1], dtype=np.float32))
    return lambda x: activation(x @ matrix + bias)


def _weights(folder: Path) -> dict[str, Float32]:
    tensors = folder / "model.safetensors"
    try:
        if tensors.is_file():
            from safetensors.numpy import load_file

            found: Mapping[str, Any] = load_file(tensors)
        else:  # the old format is torch's own
            import torch

            state = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
            found = {name: tensor.float().numpy() for name, tensor in state.items()}
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise UnsupportedModelError(
            f"the weights in {folder.name} cannot be read ({reason})"
        ) from None
    return {name: np.asarray(array, dtype=np.float32) for name, array in found.items()}


def _normalize(x: Float32) -> Float32:
    norms = np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return np.asarray(x / norms, dtype=np.float32)


def _layer_norm(x: Float32, weight: Float32, bias: Float32) -> Float32:
    centred = x - x.mean(axis=1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
    return np.asarray(centred / spread * weight + bias, dtype=np.float32)


# -- pooling: token vectors, the mask of what counts, and the mask of what is no padding ----------


def _sums(tokens: Float32, weights: npt.NDArray[Any]) -> Float32:
    sums = np.matmul(weights[:, None, :].astype(np.float32), tokens)[:, 0]
    return np.asarray(sums, dtype=np.float32)


def _counts(counted: npt.NDArray[Any]) -> Float32:
    counts = np.maximum(counted.sum(axis=1, keepdims=True), _TINY)
    return np.asarray(counts, dtype=np.float32)


def _mean(tokens: Float32, counted: Mask, _mask: Mask) -> Float32:
    return _sums(tokens, counted) / _counts(counted)


def _mean_sqrt_len(tokens: Float32, counted: Mask, _mask: Mask) -> Float32:
    return np.asarray(_sums(tokens, counted) / np.sqrt(_counts(counted)), dtype=np.float32)


def _weighted_mean(tokens: Float32, counted: Mask, mask: Mask) -> Float32:
    positions = np.arange(1, mask.shape[1] + 1) - mask.argmax(axis=1)[:, None]
    weights = counted * positions
    return _sums(tokens, weights) / _counts(weights)


def _max(tokens: Float32, counted: Mask, _mask: Mask) -> Float32:
    return np.asarray(np.where(counted[:, :, None] == 0, -np.inf, tokens).max(axis=1))


def _cls(tokens: Float32, counted: Mask, _mask: Mask) -> Float32:
    first: Float32 = tokens[np.arange(len(tokens)), counted.argmax(axis=1)]
    return first


def _last_token(tokens: Float32, counted: Mask, _mask: Mask) -> Float32:
    places = counted.shape[1] - 1 - counted[:, ::-1].argmax(axis=1)
    last: Float32 = tokens[np.arange(len(tokens)), places]
    return last


_POOLINGS: dict[str, Callable[[Float32, Mask, Mask], Float32]] = {
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_sqrt_len,
    "weightedmean": _weighted_mean,
    "max": _max,
    "cls": _cls,
    "lasttoken": _last_token,
}


def span_means(tokens: Float32, mask: Mask, spans: Sequence[npt.NDArray[np.int64]]) -> Float32:
    """Return the mean of token vectors over spans, padding not counted; float32 rows."""
    means = [
        row[own == 1][start:stop].mean(axis=0)
        for row, own, places in zip(tokens, mask, spans, strict=True)
        for start, stop in places.tolist()
    ]
    return np.stack(means).astype(np.float32, copy=False)
