"""A server on 127.0.0.1 that speaks the embedding APIs of several providers."""

from tests.providers.server import ProviderServer
from tests.providers.wire import Fault, Seen

__all__ = ["Fault", "ProviderServer", "Seen"]
