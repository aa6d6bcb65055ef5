"""HTTP as it goes over the wire."""

from __future__ import annotations

import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import TYPE_CHECKING, Any

from tests.providers.wire import CutError, Reply

if TYPE_CHECKING:
    from tests.providers.server import ProviderServer

_numbers = count(1)


class Handler(BaseHTTPRequestHandler):
    provider_server: ProviderServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_DELETE(self) -> None:
        self._handle()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def _handle(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            reply = self.provider_server.handle(self.command, self.path, headers, content)
        except CutError as cut:
            self.close_connection = True
            if cut.sent:
                self._send(Reply(200, cut.sent), len(cut.sent) // 2)
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self._send(reply, len(reply.body))

    def _send(self, reply: Reply, most: int) -> None:
        self.send_response(reply.status)
        headers = {
            "content-type": reply.content_type,
            "content-length": str(len(reply.body)),
            "x-request-id": f"req_{next(_numbers)}",
            **reply.headers,
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body[:most])


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._open: set[Any] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        for request in list(self._open):
            self.shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that go away are part of what is tested."""
