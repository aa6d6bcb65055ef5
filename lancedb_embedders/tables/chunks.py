"""Rows of documents to rows of chunks: what most tables of documents hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, get_args

import numpy as np
import pyarrow as pa

from lancedb_embedders.errors import ConfigurationError, InputError
from lancedb_embedders.functions import SbertEmbeddings
from lancedb_embedders.inputs.sentences import sentence_starts
from lancedb_embedders.inputs.text import accept_texts, is_blank
from lancedb_embedders.inputs.windows import Spans, sentence_windows
from lancedb_embedders.local.documents import Split, tokenizer_of, tokens_at
from lancedb_embedders.local.embedder import LocalTextEmbedder
from lancedb_embedders.local.tokens import Content, Tokenizer
from lancedb_embedders.tables.rows import Row, each_row

# Documents that are tokenized together, and chunks that LanceDB embeds together.
_DOCUMENTS = 32
_CHUNKS = 1024
# Of a model that takes any number.
_DEFAULT_TOKENS = 256
_ADDED = ("chunk", "chunk_index", "start", "end")


def chunk_documents(
    rows: Any,
    text: str = "text",
    *,
    function: LocalTextEmbedder | None = None,
    max_tokens: int | None = None,
    overlap: int = 0,
    split: Split = "sentences",
    language: str = "en",
) -> Chunks:
    """Cut documents into chunks, each a row that its embedding function takes whole.

    Parameters
    ----------
    rows : iterable of dict or of pydantic models, or anything of Arrow's
        Documents; a table, a reader, a data frame, a generator. They are read as chunks are asked
        for.
    text : str, default "text"
        Column that holds the document. It is left out of the chunks; all other columns are kept.
    function : embedding function, optional
        The one that will embed the chunks, since its tokens are what counts; None: `sbert` with
        its defaults. It is not called, but its model is loaded.
    max_tokens : int, optional
        Tokens of a chunk, prompt and special tokens included; None: what the function takes (256
        if it takes any number).
    overlap : int, default 0
        Tokens at most that a chunk repeats of the one before, in whole sentences or words.
    split : {"sentences", "tokens"}, default "sentences"
        Whether chunks hold whole sentences, or as many words as go in.
    language : str, default "en"
        BCP 47 code of the language whose abbreviations end no sentence.

    Returns
    -------
    Chunks
        Iterate over it for rows as dicts, once, or hand it to ``table.add``, which embeds it in
        batches. Each row has ``chunk``, ``chunk_index`` (from 0 in each document), ``start`` and
        ``end``: ``chunk == document[start:end]``. A document that is null or blank stays one row,
        for `on_bad_vectors` to decide.

    Raises
    ------
    ConfigurationError
        A chunk or overlap that does not fit the function.
    InputError
        While iterating: a row without the column, with a text that is none, or with a column that
        is called like one of the new ones.

    Examples
    --------
    >>> from lancedb_embedders import chunk_documents
    >>> rows = [{"id": 7, "text": "Tea is hot. Ice is cold. Snow melts."}]
    >>> for row in chunk_documents(rows, max_tokens=9):
    ...     print(row)
    {'id': 7, 'chunk': 'Tea is hot.', 'chunk_index': 0, 'start': 0, 'end': 11}
    {'id': 7, 'chunk': 'Ice is cold.', 'chunk_index': 1, 'start': 12, 'end': 24}
    {'id': 7, 'chunk': 'Snow melts.', 'chunk_index': 2, 'start': 25, 'end': 36}
    """
    if split not in get_args(Split):
        raise ConfigurationError(
            f"split={split!r} is not known; there are: {', '.join(get_args(Split))}"
        )
    function = function or SbertEmbeddings.create()
    model, encoding = function.prepared_model("document")
    longest = encoding.max_length
    if max_tokens is not None and longest is not None and max_tokens > longest:
        raise ConfigurationError(
            f"max_tokens={max_tokens} is more than the {longest} tokens that the function takes: "
            "the rest of each chunk would not be embedded"
        )
    room = (max_tokens or longest or _DEFAULT_TOKENS) - model.engine.overhead(encoding.prompt)
    if not 0 <= overlap < room:
        raise ConfigurationError(
            f"overlap={overlap} must be 0 or more, and less than the {room} tokens of text that a "
            "chunk holds beside prompt and special tokens"
        )
    cutter = _Cutter(function, tokenizer_of(model), encoding.prompt, room, overlap, split, language)
    return Chunks(cutter.rows(each_row(rows), text))


class Chunks(Iterable[Row]):
    """Rows of chunks, made as they are asked for; they can be had once.

    Iterating gives rows as dicts. ``next()`` gives a batch of them as Arrow: that is how LanceDB
    reads what it is handed, which takes an iterator of batches but none of rows.
    """

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self._batches: Iterator[pa.RecordBatch] | None = None

    def __iter__(self) -> Iterator[Any]:
        return self._rows if self._batches is None else self._batches

    def __next__(self) -> pa.RecordBatch:
        if self._batches is None:
            self._batches = self.to_batches()
        return next(self._batches)

    def to_batches(self, size: int = _CHUNKS) -> Iterator[pa.RecordBatch]:
        """Yield the rows as Arrow, `size` of them at a time, all of the first one's schema."""
        schema: pa.Schema | None = None
        while rows := list(islice(self._rows, size)):
            batch = pa.RecordBatch.from_pylist(rows, schema=schema)
            schema = batch.schema
            yield batch


