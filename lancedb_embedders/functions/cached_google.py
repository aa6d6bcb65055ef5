"""`cached-google`: Gemini's embedding models, by the Gemini API or Vertex AI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from lancedb_embedders.batch import Role
from lancedb_embedders.hosted.embedder import HostedEmbedder
from lancedb_embedders.hosted.failures import Failure, from_http
from lancedb_embedders.hosted.provider import Answer, Limits, stacked

TaskType = Literal[
    "RETRIEVAL_DOCUMENT",
    "RETRIEVAL_QUERY",
    "SEMANTIC_SIMILARITY",
    "CLASSIFICATION",
    "CLUSTERING",
    "QUESTION_ANSWERING",
    "FACT_VERIFICATION",
    "CODE_RETRIEVAL_QUERY",
]


class CachedGoogleEmbeddings(HostedEmbedder, registry_name="cached-google"):
    """Text embeddings by Google.

    gemini-embedding-001 is told of each text what it is for; gemini-embedding-2 reads it in a
    prompt, see `query_prompt` and `document_prompt`. All options but these are those of
    `HostedEmbedder` and `Embedder`.

    Parameters
    ----------
    document_task, query_task : str
        Task types, for models that take them.
    vertexai : bool, default False
        Ask Vertex AI, with the credentials of this machine's environment (ADC); with a key, in
        express mode, where `api_key_env` or `api_key` names one of Vertex AI's.
    project, location : str, optional
        Of Vertex AI.
    api_version : str, optional
        ``"v1"`` or ``"v1beta"``; None: the client's default.

    Examples
    --------
    >>> from lancedb.embeddings import get_registry
    >>> import lancedb_embedders
    >>> get_registry().get("cached-google").create(dim=768).ndims()
    768
    """

    extra: ClassVar[str | None] = "google"
    provider: ClassVar[str] = "google"
    hosts: ClassVar[tuple[str, ...]] = ("generativelanguage.googleapis.com", ".googleapis.com")
    other_key_variables: ClassVar[tuple[str, ...]] = ("GOOGLE_API_KEY",)
    # https://ai.google.dev/api/embeddings, 2026-11-24
    default_limits: ClassVar[Limits] = Limits(inputs=100)
    cuts_silently: ClassVar[bool] = True

    name: str = "gemini-embedding-001"
    base_url: str = "https://generativelanguage.googleapis.com"
    api_key_env: str = Field(default="GEMINI_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    document_task: TaskType = "RETRIEVAL_DOCUMENT"
    query_task: TaskType = "RETRIEVAL_QUERY"
    vertexai: bool = False
    project: str | None = None
    location: str | None = None
    api_version: str | None = None

    def kind_of(self, role: Role) -> str | None:
        """Return Google's task type; models after gemini-embedding-001 take none."""
        if self.name.rsplit("/", 1)[-1].startswith("gemini-embedding-2"):
            return None
        return self.query_task if role == "query" else self.document_task

    def endpoint(self) -> str:
        """Return the server, with project and location on Vertex AI."""
        if not self.vertexai:
            return self.base_url
        return f"{self.base_url} vertexai {self.project} {self.location}"

    def find_key(self) -> str | None:
        """Return the key; Vertex AI goes without, unless one is named for it."""
        default = type(self).model_fields["api_key_env"].default
        named = self.api_key is not None or self.api_key_env != default
        return super().find_key() if named or not self.vertexai else None

    def make_client(self, key: str | None, timeout: float) -> Any:
        """See `HostedEmbedder.make_client`."""
        from google import genai

        default = type(self).model_fields["base_url"].default
        http_options: dict[str, Any] = {
            "timeout": int(timeout * 1000),
            "api_version": self.api_version,
            # One attempt: what is tried again is decided elsewhere.
            "retry_options": {"attempts": 1},
        }
        if not self.vertexai or self.base_url != default:
            http_options["base_url"] = self.base_url
        if self.vertexai and key is None:
            return genai.Client(
                vertexai=True,
                project=self.project,
                location=self.location,
                http_options=http_options,  # type: ignore[arg-type]
            )
        return genai.Client(
            vertexai=self.vertexai,
            api_key=key or "none",
            http_options=http_options,  # type: ignore[arg-type]
        )

    def ask(self, client: Any, texts: Sequence[str], role: Role) -> Answer:
        """See `HostedEmbedder.ask`."""
        from google.genai import types

        response = client.models.embed_content(
            model=self.name,
            # A content a text: of a list of strings, gemini-embedding-2 makes one vector.
            contents=[types.Content(parts=[types.Part(text=text)]) for text in texts],
            config=types.EmbedContentConfig(
                task_type=self.kind_of(role), output_dimensionality=self.requested_dim()
            ),
        )
        found = response.embeddings or []
        headers = (response.sdk_http_response and response.sdk_http_response.headers) or {}
        return Answer(
            stacked([embedding.values for embedding in found]),
            _tokens(response),
            {name.lower(): value for name, value in headers.items()},
        )

    def failure(self, error: Exception) -> Failure | None:
        """See `HostedEmbedder.failure`."""
        import httpx2
        from google.auth.exceptions import GoogleAuthError
        from google.genai import errors

        if isinstance(error, errors.APIError):
            headers = getattr(error.response, "headers", None) or {}
            failure = from_http(error.code, error.details, headers)
            if "API_KEY_INVALID" in str(error.details) or "API key not valid" in failure.message:
                return Failure("fatal", failure.message, 401)
            return failure
        if isinstance(error, httpx2.TransportError):  # a timeout is one, too
            return Failure("retry", f"{type(error).__name__}: {error}")
        if isinstance(error, GoogleAuthError):
            return Failure("fatal", f"no credentials for Vertex AI: {error}")
        return None


def _tokens(response: Any) -> int | None:
    """Return what is billed: the Gemini API tells it of all texts, Vertex AI of each."""
    usage = response.usage_metadata
    if usage is not None and usage.prompt_token_count is not None:
        return int(usage.prompt_token_count)
    counts = [e.statistics and e.statistics.token_count for e in response.embeddings or ()]
    return None if None in counts else int(sum(counts))
