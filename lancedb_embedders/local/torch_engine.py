"""The torch engine: any sentence-transformers model, on any device of torch."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lancedb_embedders.errors import InputError, ModelLoadError
from lancedb_embedders.local import pooling as pooling_module
from lancedb_embedders.local.declared import read_declared
from lancedb_embedders.local.engine import ALIKE, EngineOptions, Role
from lancedb_embedders.local.tokens import Tokens
from lancedb_embedders.local.torch_attention import has_known_code, use_flash, use_sdpa
from lancedb_embedders.local.torch_images import TorchImages
from lancedb_embedders.local.torch_inputs import model_input
from lancedb_embedders.local.torch_load import find_device, find_dtype, load_model
from lancedb_embedders.local.torch_memory import TokenBudget
from lancedb_embedders.local.torch_tensors import Streams, as_array, on_device
from lancedb_embedders.output import Float32

# Measured on CPUs: larger batches leave the cache, smaller ones starve the matrix products.
_BATCH_TOKENS = {"cpu": 1024, "mps": 16_384, "cuda": 65_536}
# Of unlike lengths, so that padding or borders between them are put to the test.
_SAMPLE = ["word", "two words and a few more of them, to the end of the line"]


class TorchEngine:
    """A sentence-transformers model on torch.

    Parameters
    ----------
    folder : pathlib.Path
        The model's folder.
    pooling : str, optional
        Pooling in place of the model's own.
    options : EngineOptions
        Device, precision, trust, threads.

    Attributes
    ----------
    budget : TokenBudget
        What is learnt of the device's memory.

    Raises
    ------
    ConfigurationError
        The device or the precision is not to be had, or the pooling does not fit.
    ModelLoadError
        The folder is damaged or incomplete, or needs code that is not trusted.
    """

    def __init__(self, folder: Path, pooling: str | None, options: EngineOptions) -> None:
        import torch

        self._device = find_device(options.device)
        if options.threads is not None and self._device.type == "cpu":
            # torch has one such number for the whole process, models that are there included.
            torch.set_num_threads(options.threads)
        dtype = find_dtype(options.precision, self._device)
        declared = read_declared(folder)
        self.model = load_model(folder, self._device, dtype, options.trust_remote_code)
        self.model.truncate_dim = None  # cutting is the output's business
        if pooling is not None:
            pooling_module.change(self.model, pooling)
        self.model.eval()
        use_sdpa(self.model)
        self.budget = TokenBudget(
            _BATCH_TOKENS.get(self._device.type, _BATCH_TOKENS["cpu"]), self._device
        )
        self.workers = 2 if self._device.type == "cuda" and has_known_code(self.model) else 1
        self.likeness = ALIKE
        self._streams = Streams(self._device, self.workers)
        self.input = model_input(self.model)
        dim = self._try_out(folder)
        use_flash(self.model, self._device, dtype, self._sample)
        self.input = model_input(self.model)
        self.tokenizer = self.input.tokenizer
        known = [length for length in (self.input.max_length, declared.limit) if length]
        self.facts = declared.model_copy(
            update={
                "dim": dim,
                "pooling": pooling_module.current(self.model),
                "max_length": min(known, default=None),
            }
        )
        self._images: TorchImages | None = None
        self._images_lock = threading.Lock()

    @property
    def batch_tokens(self) -> int:
        """Tokens, padding included, that go through the model at once."""
        return self.budget.tokens

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
        except InputError:  # for want of memory
            raise
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

        def work(part: slice, alone: bool) -> Float32:
            import torch

            with torch.inference_mode(), self._streams.turn(alone):
                features = self._features(items[part], prompt, role)
                return as_array(self.model(features, task=role)["sentence_embedding"])

        return self.budget.run(items, work)

    def forward_spans(
        self, items: Sequence[Any], spans: Sequence[npt.NDArray[np.int64]], prompt: str, role: Role
    ) -> Float32:
        """Run one batch, pool each span of tokens; returns float32, shape ``(spans, dim)``."""

        def work(part: slice, alone: bool) -> Float32:
            import torch

            with torch.inference_mode(), self._streams.turn(alone):
                features = self._features(items[part], prompt, role)
                return as_array(pooling_module.pool_spans(self.model, features, spans[part]))

        return self.budget.run(items, work)

    def _features(self, items: Sequence[Any], prompt: str, role: Role) -> dict[str, Any]:
        return on_device(self.input.features(items, prompt, role), self._device)

    def _sample(self) -> Float32:
        """Embed texts of unlike lengths, as the model is set up now."""
        self.input = model_input(self.model)
        tokens = self.tokenize(_SAMPLE, "", "document", self.input.max_length)
        return self.forward(tokens.items, "", "document")
