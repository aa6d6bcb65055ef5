"""`cached-openai`: OpenAI, and every server that speaks like it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field
from pydantic_core import from_json

from lancedb_embedders.batch import Role
from lancedb_embedders.errors import ConfigurationError, ProviderError
from lancedb_embedders.hosted import access
from lancedb_embedders.hosted.batch_api import BatchTerms
from lancedb_embedders.hosted.embedder import HostedEmbedder
from lancedb_embedders.hosted.failures import Failure, from_http
from lancedb_embedders.hosted.provider import Answer, Limits, answer_of
from lancedb_embedders.http_rules import named

_URL = "https://api.openai.com/v1"
_AZURE = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")


class CachedOpenAIEmbeddings(HostedEmbedder, registry_name="cached-openai"):
    """Text embeddings by OpenAI, on Azure too, or by vLLM, TEI, Ollama, LM Studio, infinity ...

    All options but these are those of `HostedEmbedder` and `Embedder`.

    Parameters
    ----------
    base_url : str, default "https://api.openai.com/v1"
        The server, up to what comes before ``/embeddings``; ``OPENAI_BASE_URL`` counts when the
        function is made.
    headers : dict of str to str, optional
        More headers, such as ``OpenAI-Project``; they are stored, so none may be a credential.
    azure_endpoint : str, optional
        Azure OpenAI: ``https://NAME.openai.azure.com``; the key is in ``AZURE_OPENAI_API_KEY``.
    azure_deployment : str, optional
        Name of the deployment on Azure; None: that of the model.
    api_version : str, optional
        Of Azure's API.

    Examples
    --------
    >>> from lancedb.embeddings import get_registry
    >>> import lancedb_embedders
    >>> get_registry().get("cached-openai").create(dim=512).ndims()
    512
    """

    extra: ClassVar[str | None] = "openai"
    provider: ClassVar[str] = "openai"
    hosts: ClassVar[tuple[str, ...]] = ("api.openai.com", ".api.openai.com", *_AZURE)
    # https://developers.openai.com/api/reference/resources/embeddings/methods/create, 2026-11-24
    default_limits: ClassVar[Limits] = Limits(inputs=2048, tokens=300_000)

    name: str = "text-embedding-3-small"
    base_url: str = Field(default_factory=lambda: os.environ.get("OPENAI_BASE_URL") or _URL)
    api_key_env: str = Field(default="OPENAI_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    headers: dict[str, str] | None = None
    azure_endpoint: str | None = None
    azure_deployment: str | None = None
    api_version: str | None = None

    def model_post_init(self, context: Any, /) -> None:
        """Check what a table would store, and decide what was left open."""
        access.check_headers(self.headers or {}, "cached-openai")
        if self.azure_endpoint is not None:
            self._set(base_url=self.azure_endpoint)
            if self.api_version is None:
                raise ConfigurationError(
                    'cached-openai: azure_endpoint needs an api_version, like "2024-10-21"'
                )
        super().model_post_init(context)

    def endpoint(self) -> str:
        """Return the server, with the deployment on Azure."""
        if self.azure_endpoint is None:
            return self.base_url
        return f"{self.base_url}/{self.azure_deployment or self.name}"

    def key_variables(self) -> tuple[str, ...]:
        """Return where the key is: neither service gets the other's."""
        azure = self.azure_endpoint or named(urlsplit(self.base_url).hostname or "", _AZURE)
        default = type(self).model_fields["api_key_env"].default
        return (
            "AZURE_OPENAI_API_KEY" if azure and self.api_key_env == default else self.api_key_env,
        )

    def make_client(self, key: str | None, timeout: float) -> Any:
        """See `HostedEmbedder.make_client`."""
        import openai

        common: dict[str, Any] = {
            "api_key": key or "none",
            "timeout": timeout,
            "max_retries": 0,
            "default_headers": self.headers,
        }
        if self.azure_endpoint is not None:
            return openai.AzureOpenAI(
                azure_endpoint=self.base_url,
                azure_deployment=self.azure_deployment or self.name,
                api_version=self.api_version,
                **common,
            )
        return openai.OpenAI(base_url=self.base_url, **common)

    def ask(self, client: Any, texts: Sequence[str], role: Role) -> Answer:
        """See `HostedEmbedder.ask`."""
        del role  # told by the prompt, if at all, which is in the texts
        # The texts by `extra_body`, since the client looks at the type of each one otherwise; and
        # the raw answer, since it would turn each vector into a list of Python numbers.
        body = self.body(texts)
        more = {"input": body.pop("input")}
        response = client.embeddings.with_raw_response.create(input="", **body, extra_body=more)
        try:
            answer = from_json(response.content)
        except ValueError:
            raise ProviderError("an answer that is no JSON") from None
        return answer_of(answer, len(texts), response.headers)

    def body(self, texts: Sequence[str]) -> dict[str, Any]:
        """Return what a request for `texts` holds."""
        body: dict[str, Any] = {
            "model": self.name,
            "input": list(texts),
            "encoding_format": "base64",
        }
        dim = self.requested_dim()
        return body if dim is None else {**body, "dimensions": dim}

    def batch_terms(self, role: Role) -> BatchTerms | None:
        """Return what OpenAI's batches are like; https://developers.openai.com/api/docs/guides/batch."""
        del role
        if self.azure_endpoint is not None:
            return None
        return BatchTerms("24h", inputs=50_000, file_bytes=200_000_000, line=self._batch_line)

    def _batch_line(self, name: str, texts: Sequence[str]) -> dict[str, Any]:
        request = {"method": "POST", "url": "/v1/embeddings", "body": self.body(texts)}
        return {"custom_id": name, **request}

    def failure(self, error: Exception) -> Failure | None:
        """See `HostedEmbedder.failure`."""
        import openai

        if isinstance(error, openai.APIStatusError):
            return from_http(error.status_code, error.body, error.response.headers)
        if isinstance(error, openai.APIConnectionError):  # a timeout is one, too
            return Failure("retry", f"{type(error).__name__}: {error.__cause__ or error}")
        if isinstance(error, openai.OpenAIError):
            return Failure("fatal", f"{type(error).__name__}: {error}")
        return None
