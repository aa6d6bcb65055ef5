"""Texts cut to a number of tokens, as the function counts them that will embed them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lancedb_embedders.batch import Role
from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError, InputError
from lancedb_embedders.hosted.embedder import HostedEmbedder
from lancedb_embedders.local.embedder import LocalTextEmbedder
from lancedb_embedders.tools.given import function_of

if TYPE_CHECKING:
    from lancedb_embedders.local.tokens import Tokenizer


def truncate_text(
    text: str,
    max_tokens: int,
    function: Embedder | str | os.PathLike[str] = "sbert",
    *,
    role: Role = "document",
) -> str:
    """Return the longest beginning of a text that a function embeds in so many tokens.

    A function does the same by itself with ``max_length`` and ``on_overflow="truncate"``, which are
    stored with the table; this is for texts that are to be shown, stored or sent elsewhere as they
    were embedded.

    Parameters
    ----------
    text : str
        Any text.
    max_tokens : int
        Tokens that it may have, prompt and special tokens included.
    function : Embedder or str or os.PathLike, default "sbert"
        The function whose tokens count, its registry name, or the name or folder of a model. Of a
        hosted model whose tokenizer is not on this machine, each UTF-8 byte counts as a token.
    role : {"document", "query"}
        Which prompt goes before the text.

    Returns
    -------
    str
        `text`, or its beginning; it ends with a whole token, and never within a character.

    Raises
    ------
    ConfigurationError
        `max_tokens` leaves no room for text, or the function has no tokenizer.
    InputError
        `text` is no string.

    Examples
    --------
    >>> truncate_text("Tea is steeped in hot water.", 5)
    'Tea is steep'
    """
    if not isinstance(text, str):
        raise InputError(f"expected a string, got {type(text).__name__}", [0])
    embedder = function_of(function)
    if isinstance(embedder, HostedEmbedder):
        counter, prompt = embedder.counter(), embedder.prompt_of(role)
        room = max_tokens - (int(counter.count([prompt])[0]) if prompt else 0)
        _check_room(room - (0 if prompt else 2), max_tokens)
        return counter.cut(text, room)
    if not isinstance(embedder, LocalTextEmbedder):
        raise ConfigurationError(f"{embedder.registry_name} has no tokenizer to count with")
    model, encoding = embedder.prepared_model(role)
    tokenizer = model.engine.tokenizer
    if tokenizer is None:
        raise ConfigurationError(f"{embedder.registry_name} tokenizes by itself; nothing can count")
    room = max_tokens - model.engine.overhead(encoding.prompt)
    _check_room(room, max_tokens)
    return _cut(tokenizer, text, encoding.prompt, room)


def _check_room(room: int, max_tokens: int) -> None:
    if room < 1:
        raise ConfigurationError(
            f"max_tokens={max_tokens} leaves no room for text beside prompt and special tokens"
        )


def _cut(tokenizer: Tokenizer, text: str, prompt: str, room: int) -> str:
    while True:
        [content] = tokenizer.contents([text], prompt, offsets=True)
        if len(content.ids) <= room or not text:
            return text
        assert content.offsets is not None
        end = int(content.offsets[room - 1, 1])
        # A beginning by itself may come to more tokens than it had within the text.
        text = text[: end if end < len(text) else len(text) - 1]
