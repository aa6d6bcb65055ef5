"""First fill, and second fill from the cache: rates, CPU and memory."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.hosted import server
from benchmarks.hosted.job import LANCEDB, LANGCHAIN, NOBODY, OURS, Job, WorkerError, run
from benchmarks.hosted.texts import texts


@dataclass(frozen=True)
class Contestant:
    """Someone who takes turns.

    Attributes
    ----------
    name : str
        As shown.
    who, what : str
        See `Job`.
    batch : int
        Rows of a record batch; 0: all in one.
    """

    name: str
    who: str
    what: str = "add"
    batch: int = 0


_NOBODY = Contestant("the server alone, answers thrown away", NOBODY, "discard", 2048)
_FIRST = (
    Contestant("cached-openai", OURS),
    Contestant("cached-openai, no table", OURS, "embed"),
    Contestant("cached-openai, batches of 2,048", OURS, batch=2048),
    Contestant("LanceDB's openai, batches of 2,048", LANCEDB, batch=2048),
    Contestant("LanceDB's openai, batches of 100", LANCEDB, batch=100),
)
_LANGCHAIN = Contestant("LangChain, file store, no table", LANGCHAIN, "embed")
_SECOND = (Contestant("cached-openai", OURS, "embed"), _LANGCHAIN)


@dataclass
class Line:
    """What one contestant came to, a value a round."""

    name: str
    rows: int
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    before: list[float] = field(default_factory=list)
    peak: list[float] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)

    def add(self, found: dict[str, Any], requests: int) -> None:
        """Add a round."""
        for name in ("seconds", "cpu", "before", "peak"):
            getattr(self, name).append(found[name])
        self.requests.append(requests)

    def rate(self) -> float:
        """Return the median of vectors a second."""
        return statistics.median(self.rows / seconds for seconds in self.seconds)

    def cpu_per_million(self) -> float:
        """Return the median of CPU seconds for a million vectors."""
        return statistics.median(cpu / self.rows * 1e6 for cpu in self.cpu)

    def memory(self) -> float:
        """Return the median of the peak in MiB."""
        return statistics.median(self.peak)

    def extra(self) -> float:
        """Return the median of what the peak grew by in MiB."""
        both = zip(self.peak, self.before, strict=True)
        return statistics.median(peak - before for peak, before in both)

    def as_dict(self) -> dict[str, Any]:
        """Return all values, for JSON."""
        return asdict(self)


class Speed:
    """Measures in turns against one server.

    Parameters
    ----------
    folder : pathlib.Path
        An empty folder.
    rounds : int
        Turns of each contestant.
    latency : float
        Seconds before each answer.
    langchain : str or None
        The Python that has LangChain.
    report : callable
        Told what runs now.
    """

    def __init__(
        self,
        folder: Path,
        rounds: int,
        latency: float,
        langchain: str | None,
        report: Callable[[str], None],
    ) -> None:
        self._folder, self._rounds, self.latency = folder, rounds, latency
        self._langchain, self._report = langchain, report
        self._texts = folder / "texts.json"

    def write_texts(self, count: int) -> None:
        """Write the texts that jobs read."""
        self._texts.write_text(json.dumps(texts(count)), encoding="utf-8")

    def first(self, rows: int, rate: float | None) -> list[Line]:
        """Fill a new table with an empty cache, against a server of so many texts a second."""
        contestants = self._present([*_FIRST, *([_LANGCHAIN] if rate is None else []), _NOBODY])
        lines = {each.name: Line(each.name, rows) for each in contestants}
        with server.serving(rate, self.latency) as url:
            for number in range(self._rounds):
                for each in contestants:
                    self._report(f"first fill, round {number + 1}: {each.name}")
                    folder = self._folder / "run"
                    folder.mkdir()
                    self._add(lines[each.name], each, url, folder, folder / "store", rows)
                    shutil.rmtree(folder)
        return list(lines.values())

    def second(self, counts: Sequence[int]) -> list[Line]:
        """Embed what the cache or store holds, the smallest count by LangChain too."""
        lines: list[Line] = []
        contestants = self._present(_SECOND)
        with server.serving(None, self.latency) as url:
            for each in contestants:
                rows = max(counts) if each.who == OURS else min(counts)
                self._report(f"filling the store of {each.name}")
                self._add(Line("", rows), each, url, self._folder, self._store(each), rows)
            for rows in sorted(counts):
                taking = [e for e in contestants if e.who == OURS or rows == min(counts)]
                found = [Line(each.name, rows) for each in taking]
                for number in range(self._rounds):
                    for line, each in zip(found, taking, strict=True):
                        self._report(f"second fill, round {number + 1}: {each.name}")
                        self._add(line, each, url, self._folder, self._store(each), rows)
                lines += found
        if any(any(line.requests) for line in lines):
            raise WorkerError("the second fill sent requests")
        return lines

    def _store(self, each: Contestant) -> Path:
        return self._folder / f"store-{each.who}"

    def _present(self, contestants: Sequence[Contestant]) -> list[Contestant]:
        return [each for each in contestants if each.who != LANGCHAIN or self._langchain]

    def _add(
        self, line: Line, each: Contestant, url: str, folder: Path, store: Path, rows: int
    ) -> None:
        before = server.requests(url)
        files = (str(folder), str(store), str(self._texts))
        job = Job(each.who, each.what, url, *files, rows, each.batch)
        python = {"python": self._langchain} if each.who == LANGCHAIN and self._langchain else {}
        found = run(job, **python)
        if found.get("error"):
            raise WorkerError(f"{each.name}: {found['error']}")
        line.add(found, server.requests(url) - before)
