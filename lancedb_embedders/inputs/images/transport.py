"""Connections to checked addresses only, on which everything ends when a fetch's time is up.

To be imported where pictures are fetched, not before: it needs httpcore, and makes the pool of
connections that all fetches of this process share.
"""

from __future__ import annotations

import concurrent.futures
import os
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Thread
from typing import Any

import httpcore
from typing_extensions import override

from lancedb_embedders.errors import ImageError
from lancedb_embedders.inputs.images.hosts import is_allowed
from lancedb_embedders.inputs.images.limits import ImageLimits

_LONGEST = 86_400.0  # seconds; beyond some number sockets take none
_KEPT = 16  # idle connections
_KEPT_FOR = 10.0  # seconds


@dataclass(frozen=True)
class Bounds:
    """What the fetch that runs in this thread may do.

    Attributes
    ----------
    limits : ImageLimits
        Hosts among them.
    deadline : float
        When it must be over, as `time.monotonic` counts.
    """

    limits: ImageLimits
    deadline: float

    def left(self) -> float:
        """Return the seconds that are left, or raise `ImageError`."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise self.late()
        return min(left, _LONGEST)

    def late(self) -> ImageError:
        """Return the error of a fetch that took too long."""
        return ImageError(
            f"not there within {self.limits.timeout:g} s; raise settings.image_timeout if it is "
            "worth the wait"
        )

    def allows(self, host: str, address: str) -> bool:
        """Tell whether `host` may be spoken to at `address`."""
        return is_allowed(address, host, self.limits.hosts)


_bounds: ContextVar[Bounds] = ContextVar("bounds of the fetch")


@contextmanager
def within(limits: ImageLimits) -> Iterator[Bounds]:
    """Bound everything that this thread does with the pool until the block ends."""
    bounds = Bounds(limits, time.monotonic() + limits.timeout)
    token = _bounds.set(bounds)
    try:
        yield bounds
    finally:
        _bounds.reset(token)


class _Stream(httpcore.NetworkStream):
    """A connection that takes the time left for each step, whoever uses it."""

    def __init__(self, stream: httpcore.NetworkStream, host: str, address: str) -> None:
        self._stream, self._host, self._address = stream, host, address

    @override
    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _bounds.get().left())

    @override
    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        bounds = _bounds.get()
        # Once more: whoever made this connection may have been allowed more.
        if not bounds.allows(self._host, self._address):
            raise _refused(self._host, [self._address])
        self._stream.write(buffer, bounds.left())

    @override
    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        # No certificate has the dot that may end a name.
        name = server_hostname.rstrip(".") if server_hostname else None
        try:
            stream = self._stream.start_tls(ssl_context, name, _bounds.get().left())
        except httpcore.ConnectError as error:
            if isinstance(error.__cause__, ssl.SSLCertVerificationError):
                reason = error.__cause__.verify_message
                raise ImageError(f"the certificate of {self._host} is not good: {reason}") from None
            raise
        return _Stream(stream, self._host, self._address)

    @override
    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    @override
    def close(self) -> None:
        self._stream.close()


class _Network(httpcore.NetworkBackend):
    """Resolves names itself, so that the address checked is the one that is connected to."""

    def __init__(self) -> None:
        self._sockets = httpcore.SyncBackend()

    @override
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        bounds = _bounds.get()
        found = _resolve(host, port, bounds)
        addresses = [address for address in found if bounds.allows(host, address)]
        if not addresses:
            raise _refused(host, found)
        failure: Exception | None = None
        for position, address in enumerate(addresses):
            # One that does not answer leaves time for those after it.
            share = bounds.left() / (len(addresses) - position)
            try:
                stream = self._sockets.connect_tcp(address, port, share, None, socket_options)
                return _Stream(stream, host, address)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        assert failure is not None
        raise failure


def _resolve(host: str, port: int, bounds: Bounds) -> list[str]:
    infos: concurrent.futures.Future[list[Any]] = concurrent.futures.Future()

    def look_up() -> None:
        try:
            infos.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:
            infos.set_exception(error)

    # In a thread of its own, because a look-up takes no time limit.
    Thread(target=look_up, name="picture-host", daemon=True).start()
    try:
        return list(dict.fromkeys(info[4][0] for info in infos.result(bounds.left())))
    except concurrent.futures.TimeoutError:
        raise bounds.late() from None
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            raise httpcore.ConnectError(f"{host}: {error.strerror}") from None
        raise ImageError(f"there is no host {host}") from None
    except UnicodeError:
        raise ImageError(f"no host can be called {host}") from None


def _refused(host: str, addresses: list[str]) -> ImageError:
    where = host if addresses == [host] else f"{host} ({', '.join(addresses)})"
    return ImageError(
        f"{where} is not on the public internet; if pictures may come from there, add it to "
        "settings.image_hosts (LANCEDB_EMBEDDERS_IMAGE_HOSTS)"
    )


def _new_pool() -> httpcore.ConnectionPool:
    return httpcore.ConnectionPool(
        ssl_context=httpcore.default_ssl_context(),
        max_connections=None,  # one a thread that fetches
        max_keepalive_connections=_KEPT,
        keepalive_expiry=_KEPT_FOR,
        network_backend=_Network(),
    )


pool = _new_pool()


def _renew() -> None:
    global pool
    pool = _new_pool()


if hasattr(os, "register_at_fork"):  # not on Windows
    # Two processes on one connection would read each other's pictures.
    os.register_at_fork(after_in_child=_renew)
