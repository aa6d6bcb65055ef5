"""The OpenVINO engine: the fastest on a CPU, without torch once a model's graph is at hand."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.local.declared import read_declared
from lancedb_embedders.local.engine import ALIKE, COARSE, EngineOptions, Role
from lancedb_embedders.local.heads import Head, UnsupportedModelError, read_head, span_means
from lancedb_embedders.local.openvino_model import REFERENCE_TEXT, Runner, cosines
from lancedb_embedders.local.openvino_runtime import arithmetic
from lancedb_embedders.local.openvino_store import find_model
from lancedb_embedders.local.tokens import Tokenizer, Tokens
from lancedb_embedders.output import Float32

_logger = logging.getLogger(__name__)

# Measured on CPUs, by arithmetic: larger batches leave the cache, smaller ones starve the matrix
# products.
_BATCH_TOKENS = {"f32": 1024, "bf16": 2048, "f16": 2048}


class OpenVinoEngine:
    """A transformer with pooling and dense layers behind, on a CPU.

    Parameters
    ----------
    folder : pathlib.Path
        The model's folder.
    pooling : str, optional
        Pooling in place of the model's own.
    options : EngineOptions
        Precision, threads, trust, cache folder.

    Raises
    ------
    ConfigurationError
        The pooling does not fit.
    UnsupportedModelError
        The model is one for another engine.
    ModelLoadError
        The folder is damaged or incomplete.
    """

    def __init__(self, folder: Path, pooling: str | None, options: EngineOptions) -> None:
        declared = read_declared(folder)
        own = read_head(folder)
        self._head = own.changed(pooling)
        parts = find_model(folder, own, options)
        self.tokenizer: Tokenizer = parts.tokenizer
        known = [length for length in (parts.max_length, declared.limit) if length]
        hint = arithmetic(options.precision)
        self._runner = Runner(parts, hint, options.threads)
        self.likeness = COARSE if options.precision == "int8" else ALIKE
        if parts.reference is not None:
            if hint != "f32" and not self._likeness(own, parts.reference) >= self.likeness:
                _logger.info("%s keeps to float32: %s is too coarse for it", folder.name, hint)
                hint = "f32"
                self._runner = Runner(parts, hint, options.threads)
            if not self._likeness(own, parts.reference) >= self.likeness:
                raise UnsupportedModelError("its graph gives other vectors here than torch gave")
        self.facts = declared.model_copy(
            update={
                "dim": int(self.forward(self._word(), "", "document").shape[1]),
                "pooling": self._head.pooling,
                "max_length": min(known, default=None),
            }
        )
        self.batch_tokens = _BATCH_TOKENS[hint]
        self.workers = self._runner.streams

    @property
    def images(self) -> NoReturn:
        """Pictures are for the torch engine."""
        raise ConfigurationError("the model takes no pictures")

    def tokenize(
        self, texts: Sequence[str], prompt: str, role: Role, max_length: int | None
    ) -> Tokens:
        """Put `prompt` before each text, tokenize, and cut to `max_length` tokens."""
        del role
        return self.tokenizer.encode([prompt + text for text in texts], max_length)

    def overhead(self, prompt: str) -> int:
        """Return how many tokens `prompt` and the special tokens take."""
        return self.tokenizer.overhead(prompt)

    def forward(self, items: Sequence[Any], prompt: str, role: Role) -> Float32:
        """Run one batch; returns float32, shape ``(len(items), dim)``."""
        before = self.tokenizer.count_prompt(prompt) if prompt else 0
        return self._runner.run(
            items, lambda tokens, mask: self._head.vectors(tokens, mask, before), role == "query"
        )

    def forward_spans(
        self, items: Sequence[Any], spans: Sequence[npt.NDArray[np.int64]], prompt: str, role: Role
    ) -> Float32:
        """Run one batch, pool each span of tokens; returns float32, shape ``(spans, dim)``."""
        del prompt, role
        return self._head.finish(
            self._runner.run(items, lambda tokens, mask: span_means(tokens, mask, spans))
        )

    def _word(self) -> list[Any]:
        return self.tokenizer.encode([REFERENCE_TEXT], None).items

    def _likeness(self, own: Head, reference: Float32) -> float:
        vectors = self._runner.run(self._word(), lambda t, mask: own.vectors(t, mask, 0))
        return float(cosines(vectors, reference[None])[0])
