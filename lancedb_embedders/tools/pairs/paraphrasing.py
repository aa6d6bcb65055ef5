"""`paraphrase`: texts in other words, by a language model, each checked before it is taken."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError, EmbeddingWarning, ProviderError
from lancedb_embedders.hosted.chat import Chat
from lancedb_embedders.hosted.failures import Failure
from lancedb_embedders.progress import progress_bar
from lancedb_embedders.tools.given import function_of, texts_of
from lancedb_embedders.tools.pairs.paraphrase_draft import Draft, Wish, complete
from lancedb_embedders.tools.pairs.paraphrase_result import Paraphrased, ParaphraseResult

__all__ = ["ParaphraseResult", "Paraphrased", "paraphrase"]

_URL = "https://api.openai.com/v1"
_LOOK = 0.2  # seconds between two looks at whether the process ends
_HOPELESS = 5  # failures before anything was answered


def paraphrase(
    texts: Any,
    *,
    model: str,
    n: int = 3,
    base_url: str | None = None,
    api_key_env: str = "OPENAI_API_KEY",
    function: Embedder | str | os.PathLike[str] | None = None,
    min_similarity: float = 0.6,
    max_similarity: float = 0.99,
    max_attempts: int = 3,
    concurrency: int = 8,
    instructions: str = "",
    usd_per_million_tokens: tuple[float, float] | None = None,
    timeout: float = 60.0,
    options: Mapping[str, Any] | None = None,
    progress: bool | None = None,
) -> ParaphraseResult:
    """Have texts said in other words by a language model, and check what it says.

    The texts go to the server. What it gives back is checked: as many as were asked for, none equal
    to the text or to another, of plausible length, in the same script, no refusal, and, with a
    function, of a cosine within bounds. For what fails, it is asked again; what still fails is in
    the result with the reason. If a text fails for good, what was paid for is kept.

    Parameters
    ----------
    texts : iterable of str, pyarrow.Array or lancedb.table.Table
        Texts; blank ones are left out.
    model : str
        Name of the language model.
    n : int, default 3
        Paraphrases of each text.
    base_url : str, optional
        The server, up to what comes before ``/chat/completions``; None: ``OPENAI_BASE_URL``, or
        OpenAI's own.
    api_key_env : str, default "OPENAI_API_KEY"
        Environment variable of the key. It goes to OpenAI, to this machine, and to hosts that
        ``LANCEDB_EMBEDDERS_TRUSTED_HOSTS`` names, and shows nowhere.
    function : Embedder or str or os.PathLike, optional
        Measures how near a paraphrase is: a function, its name, or that of a model.
    min_similarity, max_similarity : float, default 0.6 and 0.99
        Cosine that a paraphrase has with its text at least, and at most.
    max_attempts : int, default 3
        Questions for each text at most, those that were not answered not counted.
    concurrency : int, default 8
        Questions at once.
    instructions : str, optional
        More to say to the model, like the style that is wanted.
    usd_per_million_tokens : (float, float), optional
        Price of tokens in and out, for the cost.
    timeout : float, default 60.0
        Seconds that an answer may take.
    options : mapping, optional
        More parameters of the request, like ``{"temperature": 0.9}``.
    progress : bool, optional
        Show a bar; None: on a terminal.

    Returns
    -------
    ParaphraseResult
        One entry for each text, complete or not.

    Raises
    ------
    ConfigurationError
        Options that do not fit, no key, or a host that no key is sent to.
    ProviderError
        The first questions failed for good, so that there is nothing to keep.
    MissingExtraError
        Without ``pip install "lancedb-embedders[openai]"``.

    Warns
    -----
    EmbeddingWarning
        Some texts have fewer paraphrases than were asked for.
    """
    _check(n, max_attempts, concurrency, min_similarity, max_similarity)
    rows = texts_of(texts)
    chat = Chat(
        model=model,
        base_url=base_url or os.environ.get("OPENAI_BASE_URL") or _URL,
        api_key_env=api_key_env,
        what="paraphrase",
        timeout=timeout,
        options=dict(options or {}),
    )
    embedder = None if function is None else function_of(function)
    wish = Wish(n, embedder, min_similarity, max_similarity, max_attempts, instructions)
    drafts = {text: Draft(text) for text in rows}
    failure = _work(chat, list(drafts.values()), wish, concurrency, progress)
    if failure is not None and chat.requests == 0:
        raise ProviderError(f"paraphrase: {model} at {chat.base_url} gave nothing: {failure}")
    found = {text: draft.done(wish) for text, draft in drafts.items()}
    result = ParaphraseResult(
        model=model,
        texts=tuple(found[text] for text in rows),
        requests=chat.requests,
        prompt_tokens=chat.prompt_tokens,
        completion_tokens=chat.completion_tokens,
        usd=_cost(chat, usd_per_million_tokens),
    )
    if result.incomplete:
        first = result.incomplete[0]
        warnings.warn(
            f"{len(result.incomplete):,} of {len(rows):,} texts have fewer than {n} paraphrases "
            f"(like {first.text[:40]!r}: {first.error}); see result.incomplete",
            EmbeddingWarning,
            stacklevel=2,
        )
    return result


def _check(n: int, max_attempts: int, concurrency: int, low: float, high: float) -> None:
    for name, value in (("n", n), ("max_attempts", max_attempts), ("concurrency", concurrency)):
        if value < 1:
            raise ConfigurationError(f"{name}={value} must be 1 or more")
    if not -1 <= low < high <= 1:
        raise ConfigurationError(
            f"min_similarity={low} must be less than max_similarity={high}, and both cosines"
        )


def _cost(chat: Chat, prices: tuple[float, float] | None) -> float | None:
    if prices is None:
        return None
    return (chat.prompt_tokens * prices[0] + chat.completion_tokens * prices[1]) / 1e6


def _work(
    chat: Chat, drafts: Sequence[Draft], wish: Wish, concurrency: int, progress: bool | None
) -> Failure | None:
    """Work on all drafts; returns the last failure, or the one that ended it early."""
    todo = iter(drafts)
    running: set[Future[None]] = set()
    failed, last = 0, None
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="paraphrase")
    try:
        with progress_bar(len(drafts), "texts", progress, desc="Paraphrasing") as bar:
            while True:
                # No more than fit: what a pool has taken on, a process that ends still works off.
                while len(running) < concurrency and (draft := next(todo, None)) is not None:
                    running.add(pool.submit(complete, chat, draft, wish))
                if not running:
                    return last
                done, running = wait(running, _LOOK, FIRST_COMPLETED)
                for future in done:
                    error = future.exception()
                    if isinstance(error, Failure):
                        failed += 1
                        # Others would fare alike.
                        if _is_general(error) or (not chat.requests and failed >= _HOPELESS):
                            return error
                    elif error is not None:
                        raise error
                    last = error or last
                    bar.update()
    finally:
        chat.stopped.set()
        # What is being asked is being paid for: it is waited for, and kept.
        pool.shutdown(wait=True, cancel_futures=True)


def _is_general(failure: Failure) -> bool:
    return failure.kind == "retry" or failure.status in (None, 401, 402, 403, 404, 429)
