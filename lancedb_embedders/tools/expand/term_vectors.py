"""The vectors of a vocabulary, which are made once for all queries."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from threading import Lock
from typing import Any

import numpy as np

from lancedb_embedders import output
from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.progress import progress_bar
from lancedb_embedders.tools.expand.word_forms import WordForms

_AT_ONCE = 1024  # terms that are embedded between two steps of the progress bar
_KEPT = 4  # vocabularies whose vectors a process keeps

_lock = Lock()
_known: OrderedDict[tuple[Any, ...], TermVectors] = OrderedDict()


@dataclass
class TermVectors:
    """Terms, and the directions of their vectors.

    Attributes
    ----------
    terms : tuple of str
        Those that have a vector.
    vectors : numpy.ndarray
        float32, shape ``(terms, dims)``, of length 1.
    """

    terms: tuple[str, ...]
    vectors: output.Float32
    _forms: dict[str, WordForms] = field(default_factory=dict, repr=False)

    def forms(self, language: str) -> WordForms:
        """Return the forms of the terms' words in a language."""
        if language not in self._forms:
            self._forms[language] = WordForms(self.terms, language)
        return self._forms[language]


def term_vectors(
    function: Embedder, terms: Sequence[str], *, cache: bool = True, progress: bool | None = None
) -> TermVectors:
    """Embed terms, unless this process has done so before.

    Parameters
    ----------
    function : Embedder
        What embeds.
    terms : sequence of str
        The vocabulary.
    cache : bool
        Let a local function keep the vectors on disk too, unless it was told not to.
    progress : bool, optional
        Show a progress bar; None: only on a terminal.
    """
    content = blake2b(digest_size=16)
    for term in terms:
        written = term.encode()
        content.update(len(written).to_bytes(8, "little") + written)
    made_by = (type(function), function.identity(), function.signature or function.fingerprint())
    key = (*made_by, content.digest())
    # Held while they are made: two threads that ask for the same ones embed them once.
    with _lock:
        if key not in _known:
            _known[key] = _embedded(function, terms, cache, progress)
            while len(_known) > _KEPT:
                _known.popitem(last=False)
        _known.move_to_end(key)
        return _known[key]


def _embedded(
    function: Embedder, terms: Sequence[str], cache: bool, progress: bool | None
) -> TermVectors:
    embeds = _kept(function) if cache else function
    # A template makes texts of fields, and pictures are not text: words are queries there.
    as_query = function.template is not None or getattr(function, "source", None) == "image"
    rows: list[Any] = []
    with progress_bar(len(terms), "terms", progress, desc="Embedding terms") as bar:
        for start in range(0, len(terms), _AT_ONCE):
            some = list(terms[start : start + _AT_ONCE])
            rows += list(
                embeds.compute_query_embeddings(some)
                if as_query
                else embeds.compute_source_embeddings(some)
            )
            bar.update(len(some))
    # A hosted function with on_error="null" gives up what its provider refuses.
    there = [i for i, row in enumerate(rows) if row is not None]
    if not there:
        raise ConfigurationError(
            f"{function.registry_name} gave no term of the vocabulary a vector"
        )
    vectors = output.directions(np.stack([rows[i] for i in there]), function.quantization)
    return TermVectors(tuple(terms[i] for i in there), vectors.astype(np.float32))


def _kept(function: Embedder) -> Embedder:
    """Return the function with its cache on; one that has no such option, as it is."""
    given = function.given_options().get("cache")
    if "cache" not in type(function).model_fields or given is not None:
        return function
    # A copy: create() would have this process take the option for all tables of the function.
    return function.model_copy(update={"cache": True})
