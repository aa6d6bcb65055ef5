"""A loaded model: any number of texts in, one float32 array out."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lancedb_embedders.local.batches import plan, share
from lancedb_embedders.local.engine import Engine, Role
from lancedb_embedders.local.locate import Location
from lancedb_embedders.local.pipeline import run
from lancedb_embedders.local.tokens import Tokens
from lancedb_embedders.output import Float32
from lancedb_embedders.progress import progress_bar

# Texts are tokenized and sorted this many at a time: enough for even batches, and memory for
# token ids stays flat however many rows come.
_WINDOW = 8192

# Where inputs belong, and what the engine takes of them.
Batch = tuple[npt.NDArray[np.intp], list[Any]]


@dataclass(frozen=True)
class Encoding:
    """How texts are to be encoded, beside the texts themselves."""

    prompt: str
    role: Role
    max_length: int | None


@dataclass
class LoadedModel:
    """A model in memory and where it came from.

    Attributes
    ----------
    location : Location
        Where it was found.
    engine : Engine
        What runs it.
    signatures : dict
        Signatures that were computed or found to match, by what they depend on.
    scripts : tuple of str or None
        Scripts that it was trained on, as codes of ISO 15924; () where nobody says, None as long
        as nobody looked.
    reported : set
        What was warned of once and is not to be warned of again.
    guarding : threading.Lock
        Held while it is compared with what a table was made with.
    """

    location: Location
    engine: Engine
    signatures: dict[Any, Any] = field(default_factory=dict)
    scripts: tuple[str, ...] | None = None
    reported: set[Any] = field(default_factory=set)
    guarding: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def encode(
        self,
        texts: Sequence[str],
        encoding: Encoding,
        batch_tokens: int | None = None,
        progress: bool | None = False,
    ) -> tuple[Float32, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Embed texts.

        Parameters
        ----------
        texts : sequence of str
            Without prompt.
        encoding : Encoding
            Prompt, role and length.
        batch_tokens : int, optional
            Tokens a batch, padding included; None: what the engine runs best on.
        progress : bool, optional
            Show a bar after two seconds; None: only on a terminal.

        Returns
        -------
        vectors : numpy.ndarray
            float32, shape ``(len(texts), dim)``, in the order of `texts`.
        lengths, lost : numpy.ndarray
            Tokens of each text that went through the model, and that were cut off.
        """
        vectors = np.empty((len(texts), self.engine.facts.dim or 0), dtype=np.float32)
        lengths, lost = np.zeros((2, len(texts)), dtype=np.int64)

        def batches() -> Iterator[Batch]:
            for start in range(0, len(texts), _WINDOW):
                window = texts[start : start + _WINDOW]
                tokens = self._tokenize(window, encoding)
                lengths[start : start + len(window)] = tokens.lengths
                lost[start : start + len(window)] = tokens.lost
                for batch in self.plan(tokens.lengths, batch_tokens):
                    yield start + batch, [tokens.items[position] for position in batch]

        def embed(batch: Batch) -> int:
            positions, items = batch
            vectors[positions] = self.engine.forward(items, encoding.prompt, encoding.role)
            return len(items)

        with progress_bar(len(texts), "texts", progress) as bar:
            for count in run(batches(), embed, self.engine.workers):
                bar.update(count)
        return vectors, lengths, lost

    def plan(
        self, lengths: npt.NDArray[np.int64], batch_tokens: int | None
    ) -> Iterator[npt.NDArray[np.intp]]:
        """Group inputs into batches for the engine; see `batches.plan`."""
        budget = batch_tokens or self.engine.batch_tokens
        return plan(lengths, share(int(lengths.sum()), budget, self.engine.workers))

    def overflows(self, texts: Sequence[str], encoding: Encoding) -> list[int]:
        """Return the positions of texts that are clearly too long, without embedding any.

        A token is a byte or more of the text, so most need no counting. The few texts that a
        tokenizer makes longer than they were show when they are encoded.
        """
        if encoding.max_length is None:
            return []
        spare = encoding.max_length - self.engine.overhead(encoding.prompt)
        long = [i for i, text in enumerate(texts) if len(text.encode()) > spare]
        found: list[int] = []
        for start in range(0, len(long), _WINDOW):
            positions = long[start : start + _WINDOW]
            tokens = self._tokenize([texts[i] for i in positions], encoding)
            found += [positions[i] for i in np.flatnonzero(tokens.lost)]
        return found

    def _tokenize(self, texts: Sequence[str], encoding: Encoding) -> Tokens:
        return self.engine.tokenize(texts, encoding.prompt, encoding.role, encoding.max_length)
