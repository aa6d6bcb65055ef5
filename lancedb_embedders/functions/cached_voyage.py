"""`cached-voyage`: Voyage AI."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import Field

from lancedb_embedders.batch import Role
from lancedb_embedders.hosted import access
from lancedb_embedders.hosted.batch_api import BatchTerms
from lancedb_embedders.hosted.embedder import HostedEmbedder
from lancedb_embedders.hosted.failures import Failure, from_http
from lancedb_embedders.hosted.provider import Answer, Limits, rows_of


@dataclass(frozen=True)
class _Scrubbed:
    """Takes a key out of log records; the same one is added once."""

    key: str = field(repr=False)

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = access.scrub(str(record.msg), self.key)
        return True


class CachedVoyageEmbeddings(HostedEmbedder, registry_name="cached-voyage"):
    """Text embeddings by Voyage AI; rows are sent as documents, queries as queries.

    All options are those of `HostedEmbedder` and `Embedder`. Keys that begin with ``al-`` are
    MongoDB's: they go with ``base_url="https://ai.mongodb.com/v1"``.

    Examples
    --------
    >>> from lancedb.embeddings import get_registry
    >>> import lancedb_embedders
    >>> get_registry().get("cached-voyage").create(dim=2048).ndims()
    2048
    """

    extra: ClassVar[str | None] = "voyage"
    provider: ClassVar[str] = "voyage"
    hosts: ClassVar[tuple[str, ...]] = ("api.voyageai.com", "ai.mongodb.com")
    # https://docs.voyageai.com/docs/embeddings, 2026-11-24: 120K is the least of any model
    default_limits: ClassVar[Limits] = Limits(inputs=1000, tokens=120_000)
    cuts_there: ClassVar[bool] = True

    name: str = "voyage-4"
    base_url: str = "https://api.voyageai.com/v1"
    api_key_env: str = Field(default="VOYAGE_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")

    def kind_of(self, role: Role) -> str:
        """Return Voyage's ``input_type``."""
        return role

    def make_client(self, key: str | None, timeout: float) -> Any:
        """See `HostedEmbedder.make_client`; Voyage's keeps its connections by itself."""
        import voyageai

        if key:
            # It logs what the server says, and careless servers repeat the key.
            logging.getLogger("voyage").addFilter(_Scrubbed(key))
        # Below the client proper, which would turn base64 into lists of Python numbers, and looks
        # for models of some names on this machine.
        return lambda **options: voyageai.Embedding.create(  # type: ignore[attr-defined, no-untyped-call]
            api_key=key or "none", base_url=self.base_url, request_timeout=timeout, **options
        )

    def ask(self, client: Any, texts: Sequence[str], role: Role) -> Answer:
        """See `HostedEmbedder.ask`."""
        response = client(input=list(texts), **self.parameters(role))
        return Answer(rows_of(response.data, len(texts)), response.usage.total_tokens)

    def parameters(self, role: Role) -> dict[str, Any]:
        """Return what a request holds beside its texts."""
        parameters: dict[str, Any] = {
            "model": self.name,
            "input_type": self.kind_of(role),
            "truncation": self.on_overflow == "truncate",
            "encoding_format": "base64",
        }
        if (dim := self.requested_dim()) is not None:
            parameters["output_dimension"] = dim
        return parameters

    def batch_terms(self, role: Role) -> BatchTerms:
        """Return what Voyage's batches are like; https://docs.voyageai.com/docs/batch-inference."""
        return BatchTerms(
            "12h",
            inputs=100_000,
            file_bytes=200_000_000,
            line=lambda name, texts: {"custom_id": name, "body": {"input": list(texts)}},
            parameters=self.parameters(role),
        )

    def failure(self, error: Exception) -> Failure | None:
        """See `HostedEmbedder.failure`."""
        from voyageai import error as voyage

        if isinstance(error, (voyage.Timeout, voyage.APIConnectionError)):
            return Failure("retry", f"{type(error).__name__}: {error}")
        if isinstance(error, voyage.VoyageError):
            status = error.http_status or 0
            if status < 300:
                return Failure("fatal", "an answer that is no JSON")
            return from_http(status, error.json_body or error.http_body, error.headers)
        return None
