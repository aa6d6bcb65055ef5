"""A hub on 127.0.0.1: as much of Hugging Face's HTTP API as a download needs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

from typing_extensions import Self

_API = re.compile(
    r"/api/models/(?P<name>[^/]+/[^/]+)(/(?P<what>revision|tree)/(?P<revision>[^/]+))?"
)
_FILE = re.compile(r"/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")

Files = dict[str, bytes]


class Hub:
    """Serves what is published, and keeps what it was asked.

    Attributes
    ----------
    requests : list of str
        ``"GET /path"`` of each request, in order.
    tokens : set of str
        Values of the authorization headers that came.
    gated : dict
        Repository -> status of the answer to whoever wants one of its files: 401 or 403.
    broken : set of str
        ``"repository/file"`` that cannot be had, for an error of the hub's own.
    """

    def __init__(self) -> None:
        self._commits: dict[str, dict[str, Files]] = {}
        self._heads: dict[str, str] = {}
        self.requests: list[str] = []
        self.tokens: set[str] = set()
        self.gated: dict[str, int] = {}
        self.broken: set[str] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("H", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def publish(self, name: str, folder: Path, more: Mapping[str, bytes] | None = None) -> str:
        """Make a commit of all files in `folder` the newest of `name`, and return its id."""
        files = {
            file.relative_to(folder).as_posix(): file.read_bytes()
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }
        files.update(more or {})
        commit = hashlib.sha1(name.encode())
        for path, content in files.items():
            commit.update(path.encode() + content)
        self._commits.setdefault(name, {})[commit.hexdigest()] = files
        self._heads[name] = commit.hexdigest()
        return commit.hexdigest()

    def asked(self, text: str) -> list[str]:
        """Return the requests in which `text` occurs."""
        return [request for request in self.requests if text in request]

    def find(self, name: str, revision: str) -> tuple[str, Files] | None:
        commits = self._commits.get(name, {})
        commit = self._heads.get(name, "") if revision == "main" else revision
        return (commit, commits[commit]) if commit in commits else None


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        if "Authorization" in self.headers:
            self.hub.tokens.add(self.headers["Authorization"])
        asked = _API.fullmatch(path) or _FILE.fullmatch(path)
        if asked is None:
            self._send(404, b"")
            return
        found = self.hub.find(asked["name"], asked["revision"] or "main")
        if found is None:
            # To whoever is not logged in, the hub does not tell missing from private.
            status = 404 if "Authorization" in self.headers else 401
            self._send(status, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif asked.re is _API:
            self._send(
                200,
                json.dumps(_describe(asked["name"], asked["what"] or "revision", *found)).encode(),
            )
        elif asked["name"] in self.hub.gated:
            message = f"Access to model {asked['name']} is restricted."
            headers = {"X-Error-Code": "GatedRepo", "X-Error-Message": message}
            self._send(self.hub.gated[asked["name"]], message.encode(), headers)
        elif f"{asked['name']}/{asked['file']}" in self.hub.broken:
            self._send(410, b"")  # the client retries 5xx for half a minute
        else:
            commit, files = found
            content = files[asked["file"]]
            headers = {"ETag": f'"{_blob_id(content)}"', "X-Repo-Commit": commit}
            self._send(200, content, headers)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def _describe(name: str, what: str, commit: str, files: Files) -> Any:
    if what == "revision":
        siblings = [{"rfilename": path} for path in files]
        return {"id": name, "sha": commit, "private": False, "tags": [], "siblings": siblings}
    return [
        {"type": "file", "path": path, "size": len(content), "oid": _blob_id(content)}
        for path, content in files.items()
    ]


def _blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
