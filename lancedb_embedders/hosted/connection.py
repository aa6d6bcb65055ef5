"""The client of a function, with its key and the limits that go with both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lancedb_embedders.errors import ConfigurationError, EmbeddingError
from lancedb_embedders.extras import require
from lancedb_embedders.hosted import access, clients
from lancedb_embedders.hosted.limits import Limiter, limiter
from lancedb_embedders.http_rules import named

if TYPE_CHECKING:
    from lancedb_embedders.hosted.embedder import HostedEmbedder


def connect(function: HostedEmbedder, timeout: float) -> tuple[Any, str | None, Limiter]:
    """Return the client, the key it uses, and the limiter that all share who use that key.

    Raises
    ------
    MissingExtraError
        The provider's client is not installed.
    ConfigurationError
        There is no key, or no client can be made of these options.
    """
    if function.extra is not None:
        require(function.extra, f"the function {function.registry_name!r}")
    # The key is in no variable here: tracebacks may show variables.
    whose = (function.provider, function.endpoint(), access.key_digest(function.find_key()))
    client = clients.shared(
        (*whose, function.identity(), timeout), lambda: _made(function, timeout)
    )
    return client, function.find_key(), limiter(whose)


def is_own_server(function: HostedEmbedder) -> bool:
    """Tell whether the server is not the provider's, so that nobody bills for it."""
    return not named(urlsplit(function.base_url).hostname or "", function.hosts)


def _made(function: HostedEmbedder, timeout: float) -> Any:
    try:
        return function.make_client(function.find_key(), timeout)
    except EmbeddingError:
        raise
    except Exception as error:
        said = access.scrub(f"{type(error).__name__}: {error}", function.find_key())
        raise ConfigurationError(f"{function.registry_name}: {said}") from None