@dataclass(frozen=True)
class _Cutter:
    function: LocalTextEmbedder
    tokenizer: Tokenizer
    prompt: str
    room: int
    overlap: int
    split: Split
    language: str

    def rows(self, documents: Iterator[Row], text: str) -> Iterator[Row]:
        number = 0
        while group := list(islice(documents, _DOCUMENTS)):
            texts = [_text_of(row, text, number + i) for i, row in enumerate(group)]
            for row, chunks in zip(group, self._cut(texts), strict=True):
                kept = {name: value for name, value in row.items() if name != text}
                document = row[text]
                for index, (start, end) in enumerate(chunks):
                    chunk = None if document is None else document[start:end]
                    place = {"chunk_index": index, "start": start, "end": end}
                    yield {**kept, "chunk": chunk, **place}
            number += len(group)

    def _cut(self, texts: Sequence[str | None]) -> list[list[tuple[int, int]]]:
        """Return for each text the characters of its chunks."""
        found = [[(0, len(text or ""))] for text in texts]
        full = [
            (i, text) for i, text in enumerate(texts) if text is not None and not is_blank(text)
        ]
        contents = self.tokenizer.contents([text for _, text in full], self.prompt, offsets=True)
        for (i, text), content in zip(full, contents, strict=True):
            if len(content.ids):
                found[i] = self._fitting(text, content, self._windows(text, content))
        return found

    def _windows(self, text: str, content: Content) -> Spans:
        offsets = content.offsets
        assert offsets is not None
        if self.split == "sentences":
            starts = tokens_at(sentence_starts(text, self.language), offsets)
        else:
            starts = _word_starts(text, content)
        return sentence_windows(starts, len(content.ids), self.room, self.overlap)

    def _fitting(self, text: str, content: Content, windows: Spans) -> list[tuple[int, int]]:
        """Return windows as characters; halve those that by themselves have more tokens.

        A text cut inside a word, or cleaned only when it is embedded, may come to more tokens than
        it had within its document.
        """
        places = [_characters(content, a, b) for a, b in windows.tolist()]
        alone = [self.function.prepare(text[a:b]) for a, b in places]
        counts = [len(own.ids) for own in self.tokenizer.contents(alone, self.prompt, False)]
        chunks: list[tuple[int, int]] = []
        for (a, b), place, count in zip(windows.tolist(), places, counts, strict=True):
            if count <= self.room or b - a < 2:
                chunks.append(place)
            else:
                halves = np.array([[a, (a + b) // 2], [(a + b) // 2, b]], dtype=np.int64)
                chunks += self._fitting(text, content, halves)
        return chunks


def _characters(content: Content, start: int, stop: int) -> tuple[int, int]:
    assert content.offsets is not None
    return int(content.offsets[start:stop, 0].min()), int(content.offsets[start:stop, 1].max())


def _word_starts(text: str, content: Content) -> Any:
    """Return the tokens that follow white space, or hold it as some tokenizers have it."""
    assert content.offsets is not None
    ends = [0, *content.offsets[:-1, 1].tolist()]
    starts = [
        i
        for i, (start, before) in enumerate(zip(content.offsets[:, 0].tolist(), ends, strict=True))
        if start != before or text[start : start + 1].isspace()
    ]
    return np.unique(np.array([0, *starts], dtype=np.int64))


def _text_of(row: Row, column: str, number: int) -> str | None:
    if column not in row:
        raise InputError(
            f"row {number} has no column {column!r}; it has: {', '.join(map(str, row))}", [number]
        )
    taken = [name for name in _ADDED if name in row and name != column]
    if taken:
        raise InputError(
            f"row {number} has a column {taken[0]!r}, which chunks need; rename it", [number]
        )
    try:
        return accept_texts([row[column]])[0]
    except InputError as error:
        raise InputError(str(error).replace("row 0:", f"row {number}:", 1), [number]) from None
