"""What an engine is, and which one runs.

An engine takes token ids and gives vectors. To add one: a module beside `torch_engine` with a
class like `Engine`, and a line in `load_engine`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.extras import installed, require
from lancedb_embedders.local import hub
from lancedb_embedders.local.declared import Declared
from lancedb_embedders.local.device import runs_on_cpu
from lancedb_embedders.local.devices import device_names
from lancedb_embedders.local.heads import UnsupportedModelError
from lancedb_embedders.local.tokens import Tokenizer, Tokens
from lancedb_embedders.output import Float32

_logger = logging.getLogger(__name__)

Role = Literal["document", "query"]


#: Cosine to float32 that vectors keep to in every precision, and in eight bits.
ALIKE, COARSE = 0.999, 0.95


@dataclass(frozen=True)
class EngineOptions:
    """How a model is to run; part of what tells one loaded model from another."""

    engine: str
    device: str
    precision: str
    trust_remote_code: bool
    threads: int | None = None
    cache_dir: Path | None = None


class WeightsWantedError(Exception):
    """The model is for torch, and its folder has no weights but a graph."""


class ImageSide(Protocol):
    """The part of a loaded model that takes pictures."""

    #: Width and height that pictures are used in; None: it depends on the picture.
    at_least: tuple[int, int] | None
    #: What a picture costs, in tokens of text, and how many of them it runs best on at once.
    tokens: int
    batch_tokens: int

    def prepare(self, picture: Any) -> Any:
        """Return what `forward` takes for a PIL image in mode RGB; safe in many threads."""

    def forward(self, items: Sequence[Any]) -> Float32:
        """Return one float32 row a picture, in order."""


class Engine(Protocol):
    """A loaded model."""

    #: Facts of the model as loaded; all but prompts and `truncate_dim` are known by now.
    facts: Declared
    #: Cosine to the model's float32 vectors that its own have at least.
    likeness: float
    #: Batches that it runs best on at the same time, each on a thread of its own.
    workers: int

    @property
    def batch_tokens(self) -> int:
        """Tokens, padding included, that it runs best on at once."""

    @property
    def tokenizer(self) -> Tokenizer | None:
        """What makes the token ids; None where the model tokenizes by itself."""

    @property
    def images(self) -> ImageSide:
        """The picture side; raises `ConfigurationError` where the model has none."""

    def tokenize(
        self, texts: Sequence[str], prompt: str, role: Role, max_length: int | None
    ) -> Tokens:
        """Put `prompt` before each text and return what `forward` takes."""

    def overhead(self, prompt: str) -> int:
        """Return how many tokens `prompt` and the special tokens take."""

    def forward(self, items: Sequence[Any], prompt: str, role: Role) -> Float32:
        """Return one float32 row an item, in order."""

    def forward_spans(
        self, items: Sequence[Any], spans: Sequence[npt.NDArray[np.int64]], prompt: str, role: Role
    ) -> Float32:
        """Return one float32 row a span of tokens: each item is run whole, then pooled by spans."""


def load_engine(
    folder: Path, pooling: str | None, options: EngineOptions, openvino: bool | None = None
) -> Engine:
    """Load the model in `folder`; what `openvino_is_to_run` found can be given along.

    Raises
    ------
    ConfigurationError
        An engine, device or pooling that cannot be had.
    MissingExtraError
        The engine's extra is not installed.
    ModelLoadError
        The folder is damaged or incomplete.
    """
    if openvino_is_to_run(options) if openvino is None else openvino:
        from lancedb_embedders.local.openvino_engine import OpenVinoEngine

        try:
            return OpenVinoEngine(folder, pooling, options)
        except UnsupportedModelError as reason:
            asked = options.engine == "openvino" or not reason.expected
            level = logging.WARNING if asked else logging.INFO
            _logger.log(level, "the model in %s runs on torch: %s", folder, reason)
            if hub.graph_only(folder):
                raise WeightsWantedError from None
    devices = device_names(options.device)
    if len(devices) > 1:
        from lancedb_embedders.local.worker_engine import PoolEngine

        return PoolEngine(folder, pooling, options, devices)
    from lancedb_embedders.local.torch_engine import TorchEngine

    return TorchEngine(folder, pooling, replace(options, device=devices[0]))


def openvino_is_to_run(options: EngineOptions) -> bool:
    """Tell whether OpenVINO is to run a model, if it can.

    Raises
    ------
    ConfigurationError
        OpenVINO is asked for on another device than the CPU.
    MissingExtraError
        It is asked for and not installed.
    """
    if options.engine == "openvino":
        require("openvino", 'engine="openvino"')
        if options.device not in {"auto", "cpu"}:
            raise ConfigurationError(
                f'engine="openvino" runs on the CPU, and device={options.device!r} is asked for; '
                "leave out one of them"
            )
        return True
    if options.engine != "auto" or not runs_on_cpu(options.device):
        return False
    if not installed("openvino"):
        _logger.debug("torch runs it: OpenVINO is not installed")
        return False
    return True
