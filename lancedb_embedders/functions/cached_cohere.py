"""`cached-cohere`: Cohere's API, version 2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from lancedb_embedders.batch import Role
from lancedb_embedders.hosted.embedder import HostedEmbedder
from lancedb_embedders.hosted.failures import Failure, from_http
from lancedb_embedders.hosted.provider import Answer, Limits, decoded, stacked

InputType = Literal["search_document", "search_query", "classification", "clustering"]


class CachedCohereEmbeddings(HostedEmbedder, registry_name="cached-cohere"):
    """Text embeddings by Cohere.

    All options but these are those of `HostedEmbedder` and `Embedder`.

    Parameters
    ----------
    document_input_type, query_input_type : str
        What Cohere is told of rows and of queries: ``"search_document"`` and ``"search_query"``,
        or ``"classification"`` or ``"clustering"`` for both.

    Examples
    --------
    >>> from lancedb.embeddings import get_registry
    >>> import lancedb_embedders
    >>> get_registry().get("cached-cohere").create(dim=256).ndims()
    256
    """

    extra: ClassVar[str | None] = "cohere"
    provider: ClassVar[str] = "cohere"
    hosts: ClassVar[tuple[str, ...]] = ("api.cohere.com", "api.cohere.ai")
    other_key_variables: ClassVar[tuple[str, ...]] = ("CO_API_KEY",)
    default_limits: ClassVar[Limits] = Limits(inputs=96)  # https://docs.cohere.com/reference/embed
    cuts_there: ClassVar[bool] = True

    name: str = "embed-v4.0"
    base_url: str = "https://api.cohere.com"
    api_key_env: str = Field(default="COHERE_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    document_input_type: InputType = "search_document"
    query_input_type: InputType = "search_query"

    def kind_of(self, role: Role) -> str:
        """Return Cohere's ``input_type``."""
        return self.query_input_type if role == "query" else self.document_input_type

    def make_client(self, key: str | None, timeout: float) -> Any:
        """See `HostedEmbedder.make_client`."""
        import cohere

        return cohere.ClientV2(
            key or "none", base_url=self.base_url, timeout=timeout, max_retries=0
        )

    def ask(self, client: Any, texts: Sequence[str], role: Role) -> Answer:
        """See `HostedEmbedder.ask`."""
        options: dict[str, Any] = {}
        if (dim := self.requested_dim()) is not None:
            options["output_dimension"] = dim
        response = client.with_raw_response.embed(
            model=self.name,
            texts=list(texts),
            input_type=self.kind_of(role),
            # Lists of numbers take the client a hundred times longer.
            embedding_types=["base64"],
            truncate="END" if self.on_overflow == "truncate" else "NONE",
            **options,
        )
        billed = response.data.meta and response.data.meta.billed_units
        tokens = billed and billed.input_tokens
        return Answer(
            stacked([decoded(text) for text in response.data.embeddings.base64 or ()]),
            None if tokens is None else int(tokens),
            {name.lower(): value for name, value in response.headers.items()},
        )

    def failure(self, error: Exception) -> Failure | None:
        """See `HostedEmbedder.failure`."""
        import httpx
        from cohere.core import ApiError

        if isinstance(error, ApiError):
            if error.status_code is None or error.status_code < 300:
                return Failure("fatal", "an answer that is no JSON")
            return from_http(error.status_code, error.body, error.headers)
        if isinstance(error, httpx.TransportError):  # a timeout is one, too
            return Failure("retry", f"{type(error).__name__}: {error}")
        return None
