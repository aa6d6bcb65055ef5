"""The torch engine: any sentence-transformers model, fed in padded batches."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lancedb_embedders.errors import ConfigurationError, ModelLoadError
from lancedb_embedders.local import pooling as pooling_module
from lancedb_embedders.local.declared import read_declared
from lancedb_embedders.local.engine import EngineOptions, Role
from lancedb_embedders.local.tokens import Tokens
from lancedb_embedders.local.torch_check import check_loaded
from lancedb_embedders.local.torch_images import TorchImages
from lancedb_embedders.local.torch_inputs import model_input
from lancedb_embedders.local.torch_tensors import as_array, on_device
from lancedb_embedders.output import Float32

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

# Measured on CPUs: larger batches leave the cache, smaller ones starve the matrix products.
_BATCH_TOKENS = {"cpu": 1024, "mps": 16_384, "cuda": 65_536}


class TorchEngine:
    """A sentence-transformers model on torch.

    Parameters
    ----------
    folder : pathlib.Path
        The model's folder.
    pooling : str, optional
        Pooling in place of the model's own.
    options : EngineOptions
        Device, precision, trust.

    Raises
    ------
    ConfigurationError
        The device is not there, or the pooling does not fit.
    ModelLoadError
        The folder is damaged or incomplete, or needs code that is not trusted.
    """

    def __init__(self, folder: Path, pooling: str | None, options: EngineOptions) -> None:
        self._device = _device(options.device)
        declared = read_declared(folder)
        self.model = _load(folder, self._device, _dtype(options.precision, self._device), options)
        self.model.truncate_dim = None  # cutting is the output's business
        if pooling is not None:
            pooling_module.change(self.model, pooling)
        self.model.eval()
        self.input = model_input(self.model)
        self.tokenizer = self.input.tokenizer
        known = [length for length in (self.input.max_length, declared.limit) if length]
        self.facts = declared.model_copy(
            update={
                "dim": self._try_out(folder),
                "pooling": pooling_module.current(self.model),
                "max_length": min(known, default=None),
            }
        )
        self.batch_tokens = _BATCH_TOKENS.get(self._device.type, _BATCH_TOKENS["cpu"])
        self.workers = 1
        self._images: TorchImages | None = None
        self._images_lock = threading.Lock()

    @property
    def images(self) -> TorchImages:
        """The picture side of the model, tried out when it is first asked for."""
        with self._images_lock:
            if self._images is None:
                self._images = TorchImages(
                    self.model, self._device, self.facts.dim or 0, self.batch_tokens
                )
            return self._images

    def _try_out(self, folder: Path) -> int:
        """Embed one word: shows whether the model runs at all, and how wide its vectors are."""
        try:
            tokens = self.tokenize(["word"], "", "document", self.input.max_length)
            return int(self.forward(tokens.items, "", "document").shape[1])
        except Exception as error:
            raise ModelLoadError(
                f"the model in {folder} was loaded but cannot embed a word: its files do not fit "
                f"together. Fetch the model again. ({type(error).__name__}: {error})"
            ) from None

    def tokenize(
        self, texts: Sequence[str], prompt: str, role: Role, max_length: int | None
    ) -> Tokens:
        """Put `prompt` before each text, tokenize, and cut to `max_length` tokens."""
        return self.input.tokenize(texts, prompt, role, max_length)

    def overhead(self, prompt: str) -> int:
        """Return how many tokens `prompt` and the special tokens take."""
        return self.input.overhead(prompt)

    def forward(self, items: Sequence[Any], prompt: str, role: Role) -> Float32:
        """Run one batch; returns float32, shape ``(len(items), dim)``."""
        import torch

        with torch.inference_mode():
            features = self._features(items, prompt, role)
            vectors = self.model(features, task=role)["sentence_embedding"]
            return as_array(vectors)

    def forward_spans(
        self, items: Sequence[Any], spans: Sequence[npt.NDArray[np.int64]], prompt: str, role: Role
    ) -> Float32:
        """Run one batch, pool each span of tokens; returns float32, shape ``(spans, dim)``."""
        import torch

        with torch.inference_mode():
            features = self._features(items, prompt, role)
            vectors = pooling_module.pool_spans(self.model, features, spans)
            return as_array(vectors)

    def _features(self, items: Sequence[Any], prompt: str, role: Role) -> dict[str, Any]:
        return on_device(self.input.features(items, prompt, role), self._device)


def _load(
    folder: Path, device: torch.device, dtype: torch.dtype, options: EngineOptions
) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    try:
        with _without_progress_bars():
            model = SentenceTransformer(
                str(folder),
                device=str(device),
                trust_remote_code=options.trust_remote_code,
                local_files_only=True,
                model_kwargs={"dtype": dtype},
            )
    except Exception as error:
        hint = (
            "The folder is damaged or incomplete, or made for another version of "
            "sentence-transformers: fetch the model again"
        )
        if "trust_remote_code" in str(error):
            hint = (
                "It brings Python code of its own. If you have read and trust that code, set "
                "LANCEDB_EMBEDDERS_TRUST_REMOTE_CODE=1"
            )
        elif isinstance(error, ModuleNotFoundError):
            hint = f"It needs the package {error.name}: install that, or fetch the model again"
        # The cause is in the message: LanceDB would put its whole traceback there as well.
        raise ModelLoadError(
            f"the model in {folder} cannot be loaded. {hint}. ({type(error).__name__}: {error})"
        ) from None
    check_loaded(model, folder)
    return model


def _device(name: str) -> torch.device:
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigurationError(f"device={name!r} cannot be used here: {reason}") from None
    return device


def _dtype(precision: str, device: torch.device) -> torch.dtype:
    import torch

    if precision != "auto":
        return {
            "float32": torch.float32,
            "bfloat16": torch.bfloat16,
            "float16": torch.float16,
        }[precision]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.float16 if device.type == "mps" else torch.float32


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
