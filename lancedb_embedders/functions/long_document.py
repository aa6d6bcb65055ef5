"""`long-document`: documents of any length, by windows of tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import NonNegativeInt, PositiveInt

from lancedb_embedders import output
from lancedb_embedders.batch import Batch
from lancedb_embedders.errors import ConfigurationError, TextTooLongError, name_rows
from lancedb_embedders.local.documents import (
    Split,
    Windowing,
    Windows,
    embed_documents,
    tokenizer_of,
)
from lancedb_embedders.local.embedder import LocalTextEmbedder
from lancedb_embedders.local.model import Encoding, LoadedModel
from lancedb_embedders.local.reduce import Reduction, reduce_windows
from lancedb_embedders.local.reports import refuse_cut, report_overflow
from lancedb_embedders.multivector import MultiVectors
from lancedb_embedders.stored import process_option

# Late chunking pools windows out of a longer context; small ones, or there is nothing to gain.
_LATE_WINDOW = 256


class LongDocumentEmbeddings(LocalTextEmbedder, registry_name="long-document"):
    """Embeddings of whole documents: none of a text is cut off, however long it is.

    A text is tokenized once and cut into windows; those of all documents go through the model
    together, and become one vector a document, or stay many. A text of one window, such as most
    queries, gets the vector that `sbert` gives it. All options but these are those of
    `LocalTextEmbedder` and `Embedder`.

    Parameters
    ----------
    max_tokens : int, optional
        Tokens of a window, prompt and special tokens included; None: what the model takes, or with
        `late` at most 256.
    overlap : int, default 0
        Tokens of text that a window repeats of the one before.
    split : {"tokens", "sentences"}, default "tokens"
        Full windows, or whole sentences packed into windows.
    language : str, default "en"
        Language, as a BCP 47 code, whose abbreviations end no sentence; sentences end in all
        languages alike.
    reduce : {"mean", "weighted", "position", "max", "first", "none"}, default "mean"
        How windows become one vector: their mean, the mean weighted by tokens, the mean with first
        and last window counted double, the largest number of each dimension, the first window
        alone (what is behind it follows `on_overflow`); or not at all: ``"none"`` is for a column
        ``MultiVector(ndims())``, of which LanceDB finds the best passage.
    late : bool, default False
        Late chunking: run `max_length` tokens at once and pool each window from the token vectors
        of that context. For models of a long context that pool by the mean.
    max_windows : int, optional
        A document of more windows is an error, before any is embedded; an option of this process,
        see `lancedb_embedders.settings`; never stored.

    Examples
    --------
    >>> from lancedb.embeddings import get_registry
    >>> import lancedb_embedders
    >>> function = get_registry().get("long-document").create(overlap=32, reduce="none")
    >>> function.ndims(), function.max_tokens
    (384, 256)
    """

    length_option: ClassVar[str] = "max_tokens"

    name: str = "all-MiniLM-L6-v2"
    max_tokens: PositiveInt | None = None
    overlap: NonNegativeInt = 0
    split: Split = "tokens"
    language: str = "en"
    reduce: Literal[Reduction, "none"] = "mean"
    late: bool = False
    max_windows: PositiveInt | None = process_option()

    @property
    def multivector(self) -> bool:
        """Whether a row gets a vector a window."""
        return self.reduce == "none"

    def resolved(self) -> dict[str, Any]:
        """Return every option that affects vectors; see `LocalTextEmbedder.resolved`."""
        stored = super().resolved()
        if stored.get("max_tokens") is None:
            stored["max_tokens"] = self._default_window(stored["max_length"])
        return stored

    def _resolve_defaults(self) -> None:
        if not self.late and self.max_tokens is not None:
            if self.max_length not in (None, self.max_tokens):
                raise ConfigurationError(
                    f"max_length={self.max_length} and max_tokens={self.max_tokens}: without "
                    "late=True the model sees one window at a time; give max_tokens alone"
                )
            self._set(max_length=self.max_tokens)
        super()._resolve_defaults()
        if self.max_tokens is None:
            self._set(max_tokens=self._default_window(self.max_length))

    def _default_window(self, length: int | None) -> int | None:
        if length is None or not self.late:
            return length
        return min(_LATE_WINDOW, max(1, length // 2))

    def _check(self) -> None:
        super()._check()
        window, context = self.max_tokens, self.max_length
        if window is not None and self.overlap >= window:
            raise ConfigurationError(
                f"overlap={self.overlap} is not less than the window, max_tokens={window}"
            )
        if self.late and window is not None and context is not None and window > context:
            raise ConfigurationError(
                f"max_tokens={window} is more than the {context} tokens that {self.name} sees at "
                "once (max_length)"
            )
        if self.late and self.pooling is not None and self.pooling != "mean":
            raise ConfigurationError(_not_mean(self.name, self.pooling))

    # -- documents ------------------------------------------------------------------------------

    def _cut(self, batch: Batch) -> list[int]:
        return super()._cut(batch) if self.reduce == "first" else []

    def _length(self, model: LoadedModel) -> int | None:
        return self.max_tokens or self._default_window(super()._length(model))

    def _embed_with(
        self, model: LoadedModel, batch: Batch, options: dict[str, Any]
    ) -> npt.NDArray[np.float32] | MultiVectors:
        encoding = self._encoding(model, batch.role)
        windowing = self._windowing(model, encoding)
        sizes = np.array([len(text.encode()) for text in batch.inputs])
        # A token is a byte or more, or nearly so: texts so short are a window each.
        if windowing.room is None or sizes.max() <= windowing.room:
            vectors, _, lost = model.encode(
                batch.inputs, encoding, options["batch_tokens"], options["progress"]
            )
            if not lost.any():
                ones = np.ones(len(vectors), dtype=np.int64)
                return MultiVectors(vectors, ones) if self.multivector else vectors
        assert windowing.room is not None
        if self.reduce == "first" and self.on_overflow == "error":
            refuse_cut(
                model.overflows(batch.inputs, encoding), encoding.max_length, self.name, batch
            )
        if not windowing.first:
            most = options["max_windows"] * (windowing.room - self.overlap)
            suspects = np.flatnonzero(sizes > most).tolist()
            self._refuse_giants(model, batch, encoding.prompt, suspects, most)
        documents = embed_documents(
            model,
            batch.inputs,
            encoding,
            windowing,
            options["batch_tokens"],
            options["progress"],
        )
        return self._collect(documents, encoding, batch)

    def _collect(
        self, documents: Iterator[Windows], encoding: Encoding, batch: Batch
    ) -> npt.NDArray[np.float32] | MultiVectors:
        if self.reduce == "none":
            found = [document.vectors for document in documents]
            return MultiVectors(np.concatenate(found), np.array([len(rows) for rows in found]))
        vectors, lengths, lost = [], [], []
        for document in documents:
            # Else a window whose vector happens to be long would count for more.
            windows = output.normalize(document.vectors) if self.normalize else document.vectors
            vectors.append(reduce_windows(windows, document.tokens, self.reduce))
            lengths.append(document.tokens[0])
            lost.append(document.total - document.tokens[0])
        if self.reduce == "first" and self.on_overflow == "warn":
            report_overflow(np.array(lengths), np.array(lost), encoding.max_length, batch)
        return np.stack(vectors)

    def _windowing(self, model: LoadedModel, encoding: Encoding) -> Windowing:
        tokenizer_of(model)
        pooling, context = model.engine.facts.pooling, None
        if self.late:
            context = super()._length(model)
            if pooling != "mean" or context is None:
                raise ConfigurationError(_not_mean(self.name, pooling))
        room = None
        if encoding.max_length is not None:
            room = encoding.max_length - model.engine.overhead(encoding.prompt)
            if self.overlap >= room:
                raise ConfigurationError(
                    f"overlap={self.overlap} is not less than the {room} tokens of text that a "
                    f"window holds (max_tokens={encoding.max_length}, the rest of them are prompt "
                    "and special tokens)"
                )
        return Windowing(
            room=room,
            overlap=self.overlap,
            split=self.split,
            language=self.language,
            context=context,
            first=self.reduce == "first" and not self.late,
        )

    def _refuse_giants(
        self, model: LoadedModel, batch: Batch, prompt: str, suspects: list[int], most: int
    ) -> None:
        tokenizer = tokenizer_of(model)
        giants = [i for i in suspects if tokenizer.exceeds(batch.inputs[i], prompt, most)]
        if giants:
            rows = batch.rows(giants)
            raise TextTooLongError(
                f"{name_rows(rows)}: more than {most:,} tokens, which max_windows forbids to embed "
                "by accident. Split the text into rows with chunk_documents(), or allow more "
                "windows with max_windows (LANCEDB_EMBEDDERS_MAX_WINDOWS)",
                rows,
            )


def _not_mean(name: str, pooling: str | None) -> str:
    return (
        f"late=True takes the mean of token vectors over each window, and {name} has "
        f"pooling={pooling!r}; leave late out, or choose a model that pools by the mean"
    )
