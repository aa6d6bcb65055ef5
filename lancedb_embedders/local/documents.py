"""Documents of any length through a model: tokenized once, cut into windows, run together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.inputs.sentences import sentence_starts
from lancedb_embedders.inputs.windows import Spans, sentence_windows, token_windows
from lancedb_embedders.local.model import Encoding, LoadedModel
from lancedb_embedders.local.pipeline import run
from lancedb_embedders.local.tokens import Content, Tokenizer
from lancedb_embedders.output import Float32
from lancedb_embedders.progress import progress_bar

Split = Literal["tokens", "sentences"]

# Characters of the documents whose windows go through the model together: enough for even
# batches, and memory stays flat however many documents come.
_GROUP = 2_000_000
_MOST_IN_GROUP = 8192


@dataclass(frozen=True)
class Windowing:
    """How documents are cut.

    Attributes
    ----------
    room : int or None
        Tokens of text in a window, more than `overlap`; None: any number.
    overlap : int
        Tokens of text that a window repeats of the one before.
    split : {"tokens", "sentences"}
        Whether windows are full, or hold whole sentences.
    language : str
        BCP 47 code of the language whose abbreviations end no sentence.
    context : int or None
        Tokens that the model sees at once, of which it pools each window by itself (late
        chunking); None: it sees each window alone.
    first : bool
        Whether the first window is all that is wanted.
    """

    room: int | None
    overlap: int
    split: Split
    language: str
    context: int | None = None
    first: bool = False


@dataclass(frozen=True)
class Windows:
    """A document's windows, embedded.

    Attributes
    ----------
    vectors : numpy.ndarray
        float32, shape ``(windows, dim)``, in the order of the text.
    tokens : numpy.ndarray
        Tokens of text in each, int64.
    total : int
        Tokens of the whole text.
    """

    vectors: Float32
    tokens: npt.NDArray[np.int64]
    total: int


def tokenizer_of(model: LoadedModel) -> Tokenizer:
    """Return the tokenizer whose tokens windows are cut from.

    Raises
    ------
    ConfigurationError
        The model tokenizes by itself.
    """
    tokenizer = model.engine.tokenizer
    if tokenizer is None:
        raise ConfigurationError(
            f"documents cannot be cut into windows for the model in {model.location.folder}: it "
            'tokenizes by itself; use it through "sbert"'
        )
    return tokenizer


def cut(text: str, content: Content, windowing: Windowing, room: int | None) -> Spans:
    """Return the windows of one document, `room` tokens of its text at most."""
    count = len(content.ids)
    if room is None or count <= room:
        return np.array([[0, count]], dtype=np.int64)
    if windowing.split == "tokens" or content.offsets is None:
        return token_windows(count, room, windowing.overlap)
    starts = tokens_at(sentence_starts(text, windowing.language), content.offsets)
    return sentence_windows(starts, count, room, windowing.overlap)


def tokens_at(
    characters: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the tokens that hold characters, or follow them; each once.

    Parameters
    ----------
    characters : numpy.ndarray
        Offsets into a text, ascending.
    offsets : numpy.ndarray
        As in `Content`.
    """
    # The first token that reaches behind the place: some begin with the space before a word.
    ends = np.maximum.accumulate(offsets[:, 1])
    found = np.unique(np.searchsorted(ends, characters, side="right"))
    return np.asarray(found[found < len(offsets)], dtype=np.int64)


def embed_documents(
    model: LoadedModel,
    texts: Sequence[str],
    encoding: Encoding,
    windowing: Windowing,
    batch_tokens: int | None = None,
    progress: bool | None = False,
) -> Iterator[Windows]:
    """Embed the windows of documents.

    Parameters
    ----------
    model : LoadedModel
        Model whose tokens are known.
    texts : sequence of str
        Without prompt.
    encoding : Encoding
        Prompt and role.
    windowing : Windowing
        How they are cut.
    batch_tokens, progress
        As in `LoadedModel.encode`.

    Yields
    ------
    Windows
        For each text, in order.
    """
    tokenizer = tokenizer_of(model)
    prompt = tokenizer.count_prompt(encoding.prompt)
    with progress_bar(None, "windows", progress) as bar:
        for group in _groups(texts):
            contents = tokenizer.contents(group, encoding.prompt, windowing.split == "sentences")
            spans = [
                cut(text, content, windowing, _room(content, prompt, windowing))
                for text, content in zip(group, contents, strict=True)
            ]
            if windowing.first:
                spans = [own[:1] for own in spans]
            bar.total = (bar.total or 0) + sum(map(len, spans))
            run = _Run(model, tokenizer, encoding, contents, spans, batch_tokens, bar)
            vectors = run.vectors(windowing.context)
            ends = np.cumsum([len(own) for own in spans])
            for content, own, found in zip(contents, spans, np.split(vectors, ends), strict=False):
                yield Windows(found, own[:, 1] - own[:, 0], len(content.ids))


