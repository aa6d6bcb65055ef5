"""Runs jobs in processes of their own, the two contestants in turns."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.contestants import CONTESTANTS, ENVIRONMENT
from benchmarks.corpus import Corpus
from benchmarks.job import Job, Result

_ROOT = Path(__file__).resolve().parent.parent


class WorkerError(RuntimeError):
    """A job failed; the message holds the end of what its process said."""


class Bench:
    """What topics measure with.

    Parameters
    ----------
    corpus : Corpus
        Texts to embed.
    rounds : int
        How often each contestant has its turn.
    folder : pathlib.Path
        An empty folder for databases.
    report : callable
        Told what runs now.
    """

    def __init__(
        self, corpus: Corpus, rounds: int, folder: Path, report: Callable[[str], None]
    ) -> None:
        self.corpus = corpus
        self.rounds = rounds
        self._folder = folder
        self.report = report
        self._prepared: dict[tuple[str, int], Path] = {}

    def in_turns(
        self,
        module: str,
        texts: Sequence[str],
        *,
        table_rows: int | None = None,
        rounds: int | None = None,
    ) -> dict[str, list[Result]]:
        """Run ``measure`` of `module` for each contestant in turn, and again each round.

        Parameters
        ----------
        module : str
            Where ``measure(job)`` is.
        texts : sequence of str
            Handed to the job.
        table_rows : int, optional
            How many rows the table has that each run gets a fresh copy of; None: no table.
        rounds : int, optional
            In place of the usual number.
        """
        databases = {
            who: None if table_rows is None else self._prepare(who, table_rows)
            for who in CONTESTANTS
        }
        results: dict[str, list[Result]] = {who: [] for who in CONTESTANTS}
        total = rounds or self.rounds
        for number in range(1, total + 1):
            for who, database in databases.items():
                self.report(f"{module.rsplit('.', 1)[-1]}: {who}, round {number} of {total}")
                results[who].append(self.run(module, texts, who, database))
        return results

    def run(
        self, module: str, texts: Sequence[str], who: str = "", database: Path | None = None
    ) -> Result:
        """Run one job, on a copy of `database` if there is one."""
        folder = self._folder / "run"
        folder.mkdir()
        try:
            if database is not None:
                shutil.copytree(database, folder / "db")
            return self._start(module, texts, who, folder)
        finally:
            shutil.rmtree(folder)

    def _prepare(self, who: str, rows: int) -> Path:
        if (who, rows) not in self._prepared:
            folder = self._folder / f"{who}-{rows}"
            folder.mkdir()
            self.report(f"table of {rows:,} rows: {who}")
            self._start("benchmarks.prepare", self.corpus.texts[:rows], who, folder)
            self._prepared[who, rows] = folder / "db"
        return self._prepared[who, rows]

    def _start(self, module: str, texts: Sequence[str], who: str, folder: Path) -> Result:
        texts_file, result_file = folder / "texts.json", folder / "result.json"
        texts_file.write_text(json.dumps(list(texts)), encoding="utf-8")
        # Wall-clock time, because it is the one clock that two processes surely share.
        job = Job(module, who, str(folder), str(texts_file), str(result_file), time.time())
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.worker", job.dumps()],
            cwd=_ROOT,
            env={**os.environ, **ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise WorkerError(f"{module} failed for {who}:\n{done.stderr[-2000:]}")
        result: Result = json.loads(result_file.read_text(encoding="utf-8"))
        return result
