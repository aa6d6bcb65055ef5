"""Adds up batch after batch what a function would embed, each different text once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lancedb_embedders.batch import Batch
from lancedb_embedders.cache import VectorCache
from lancedb_embedders.embedder import Embedder, nulls_unreported
from lancedb_embedders.errors import ConfigurationError, InputError
from lancedb_embedders.hosted.embedder import HostedEmbedder
from lancedb_embedders.tools.cost.counting import counting_of
from lancedb_embedders.tools.cost.timing import SAMPLE
from lancedb_embedders.tools.cost.token_estimate import ERROR


class Tally:
    """What a function would embed of some rows.

    Parameters
    ----------
    function : Embedder
        Whose options count.
    cache : VectorCache, optional
        Texts whose vectors are in it are not embedded.

    Attributes
    ----------
    rows, texts, cached, too_long, tokens, low, high : int
        As in `lancedb_embedders.tools.cost.estimate.CostEstimate`.
    exact : bool
        Whether the model's own tokenizer counts.
    sample : list of str
        Random texts of all, equal ones once a batch.
    """

    def __init__(self, function: Embedder, cache: VectorCache | None = None) -> None:
        self._function, self._cache = function, cache
        self._counting = counting_of(function)
        self._space = None if cache is None else self._counting.space()
        self._seen = Seen()
        self._random, self._offered = random.Random(0), 0
        self.exact = self._counting.exact
        self.rows = self.texts = self.cached = self.too_long = 0
        self.tokens = self.low = self.high = 0
        self.sample: list[str] = []

    def add(self, values: Any) -> int:
        """Add the values of a batch of rows; returns how many rows they are.

        Raises
        ------
        InputError
            A value that is no text, with its row.
        """
        batch = self._batch(values)
        self.rows += len(batch.index)
        if batch.inputs:
            self._add(batch)
        return len(batch.index)

    def count(self, texts: Sequence[str]) -> int:
        """Return the tokens of texts that are prepared already."""
        index = np.arange(len(texts), dtype=np.intp)
        return int(self._counting.count(Batch(texts, index, "document")).counts.tokens.sum())

    def notes(self) -> list[str]:
        """Return what a user should know of the figures."""
        found = []
        if not self.exact:
            found.append(f"tokens are estimated, the tokenizer is not on this machine: {ERROR}")
        if self.too_long:
            found.append(self._about_long())
        if self._cache is not None and self._space is None:
            found.append("the cache was not looked into: the model is not on this machine")
        return found

    def _batch(self, values: Any) -> Batch:
        try:
            with nulls_unreported():
                batch = self._function.batch_of(values, "document")
        except InputError as error:
            if not self.rows:
                raise
            rows = [self.rows + row for row in error.rows]
            raise InputError(f"counted from row {self.rows:,} on: {error}", rows) from None
        if not all(isinstance(text, str) for text in batch.inputs):
            raise ConfigurationError("only texts have tokens; there are pictures among the values")
        return batch

    def _add(self, batch: Batch) -> None:
        counted = self._counting.count(batch)
        new = self._seen.new(counted.keys)
        if self._cache is not None and self._space is not None:
            known = self._cache.find(self._space, counted.keys).known
            self.cached += int((new & known).sum())
            new &= ~known
        self.texts += int(new.sum())
        self.too_long += counted.long
        counts = counted.counts
        self.tokens += int(counts.tokens[new].sum())
        self.low += int(counts.low[new].sum())
        self.high += int(counts.high[new].sum())
        for text in batch.inputs:  # reservoir sampling: each text with the same chance
            self._offered += 1
            if len(self.sample) < SAMPLE:
                self.sample.append(text)
            elif (place := self._random.randrange(self._offered)) < SAMPLE:
                self.sample[place] = text

    def _about_long(self) -> str:
        policy = getattr(self._function, "on_overflow", "truncate")
        hosted = isinstance(self._function, HostedEmbedder)
        name = getattr(self._function, "name", self._function.registry_name)
        what = f"{self.too_long:,} texts are longer than {name} takes"
        if policy == "error":
            chunk = '"chunk" or ' if hosted else ""
            return f'{what}, and would be refused: set on_overflow={chunk}"truncate", or split them'
        how = "are embedded piece by piece" if policy == "chunk" else "are counted as they are cut"
        return f"{what}; they {how} (on_overflow={policy!r})"


class Seen:
    """Which keys came before; eight bytes for each different one.

    Two different texts are taken for equal with a chance of about n**2 / 2**65: one in a hundred
    thousand for 20 million texts.
    """

    _FRESH = 200_000

    def __init__(self) -> None:
        self._sorted: npt.NDArray[np.uint64] = np.empty(0, dtype=np.uint64)
        self._fresh: set[int] = set()

    def new(self, keys: Sequence[bytes]) -> npt.NDArray[np.bool_]:
        """Return for each key whether it comes for the first time."""
        short = np.frombuffer(b"".join(key[:8] for key in keys), dtype=np.uint64)
        places = np.searchsorted(self._sorted, short)
        known = np.zeros(len(short), dtype=bool)
        inside = places < len(self._sorted)
        known[inside] = self._sorted[places[inside]] == short[inside]
        for i, key in enumerate(short.tolist()):
            if not known[i]:
                known[i] = key in self._fresh
                self._fresh.add(key)
        if len(self._fresh) > self._FRESH:
            fresh = np.fromiter(self._fresh, dtype=np.uint64, count=len(self._fresh))
            self._sorted = np.sort(np.concatenate([self._sorted, fresh]))
            self._fresh = set()
        return ~known
