"""Chat completions of OpenAI and of every server that speaks like it: one question, one answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.extras import require
from lancedb_embedders.hosted import access, clients
from lancedb_embedders.hosted.failures import Failure, from_http
from lancedb_embedders.hosted.retries import retried
from lancedb_embedders.settings import settings

HOSTS = ("api.openai.com", ".api.openai.com")
#: From what OpenAI has to what any server takes: each is tried when the one before is refused.
_FORMS = ("json_schema", "json_object", "none")


@dataclass(frozen=True)
class ChatAnswer:
    """What a model said.

    Attributes
    ----------
    text : str
        Its words; empty if it refused.
    refusal : str or None
        Why it refused, if it did.
    cut : bool
        Whether the answer ended before it was complete.
    """

    text: str
    refusal: str | None
    cut: bool


@dataclass
class Chat:
    """A model behind an API; threads may share it.

    Attributes
    ----------
    model : str
        Its name there.
    base_url : str
        The server, up to what comes before ``/chat/completions``.
    api_key_env : str
        Environment variable of the key.
    what : str
        What asks, for messages.
    timeout : float
        Seconds that an answer may take.
    deadline : float
        Seconds after which a question is not asked once more.
    options : mapping
        More parameters of the request, like ``temperature``.
    requests, prompt_tokens, completion_tokens : int
        What was answered so far, and its tokens as the server counts them.
    """

    model: str
    base_url: str
    api_key_env: str
    what: str
    timeout: float = 60.0
    deadline: float = 120.0
    options: Mapping[str, Any] = field(default_factory=dict)
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    stopped: threading.Event = field(default_factory=threading.Event, repr=False)

    def __post_init__(self) -> None:
        require("openai", self.what)
        self.base_url = access.check_url(self.base_url, self.what)
        self._form = 0
        self._lock = threading.Lock()
        self._client()  # what is wrong with key or server comes out before anything is asked

    def ask(self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any]) -> ChatAnswer:
        """Ask, and again what can pass: rate limits, timeouts, and servers that are down.

        Parameters
        ----------
        messages : sequence of mapping
            ``role`` and ``content`` of each.
        schema : mapping
            JSON schema of the answer; a server that takes none is asked without it.

        Raises
        ------
        Failure
            The request was not answered; it holds no key.
        """
        while True:
            form = self._form
            try:
                return self._with_retries(messages, schema, _FORMS[form])
            except Failure as failure:
                refused = "response_format" in failure.message or "json_schema" in failure.message
                if failure.status not in (400, 422) or not refused or form + 1 == len(_FORMS):
                    raise
                with self._lock:
                    self._form = max(self._form, form + 1)

    def _with_retries(
        self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], form: str
    ) -> ChatAnswer:
        end = time.monotonic() + self.deadline
        return retried(lambda: self._once(messages, schema, form), lambda: end, self.stopped)

    def _once(
        self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], form: str
    ) -> ChatAnswer:
        import openai

        formats: dict[str, Any] = {
            "json_schema": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": schema},
            },
            "json_object": {"type": "json_object"},
        }
        more = {"response_format": formats[form]} if form in formats else {}
        try:
            found = self._client().chat.completions.create(
                model=self.model, messages=list(messages), **more, **self.options
            )
        except openai.APIStatusError as error:
            failure = from_http(error.status_code, error.body, error.response.headers)
        except openai.APIConnectionError as error:  # a timeout is one, too
            failure = Failure("retry", f"{type(error).__name__}: {error.__cause__ or error}")
        except (openai.OpenAIError, ValueError, TypeError) as error:
            failure = Failure("fatal", f"{type(error).__name__}: {error}")
        else:
            return self._answer(found)
        # Raised here, without the client's error: that one holds the request, and its key.
        failure = Failure(
            failure.kind, self._scrubbed(failure.message), failure.status, failure.retry_after
        )
        raise failure

    def _answer(self, found: Any) -> ChatAnswer:
        choices = getattr(found, "choices", None)
        if not choices or getattr(choices[0], "message", None) is None:
            raise Failure("fatal", "an answer that is no chat completion; is base_url right?")
        usage = getattr(found, "usage", None)
        with self._lock:
            self.requests += 1
            self.prompt_tokens += getattr(usage, "prompt_tokens", 0) or 0
            self.completion_tokens += getattr(usage, "completion_tokens", 0) or 0
        choice = choices[0]
        refusal = getattr(choice.message, "refusal", None)
        if choice.finish_reason == "content_filter":
            refusal = refusal or "stopped by the server's content filter"
        return ChatAnswer(
            self._scrubbed(choice.message.content or ""), refusal, choice.finish_reason == "length"
        )

    def _client(self) -> Any:
        identity = ("chat", self.base_url, access.key_digest(self._key()), self.timeout)
        return clients.shared(identity, self._made)

    def _made(self) -> Any:
        import openai

        try:
            return openai.OpenAI(
                api_key=self._key() or "none",
                base_url=self.base_url,
                timeout=self.timeout,
                max_retries=0,
            )
        except openai.OpenAIError as error:
            said = self._scrubbed(f"{type(error).__name__}: {error}")
            raise ConfigurationError(f"{self.what}: {said}") from None

    def _key(self) -> str | None:
        hosts, trusted = HOSTS, settings.trusted_hosts
        return access.find_key(None, [self.api_key_env], self.base_url, hosts, trusted, self.what)

    def _scrubbed(self, text: str) -> str:
        return access.scrub(text, self._key())
