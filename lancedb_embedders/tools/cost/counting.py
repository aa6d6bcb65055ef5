"""What a function would send or run for some rows, and how many tokens that is.

Each kind of function prepares texts in its own way; what is counted here is what becomes of them
there: prompts added, equal texts once, long ones cut or split. Nothing is sent or downloaded.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lancedb_embedders import catalog
from lancedb_embedders.batch import Batch
from lancedb_embedders.cache import text_key
from lancedb_embedders.embedder import Embedder
from lancedb_embedders.functions import LongDocumentEmbeddings
from lancedb_embedders.hosted.embedder import HostedEmbedder
from lancedb_embedders.hosted.overflow import too_long
from lancedb_embedders.hosted.tokens import counter
from lancedb_embedders.local.documents import Windowing, cut
from lancedb_embedders.local.embedder import LocalTextEmbedder
from lancedb_embedders.local.kept import describe
from lancedb_embedders.local.locate import at_hand
from lancedb_embedders.settings import settings
from lancedb_embedders.tools.cost.token_estimate import TokenCounts, estimated_tokens


@dataclass(frozen=True)
class Counted:
    """What becomes of one batch.

    Attributes
    ----------
    keys : list of bytes
        One for each text as the cache knows it; equal texts have equal keys.
    counts : TokenCounts
        Their tokens.
    long : int
        Texts of more tokens than the model takes.
    """

    keys: list[bytes]
    counts: TokenCounts
    long: int


class Counting(ABC):
    """Counts as one function would."""

    #: Whether the model's own tokenizer counts.
    exact: bool = True

    @abstractmethod
    def count(self, batch: Batch) -> Counted:
        """Return what would be sent or run for a batch."""

    def space(self) -> str | None:
        """Return the name that the function's vectors have in the cache; None: not to be told."""
        return None


class _Hosted(Counting):
    def __init__(self, function: HostedEmbedder) -> None:
        self._function = function
        self._counter = function.counter()
        self.exact = self._counter.exact

    def count(self, batch: Batch) -> Counted:
        function, limit = self._function, self._function.max_length
        whole = [function.prompt_of("document") + text for text in batch.inputs]
        texts: Sequence[str] = whole
        if function.on_overflow != "error":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                texts = function.pieces(batch).texts
        counts = self._tokens(texts)
        if function.on_overflow == "truncate":
            counts = counts.cut(limit)
        return Counted([text_key(text) for text in texts], counts, self._long(whole, limit))

    def space(self) -> str | None:
        return self._function.space("document")

    def _tokens(self, texts: Sequence[str]) -> TokenCounts:
        if self.exact:
            return TokenCounts.exactly(self._counter.count(texts))
        return estimated_tokens(texts)

    def _long(self, texts: Sequence[str], limit: int | None) -> int:
        if limit is None:
            return 0
        if self.exact:
            return len(too_long(texts, limit, self._counter))
        return int((estimated_tokens(texts).tokens > limit).sum())


class _Local(Counting):
    """By the tokenizer of a model that is on this machine."""

    def __init__(self, function: LocalTextEmbedder) -> None:
        self._function = function
        self._model, self._encoding = function.prepared_model("document")
        self.exact = self._model.engine.tokenizer is not None

    def count(self, batch: Batch) -> Counted:
        keys = [text_key(text) for text in batch.inputs]
        if not self.exact:
            counts = estimated_tokens([self._encoding.prompt + text for text in batch.inputs])
            return Counted(keys, counts.cut(self._encoding.max_length), 0)
        tokens = self._model.engine.tokenize(
            batch.inputs, self._encoding.prompt, "document", self._encoding.max_length
        )
        return Counted(keys, TokenCounts.exactly(tokens.lengths), int((tokens.lost > 0).sum()))

    def space(self) -> str | None:
        function = self._function
        return describe(
            function.identity(), function.signature or function.fingerprint(), "document"
        )


class _Windows(_Local):
    """Whole documents, by windows that may overlap."""

    def __init__(self, function: LongDocumentEmbeddings) -> None:
        super().__init__(function)
        # What is read again before a context of late chunking is not counted.
        self.exact = self.exact and not function.late
        self._function: LongDocumentEmbeddings = function

    def count(self, batch: Batch) -> Counted:
        tokenizer = self._model.engine.tokenizer
        if tokenizer is None:
            return super().count(batch)
        prompt, function = self._encoding.prompt, self._function
        overhead = self._model.engine.overhead(prompt)
        most = self._encoding.max_length
        windowing = Windowing(
            room=None if most is None else most - overhead,
            overlap=function.overlap,
            split=function.split,
            language=function.language,
        )
        contents = tokenizer.contents(batch.inputs, prompt, function.split == "sentences")
        lengths = np.zeros(len(contents), dtype=np.int64)
        for i, (text, content) in enumerate(zip(batch.inputs, contents, strict=True)):
            spans = cut(text, content, windowing, windowing.room)
            if function.reduce == "first":
                spans = spans[:1]
            elif function.late:
                spans = np.array([[0, len(content.ids)]], dtype=np.int64)
            lengths[i] = int((spans[:, 1] - spans[:, 0]).sum()) + len(spans) * overhead
        counts = TokenCounts.exactly(lengths)
        if not self.exact:  # contexts begin up to a quarter earlier than what they add
            counts = TokenCounts(lengths, lengths, lengths * 4 // 3 + 1)
        return Counted([text_key(text) for text in batch.inputs], counts, 0)


class _Elsewhere(Counting):
    """A model that is not on this machine; its tokenizer alone may be."""

    def __init__(self, prompt: str, limit: int | None, name: str) -> None:
        self._prompt, self._limit = prompt, limit
        self._counter = counter(None, catalog.full_name(name))
        self.exact = self._counter.exact

    def count(self, batch: Batch) -> Counted:
        texts = [self._prompt + text for text in batch.inputs]
        counts = (
            TokenCounts.exactly(self._counter.count(texts))
            if self.exact
            else estimated_tokens(texts)
        )
        long = 0 if self._limit is None else int((counts.tokens > self._limit).sum())
        keys = [text_key(text) for text in batch.inputs]
        return Counted(keys, counts.cut(self._limit), long)


def counting_of(function: Embedder) -> Counting:
    """Return what counts for a function, without a download."""
    if isinstance(function, HostedEmbedder):
        return _Hosted(function)
    if not isinstance(function, LocalTextEmbedder):
        return _Elsewhere("", None, str(function.registry_name))
    if not is_here(function):
        windows = isinstance(function, LongDocumentEmbeddings)
        limit = None if windows else function.max_length
        return _Elsewhere(function.document_prompt or "", limit, function.name)
    if isinstance(function, LongDocumentEmbeddings):
        return _Windows(function)
    return _Local(function)


def is_here(function: LocalTextEmbedder) -> bool:
    """Tell whether a model can be loaded without a download."""
    folder = function.process_options()["folder"]
    found = at_hand(function.name, function.revision, folder, settings.models, graph=False)
    return found is not None