def _room(content: Content, prompt: int, windowing: Windowing) -> int | None:
    # Before some texts a prompt comes to more tokens than by itself.
    more = max(0, content.lead - prompt)
    return None if windowing.room is None else max(windowing.overlap + 1, windowing.room - more)


@dataclass(frozen=True)
class _Run:
    """The windows of a group of documents on their way through the model."""

    model: LoadedModel
    tokenizer: Tokenizer
    encoding: Encoding
    contents: Sequence[Content]
    spans: Sequence[Spans]
    batch_tokens: int | None
    bar: Any

    def vectors(self, context: int | None) -> Float32:
        """Return the vectors of all windows, document by document."""
        sizes = np.array([len(own) for own in self.spans])
        owners = np.repeat(np.arange(len(sizes)), sizes)
        vectors = np.empty((len(owners), self.model.engine.facts.dim or 0), dtype=np.float32)
        # A document of one window has no context but itself.
        late = np.zeros(len(sizes), dtype=bool) if context is None else sizes > 1
        alone = np.flatnonzero(~late[owners])
        self._embed_alone(owners, alone, vectors)
        if context is not None:
            firsts = np.cumsum(sizes) - sizes
            self._embed_late(np.flatnonzero(late), firsts, context - self._overhead(), vectors)
        return vectors

    def _embed_alone(
        self, owners: npt.NDArray[np.intp], chosen: npt.NDArray[np.intp], vectors: Float32
    ) -> None:
        spans = np.concatenate(self.spans)
        lengths = spans[chosen, 1] - spans[chosen, 0] + self._overhead()

        def embed(batch: npt.NDArray[np.intp]) -> int:
            windows = chosen[batch]
            items = [self._item(owners[i], *spans[i]) for i in windows]
            vectors[windows] = self.model.engine.forward(
                items, self.encoding.prompt, self.encoding.role
            )
            return len(windows)

        self._run(lengths, embed)

    def _embed_late(
        self,
        documents: npt.NDArray[np.intp],
        firsts: npt.NDArray[np.intp],
        context: int,
        vectors: Float32,
    ) -> None:
        runs = [(i, *run) for i in documents for run in _contexts(self.spans[i], context)]
        lengths = np.array([stop - start for _, start, stop, _, _ in runs], dtype=np.int64)

        def embed(batch: npt.NDArray[np.intp]) -> int:
            chosen = [runs[position] for position in batch]
            items = [self._item(i, start, stop) for i, start, stop, _, _ in chosen]
            places = [
                self.spans[i][a:b] - start + self.contents[i].lead for i, start, _, a, b in chosen
            ]
            into = np.concatenate([np.arange(a, b) + firsts[i] for i, _, _, a, b in chosen])
            vectors[into] = self.model.engine.forward_spans(
                items, places, self.encoding.prompt, self.encoding.role
            )
            return len(into)

        self._run(lengths + self._overhead(), embed)

    def _run(
        self, lengths: npt.NDArray[np.int64], embed: Callable[[npt.NDArray[np.intp]], int]
    ) -> None:
        batches = self.model.plan(lengths, self.batch_tokens)
        for count in run(batches, embed, self.model.engine.workers):
            self.bar.update(count)

    def _item(self, owner: int, start: int, stop: int) -> npt.NDArray[np.int32]:
        return self.tokenizer.wrap(self.contents[owner], start, stop)

    def _overhead(self) -> int:
        return len(self.tokenizer.wrap(self.contents[0], 0, 0))


def _contexts(spans: Spans, size: int) -> Iterator[tuple[int, int, int, int]]:
    """Share a document's windows among contexts of `size` tokens.

    Yields the first token and the one behind the last, and the same of the windows. Each context
    but the first begins up to a quarter earlier than its windows, or these would be read without
    what stands before them.
    """
    before = size // 4
    a = 0
    while a < len(spans):
        start = max(0, int(spans[a, 0]) - before) if a else 0
        if spans[a, 1] - start > size:
            start = int(spans[a, 1]) - size
        b = int(np.searchsorted(spans[:, 1], start + size, side="right"))
        yield start, int(spans[b - 1, 1]), a, b
        a = b


def _groups(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    start = characters = 0
    for i, text in enumerate(texts):
        full = characters + len(text) > _GROUP or i - start == _MOST_IN_GROUP
        if full and i > start:
            yield texts[start:i]
            start, characters = i, 0
        characters += len(text)
    yield texts[start:]
