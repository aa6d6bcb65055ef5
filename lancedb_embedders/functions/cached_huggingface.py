"""`cached-huggingface`: Hugging Face's Inference API and endpoints, and TEI servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field

from lancedb_embedders import catalog
from lancedb_embedders.batch import Role
from lancedb_embedders.hosted.embedder import HostedEmbedder
from lancedb_embedders.hosted.failures import Failure, from_http
from lancedb_embedders.hosted.provider import Answer, Limits, decoded, stacked

_ROUTER = "https://router.huggingface.co"


class CachedHuggingFaceEmbeddings(HostedEmbedder, registry_name="cached-huggingface"):
    """Text embeddings by Hugging Face's Inference API and endpoints, and by servers that run TEI.

    Prompts come from the catalogue, as with `sbert`. All options but these are those of
    `HostedEmbedder` and `Embedder`.

    Parameters
    ----------
    base_url : str
        An endpoint of one's own, like ``http://localhost:8080``. By default the Inference API is
        asked for the model `name`.

    Examples
    --------
    >>> from lancedb.embeddings import get_registry
    >>> import lancedb_embedders
    >>> get_registry().get("cached-huggingface").create().ndims()
    384
    """

    provider: ClassVar[str] = "huggingface"
    hosts: ClassVar[tuple[str, ...]] = ("router.huggingface.co", "api-inference.huggingface.co")
    other_key_variables: ClassVar[tuple[str, ...]] = ("HUGGINGFACE_API_KEY",)
    # What text-embeddings-inference takes unless it is told otherwise (--max-client-batch-size).
    default_limits: ClassVar[Limits] = Limits(inputs=32)
    cuts_there: ClassVar[bool] = True

    name: str = "all-MiniLM-L6-v2"
    base_url: str = _ROUTER
    api_key_env: str = Field(default="HF_TOKEN", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")

    def make_client(self, key: str | None, timeout: float) -> Any:
        """See `HostedEmbedder.make_client`.

        The HTTP client of huggingface_hub. Its `InferenceClient` has one function for this, which
        hides the headers, asks the hub about the model first, and refuses even servers on this
        machine while ``HF_HUB_OFFLINE`` is set.
        """
        import httpx2

        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx2.Client(headers=headers, timeout=timeout)

    def ask(self, client: Any, texts: Sequence[str], role: Role) -> Answer:
        """See `HostedEmbedder.ask`."""
        del role  # told by the prompt, which is in the texts
        response = client.post(
            self._url(),
            json={
                "inputs": list(texts),
                "normalize": self.normalize,
                "truncate": self.on_overflow == "truncate",
            },
        )
        response.raise_for_status()
        tokens = response.headers.get("x-compute-tokens", "")
        return Answer(
            stacked([decoded(vector) for vector in response.json()]),
            int(tokens) if tokens.isdigit() else None,
            dict(response.headers),
        )

    def endpoint(self) -> str:
        """Return the server, and whether it normalizes."""
        return f"{self._url()} normalize={self.normalize}"

    def failure(self, error: Exception) -> Failure | None:
        """See `HostedEmbedder.failure`."""
        import httpx2

        if isinstance(error, httpx2.HTTPStatusError):
            response = error.response
            try:
                body = response.json()
            except ValueError:
                body = response.text
            return from_http(response.status_code, body, response.headers)
        if isinstance(error, httpx2.TransportError):  # a timeout is one, too
            return Failure("retry", f"{type(error).__name__}: {error}")
        return None

    def _url(self) -> str:
        if self.base_url != _ROUTER:
            return self.base_url
        name = catalog.full_name(self.name)
        return f"{_ROUTER}/hf-inference/models/{name}/pipeline/feature-extraction"
