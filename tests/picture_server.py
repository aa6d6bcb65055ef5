"""A web server of pictures, and of all that can go wrong with them."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Thread
from typing import Any

from typing_extensions import Self

from tests.providers.handler import Server


@dataclass(frozen=True)
class Seen:
    """One request; names of headers in lower case, and the port it came from."""

    path: str
    headers: Mapping[str, str]
    client: int


class PictureServer:
    """Answers at each path as its route does.

    Parameters
    ----------
    certificate : pathlib.Path, optional
        File of a certificate and its key, to speak TLS with.

    Attributes
    ----------
    seen : list of Seen
        All requests, in order.

    Examples
    --------
    >>> with PictureServer() as server:
    ...     good = server.serve("/cat.png", b"...")
    ...     flaky = server.route("/flaky", first(2, answer(b"", status=503), answer(b"...")))
    """

    def __init__(self, certificate: Path | None = None) -> None:
        self.seen: list[Seen] = []
        self.routes: dict[str, Route] = {}
        self._http = Server(("127.0.0.1", 0), type("H", (Handler,), {"picture_server": self}))
        self._scheme = "http" if certificate is None else "https"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self._thread = Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._http.hang_up()
        self._thread.join()

    @property
    def port(self) -> int:
        return self._http.server_port

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @property
    def requests(self) -> int:
        """How many came."""
        return len(self.seen)

    def reset(self) -> None:
        """Forget all routes, and what was seen."""
        self.seen.clear()
        self.routes.clear()

    def serve(self, path: str, data: bytes, content_type: str = "image/png") -> str:
        """Answer with `data` at `path`; returns the URL."""
        return self.route(path, answer(data, {"Content-Type": content_type}))

    def route(self, path: str, route: Route) -> str:
        """Do as `route` says at `path`; returns the URL."""
        self.routes[path] = route
        return self.url + path

    def chain(self, path: str, redirects: int, data: bytes) -> str:
        """Answer with `data` after so many redirects that begin at `path`; returns the URL."""
        for n in range(redirects, 0, -1):
            self.route(f"{path}/{n}", redirect(f"{path}/{n - 1}"))
        self.serve(f"{path}/0", data)
        return f"{self.url}{path}/{redirects}"


class Handler(BaseHTTPRequestHandler):
    picture_server: PictureServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.picture_server.seen.append(Seen(self.path, headers, self.client_address[1]))
        plain = self.path.partition("?")[0]
        self.picture_server.routes.get(plain, answer(b"nothing is here", status=404))(self)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def send_head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


#: Answers a request.
Route = Callable[[Handler], None]


def answer(
    data: bytes,
    headers: Mapping[str, str] | None = None,
    status: int = 200,
    length: int | None = None,
) -> Route:
    """Answer with `data`; a `length` beyond what it has is a lie, and the connection ends."""

    def route(handler: Handler) -> None:
        said = len(data) if length is None else length
        handler.send_head(status, {"Content-Length": str(said), **(headers or {})})
        handler.wfile.write(data)
        if said > len(data):
            handler.hang_up()

    return route


def chunked(*chunks: bytes, complete: bool = True) -> Route:
    """Answer in chunks; all but the last if not `complete`, which is empty."""

    def route(handler: Handler) -> None:
        handler.send_head(200, {"Transfer-Encoding": "chunked"})
        for chunk in [*chunks, b""] if complete else chunks:
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        if not complete:
            handler.hang_up()

    return route


def redirect(location: str, status: int = 302, cookie: str = "") -> Route:
    return answer(b"", {"Location": location, **({"Set-Cookie": cookie} if cookie else {})}, status)


def endless(chunk: bytes = bytes(65536)) -> Route:
    """Answer without a length, and never end."""

    def route(handler: Handler) -> None:
        handler.send_head(200, {"Connection": "close"})
        while True:
            handler.wfile.write(chunk)

    return route


def drip(data: bytes, pause: float, at_once: int = 0) -> Route:
    """Send `data` as it is, status line and all, with a pause after each byte beyond `at_once`."""

    def route(handler: Handler) -> None:
        handler.wfile.write(data[:at_once])
        for byte in data[at_once:]:
            handler.wfile.write(bytes([byte]))
            time.sleep(pause)
        handler.hang_up()

    return route


def raw(data: bytes) -> Route:
    """Send `data` as it is, status line and all, and end the connection."""
    return drip(data, 0, at_once=len(data))


def drop() -> Route:
    """End the connection without an answer."""
    return Handler.hang_up


def first(times: int, route: Route, then: Route) -> Route:
    """Do as `route` says so many times, and as `then` says from then on."""
    routes = [route] * times

    def both(handler: Handler) -> None:
        (routes.pop() if routes else then)(handler)

    return both
