"""A server that speaks chat completions, and says what a test has told it to."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

from typing_extensions import Self

KEY = "sk-chat-secret-0815-abcdefgh"

#: What is said: a text, or (status, body, headers) of an error.
Said = str | tuple[int, Any, dict[str, str]]


def answer(*paraphrases: Any) -> str:
    return json.dumps({"paraphrases": list(paraphrases)})


class ChatServer:
    """Answers ``POST /v1/chat/completions``.

    Parameters
    ----------
    say : callable
        Takes the text to paraphrase and which time it is asked for (from 0); returns what is said.

    Attributes
    ----------
    seen : list of dict
        The body of every request, with what was in the tags as ``"text"``.
    finish : str
        ``finish_reason`` of answers.
    refusal : str or None
        ``refusal`` of answers.
    """

    def __init__(self, say: Callable[[str, int], Said], formats: bool = True) -> None:
        self.say, self.formats = say, formats
        self.seen: list[dict[str, Any]] = []
        self.finish = "stop"
        self.refusal: str | None = None
        self._lock = Lock()
        self._times: dict[str, int] = {}
        handler = type("Handler", (_Handler,), {"chat": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self._thread = Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def handle(self, key: str | None, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        found = re.search(r"<text>\n(.*)\n</text>", body["messages"][-1]["content"], re.DOTALL)
        text = found[1] if found else ""
        with self._lock:
            self.seen.append({**body, "text": text})
        if key != f"Bearer {KEY}":
            error = {"message": f"Incorrect API key provided: {key}.", "code": "invalid_api_key"}
            return 401, {"error": error}, {}
        if not self.formats and "response_format" in body:
            error = {"message": "unknown field response_format", "param": "response_format"}
            return 400, {"error": error}, {}
        with self._lock:
            time = self._times.get(text, 0)
            self._times[text] = time + 1
        said = self.say(text, time)
        if not isinstance(said, str):
            return said
        message = {"role": "assistant", "content": said, "refusal": self.refusal}
        choice = {"index": 0, "message": message, "finish_reason": self.finish}
        return (
            200,
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": [choice],
                "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
            },
            {},
        )


class _Handler(BaseHTTPRequestHandler):
    chat: ChatServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, body, headers = self.chat.handle(
            self.headers.get("Authorization"), json.loads(content)
        )
        sent = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass
