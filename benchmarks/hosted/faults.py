"""What each fault does: each case against a server of its own, in a process that is bounded."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.hosted.job import LANCEDB, OURS, Job, result_of, run, start
from benchmarks.hosted.server import DIMS, KEY, LATENCY
from benchmarks.hosted.texts import texts
from tests.providers import Fault, ProviderServer, Seen

_ROWS = 8192
_BATCH = 2048
_LONG_WORDS = 130  # about 200 tokens, so that 2,048 texts are beyond 300,000
_SLOW = 1024.0  # texts a second, so that answers come one by one
_MARKED = 5000  # the row that a fault picks


@dataclass(frozen=True)
class Case:
    """A fault.

    Attributes
    ----------
    name : str
        As shown.
    prepare : callable
        Told the server and the text of the marked row.
    key : str
        What the client has.
    limit : float or None
        Seconds after which it is ended, if not the usual number.
    words : int or None
        Of each text, if not the usual number.
    whole : bool
        Whether LanceDB is given one record batch.
    killed : bool
        Whether the process is killed after two answers, and started again.
    """

    name: str
    prepare: Callable[[ProviderServer, str], None] = lambda _server, _text: None
    key: str = KEY
    limit: float | None = None
    words: int | None = None
    whole: bool = False
    killed: bool = False


@dataclass(frozen=True)
class Outcome:
    """What one of the two did about it."""

    case: str
    who: str
    seconds: float
    requests: int
    texts: int
    ended: str
    rows: int
    nulls: int
    bad: int

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def _once(kind: str, seconds: float = 1.0) -> Callable[[ProviderServer, str], None]:
    def prepare(server: ProviderServer, text: str) -> None:
        server.fault(Fault(kind, when=lambda seen: text in seen.texts, seconds=seconds))

    return prepare


def _always(kind: str) -> Callable[[ProviderServer, str], None]:
    return lambda server, _: server.fault(Fault(kind, times=-1))


def _gateway(server: ProviderServer, _: str) -> None:
    def large(seen: Seen) -> bool:
        return len(seen.texts) > 1500

    server.fault(Fault("413", times=-1, when=large))


def _poison(server: ProviderServer, text: str) -> None:
    server.poison.add(text)


def _slowly(server: ProviderServer, _: str) -> None:
    server.processing_rate = _SLOW


CASES = (
    Case("none"),
    Case("all rows in one record batch", whole=True),
    Case("429 once, Retry-After 2 s", _once("429-retry-after", 2.0)),
    Case("500 once", _once("500")),
    Case("connection dropped once", _once("cut")),
    Case("insufficient_quota", _always("quota")),
    Case("one bad text", _poison),
    Case("wrong key", key="not-the-key"),
    Case("an answer that does not come", _once("slow", 600.0), limit=90.0),
    Case("413 above 1,500 texts", _gateway),
    Case("texts of 200 tokens", words=_LONG_WORDS),
    Case("NaN in an answer", _once("nan")),
    Case("killed after 2 answers, started again", _slowly, killed=True),
)


def measure(
    folder: Path, limit: float, chosen: list[str], report: Callable[[str], None]
) -> Iterator[Outcome]:
    """Run all cases, or the chosen ones, ours and theirs in turns."""
    for case in CASES:
        if chosen and case.name not in chosen:
            continue
        for who in (OURS, LANCEDB):
            report(f"{case.name}: {who}")
            own = folder / "case"
            own.mkdir()
            yield _run(case, who, own, case.limit or limit)
            shutil.rmtree(own)


def _run(case: Case, who: str, folder: Path, limit: float) -> Outcome:
    file, all_ = folder / "texts.json", texts(_ROWS, *([case.words] if case.words else []))
    file.write_text(json.dumps(all_), encoding="utf-8")
    with ProviderServer("hash", DIMS, LATENCY) as server:
        case.prepare(server, all_[_MARKED])
        batch = 0 if who == OURS or case.whole else _BATCH
        job = Job(
            who, "add", server.url, str(folder), str(folder / "store"), str(file), _ROWS, batch
        )
        started = time.monotonic()
        if case.killed:
            _kill_halfway(job, server)
        seconds, ended = _bounded(job, case.key, limit)
        if case.killed:
            seconds = time.monotonic() - started
        seen = server.counters()
        held = run(Job(**{**asdict(job), "what": "inspect"}))
    numbers = (held["rows"], held["nulls"], held["bad"])
    return Outcome(case.name, who, seconds, seen["requests"], seen["texts"], ended, *numbers)


def _bounded(job: Job, key: str, limit: float) -> tuple[float, str]:
    process = start(job, key=key)
    started = time.monotonic()
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return time.monotonic() - started, f"still trying after {limit:.0f} s"
    if process.returncode:
        return time.monotonic() - started, err.strip().rpartition("\n")[2]
    found = result_of(out)
    return found["seconds"], found["error"] or "done"


def _kill_halfway(job: Job, server: ProviderServer) -> None:
    process = start(job)
    while server.counters()["answered"] < 2 and process.poll() is None:
        time.sleep(0.01)
    time.sleep(1)  # the next answer comes in two seconds
    process.kill()
    process.communicate()
