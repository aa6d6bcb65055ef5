"""Files and batches, which OpenAI and Voyage have alike."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from tests.providers.routes import OPENAI, VOYAGE
from tests.providers.wire import Provider, RefusalError, Reply, dump

if TYPE_CHECKING:
    from tests.providers.server import ProviderServer

MOST_REQUESTS = 50_000
MOST_INPUTS = {OPENAI.name: 50_000, VOYAGE.name: 100_000}

_PATH = re.compile(r"/v1/(files|batches)(?:/([^/]+))?(?:/(content|cancel))?")
_NAME = re.compile(rb'name="([^"]*)"(?:; filename="([^"]*)")?')


@dataclass
class _File:
    about: dict[str, Any]
    content: bytes


@dataclass
class _Batch:
    about: dict[str, Any]
    provider: Provider
    headers: Mapping[str, str]
    params: dict[str, Any]
    polls: int = 0
    outcome: str = ""
    lines: list[dict[str, Any]] = field(default_factory=list)


class Batches:
    """What clients uploaded, and the batches made of it.

    A batch is `validating` at first and `in_progress` when it is asked after; when it has been
    asked after often enough, its lines are answered in one go.
    """

    def __init__(self, server: ProviderServer) -> None:
        self._server = server
        self._files: dict[str, _File] = {}
        self._batches: dict[str, _Batch] = {}
        self._numbers = count(1)
        self._lock = Lock()

    def clear(self) -> None:
        self._files.clear()
        self._batches.clear()

    def handle(
        self, method: str, path: str, headers: Mapping[str, str], content: bytes
    ) -> Reply | None:
        """Answer what is about files and batches, and nothing else."""
        parts = urlsplit(path)
        found = _PATH.fullmatch(parts.path)
        if found is None:
            return None
        kind, name, what = found.groups()
        problem = self._server.authorize(OPENAI, headers)
        if problem:
            return OPENAI.refuse(problem)
        with self._lock:
            if name and name not in (self._files if kind == "files" else self._batches):
                error = OPENAI.error("404", 404, f"No such {kind}: {name}", {"code": None})
                return Reply(404, dump(error))
            if kind == "files":
                return self._about_file(method, name, what, headers, content)
            if method == "POST" and not name:
                return self._create(json.loads(content), headers)
            if name:
                return self._about_batch(self._batches[name], cancel=what == "cancel")
            return self._list(dict(parse_qsl(parts.query)))

    def _about_file(
        self,
        method: str,
        name: str | None,
        what: str | None,
        headers: Mapping[str, str],
        content: bytes,
    ) -> Reply:
        if name is None:
            if method != "POST":
                return Reply(200, dump(_page([file.about for file in self._files.values()], {})))
            form = _form(headers["content-type"], content)
            filename, data = form["file"]
            return Reply(200, dump(self._keep(filename, data, form["purpose"][1].decode())))
        file = self._files[name]
        if method == "DELETE":
            del self._files[name]
            return Reply(200, dump({"id": name, "object": "file", "deleted": True}))
        if what == "content":
            return Reply(200, file.content, {}, "application/octet-stream")
        return Reply(200, dump(file.about))

    def _keep(self, filename: str, content: bytes, purpose: str) -> dict[str, Any]:
        about: dict[str, Any] = {
            "id": f"file-{next(self._numbers)}",
            "object": "file",
            "bytes": len(content),
            "created_at": int(time.time()),
            "filename": filename,
            "purpose": purpose,
            "status": "processed",
        }
        self._files[about["id"]] = _File(about, content)
        return about

    def _create(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> Reply:
        voyage = "request_params" in body or body.get("completion_window") == "12h"
        provider: Provider = VOYAGE if voyage else OPENAI
        if body.get("input_file_id") not in self._files:
            message = f"File not found: {body.get('input_file_id')}"
            return provider.refuse(RefusalError("400", message, param="input_file_id"))
        about: dict[str, Any] = {
            "id": f"batch_{next(self._numbers)}",
            "object": "batch",
            "endpoint": body["endpoint"],
            "errors": None,
            "input_file_id": body["input_file_id"],
            "completion_window": body["completion_window"],
            "status": "validating",
            "output_file_id": None,
            "error_file_id": None,
            "created_at": _now(provider),
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "metadata": body.get("metadata"),
        }
        params = body.get("request_params") or {}
        if voyage:
            about["request_params"] = params
        batch = _Batch(about, provider, headers, params)
        self._validate(batch)
        self._batches[about["id"]] = batch
        return Reply(200, dump(about))

    def _validate(self, batch: _Batch) -> None:
        """Read the lines; what is wrong with them shows when the batch is asked after."""
        content = self._files[batch.about["input_file_id"]].content
        try:
            batch.lines = [json.loads(line) for line in content.splitlines() if line.strip()]
            names = {line["custom_id"] for line in batch.lines}
            inputs = sum(_inputs(line["body"]["input"]) for line in batch.lines)
        except (ValueError, KeyError, TypeError):
            return _fail(batch, "invalid_json_line", "This line is not parseable as valid JSON.")
        most = MOST_INPUTS[batch.provider.name]
        if not batch.lines:
            _fail(batch, "empty_file", "The batch input file is empty.")
        elif len(names) < len(batch.lines):
            _fail(batch, "duplicate_custom_id", "The custom_id values must be unique.")
        elif len(batch.lines) > MOST_REQUESTS:
            message = f"The batch has {len(batch.lines)} requests; at most {MOST_REQUESTS} may be."
            _fail(batch, "too_many_tasks", message)
        elif inputs > most:
            message = f"The batch has {inputs} embedding inputs; at most {most} may be."
            _fail(batch, "too_many_inputs", message)
        return None

    def _about_batch(self, batch: _Batch, cancel: bool) -> Reply:
        batch.polls += 1
        about, outcome = batch.about, batch.outcome or self._server.batch_outcome
        if about["status"] not in ("validating", "in_progress"):
            return Reply(200, dump(about))
        if cancel or (outcome == "cancelled" and batch.polls >= self._server.batch_polls):
            self._finish(batch, "cancelled")
        elif batch.polls < self._server.batch_polls:
            about["status"] = "in_progress"
            about["in_progress_at"] = _now(batch.provider)
            about["request_counts"]["total"] = len(batch.lines)
        elif outcome == "failed":
            if not about["errors"]:
                message = "Enqueued token limit reached. Please try again once some in_progress "
                _fail(batch, "token_limit_exceeded", message + "batches have been completed.")
            about["status"] = "failed"
            about["failed_at"] = _now(batch.provider)
        else:
            self._finish(batch, outcome)
        return Reply(200, dump(about))

    def _finish(self, batch: _Batch, outcome: str) -> None:
        # A batch that was ended has what was done until then.
        whole = outcome == "completed"
        most = len(batch.lines) if whole else len(batch.lines) // 2
        answers: list[bytes] = []
        errors: list[bytes] = []
        for at, line in enumerate(batch.lines):
            result = {"id": f"batch_req_{at}", "custom_id": line["custom_id"]}
            if at < most:
                reply = self._line(batch, line["body"])
                (answers if reply.status == 200 else errors).append(
                    b'%b,"response":{"status_code":%d,"request_id":"req_%d","body":%b},"error":null}'
                    % (dump(result)[:-1], reply.status, at, reply.body)
                )
            else:
                message = "This request could not be executed before the batch ended."
                error = {"code": f"batch_{outcome}", "message": message}
                errors.append(dump({**result, "response": None, "error": error}))
        # The order of lines means nothing, as the providers say.
        for kind, lines in {"output": answers[::-1], "error": errors}.items():
            if lines:
                content = b"\n".join(lines) + b"\n"
                kept = self._keep(f"{batch.about['id']}_{kind}.jsonl", content, "batch_output")
                batch.about[f"{kind}_file_id"] = kept["id"]
        batch.about["status"] = outcome
        batch.about[f"{outcome}_at"] = _now(batch.provider)
        batch.about["request_counts"] = {
            "total": len(batch.lines),
            "completed": len(answers),
            "failed": len(errors),
        }

    def _line(self, batch: _Batch, body: Mapping[str, Any]) -> Reply:
        provider = batch.provider
        try:
            ask = provider.ask("/v1/embeddings", {**batch.params, **body})
            seen = self._server.record(provider, "/v1/batches", batch.headers, ask, True)
            reply = self._server.embed(provider, ask)
        except RefusalError as refusal:
            return provider.refuse(refusal)
        seen.status = reply.status
        return reply

    def _list(self, query: Mapping[str, str]) -> Reply:
        newest_first = [batch.about for batch in reversed(self._batches.values())]
        return Reply(200, dump(_page(newest_first, query)))


def _fail(batch: _Batch, code: str, message: str) -> None:
    batch.outcome = "failed"
    error = {"code": code, "message": message, "param": None, "line": None}
    batch.about["errors"] = {"object": "list", "data": [error]}


def _page(items: list[dict[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
    names = [item["id"] for item in items]
    start = names.index(query["after"]) + 1 if query.get("after") in names else 0
    shown = items[start : start + int(query.get("limit", 20))]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": start + len(shown) < len(items),
    }


def _inputs(given: Any) -> int:
    return 1 if isinstance(given, str) else len(given)


def _now(provider: Provider) -> int | str:
    now = datetime.now(timezone.utc)
    return now.isoformat() if provider is VOYAGE else int(now.timestamp())


def _form(content_type: str, content: bytes) -> dict[str, tuple[str, bytes]]:
    """Return the filename and the content of each field of a multipart form."""
    boundary = content_type.partition("boundary=")[2].strip('"').encode()
    found = {}
    for part in content.split(b"--" + boundary)[1:-1]:
        head, _, data = part.partition(b"\r\n\r\n")
        names = _NAME.search(head)
        if names:
            found[names[1].decode()] = ((names[2] or b"").decode(), data[:-2])
    return found
