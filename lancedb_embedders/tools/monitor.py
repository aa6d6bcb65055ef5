"""`QualityMonitor`: whether vectors are what they should be, now and over time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any, Literal

from lancedb_embedders import observers
from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.tools.given import function_of
from lancedb_embedders.tools.watch.drift import FEWEST, compared
from lancedb_embedders.tools.watch.history import Entry, History, Memory
from lancedb_embedders.tools.watch.inspection import inspected
from lancedb_embedders.tools.watch.limits import Limits
from lancedb_embedders.tools.watch.metrics_export import exporter
from lancedb_embedders.tools.watch.periods import period_of, period_of_rows
from lancedb_embedders.tools.watch.report import Drift, Finding, Quality
from lancedb_embedders.tools.watch.rows import Rows, rows_of
from lancedb_embedders.tools.watch.table_rows import embedding_function, table_rows
from lancedb_embedders.tools.watch.watcher import Watcher

__all__ = ["Drift", "Finding", "Limits", "Quality", "QualityMonitor"]


class QualityMonitor:
    """Checks vectors: of a batch, of a table, or of all that is written; and keeps what it found.

    How vectors spread is judged against what their function gives for a few hundred ordinary
    sentences that come with this package, and not against a constant.

    Parameters
    ----------
    function : Embedder, str or os.PathLike, optional
        What makes the vectors: a function, its registry name, or a model. None: tables say it
        themselves; a bare batch is then not compared with ordinary text.
    name : str, default "vectors"
        What is monitored. Checks of a name are compared with each other.
    history : lancedb.DBConnection, str or os.PathLike, optional
        Database that keeps the checks, in the table ``lancedb_embedders_quality``; None: they are
        kept as long as the monitor.
    limits : Limits, optional
        From where on something is a finding.
    on_finding : callable, optional
        Called with each finding and the `Quality` that it is part of.
    window : int, default 1000
        Rows that are gathered while watching before they are checked.
    seed : int, default 0
        Of random samples.

    Raises
    ------
    ConfigurationError
        No such function, no database, or a table of that name with other columns.

    Examples
    --------
    >>> import numpy as np
    >>> vectors = np.random.default_rng(0).normal(size=(100, 64))
    >>> vectors[7] = np.nan
    >>> [finding.code for finding in QualityMonitor().check(vectors).findings]
    ['non_finite']
    """

    def __init__(
        self,
        function: Embedder | str | os.PathLike[str] | None = None,
        *,
        name: str = "vectors",
        history: Any = None,
        limits: Limits | None = None,
        on_finding: Callable[[Finding, Quality], None] | None = None,
        window: int = 1000,
        seed: int = 0,
    ) -> None:
        if window < 1:
            raise ConfigurationError(f"window={window} gathers nothing; use 1 or more")
        self.function = None if function is None else function_of(function)
        self.name = name
        self.limits = limits or Limits()
        self._kept: History | Memory = Memory() if history is None else History(history)
        self._tell: list[Callable[[Quality], None]] = []
        self._on_finding = on_finding
        self._window = window
        self._seed = seed
        self._watchers: list[Watcher] = []
        self._lock = threading.Lock()

    # -- one check --------------------------------------------------------------------------------

    def check(self, vectors: Any, texts: Any = None) -> Quality:
        """Check a batch, and keep what was found.

        Parameters
        ----------
        vectors : numpy.ndarray, pyarrow.Array, pyarrow.ChunkedArray or sequence
            Shape ``(n, dim)``; or a row each, of shape ``(dim,)`` or ``(vectors, dim)``, None for
            rows without a vector. float32, float16, or uint8 of packed bits.
        texts : sequence of str, optional
            What each row was made from. Without, nothing can be said of texts, nor of vectors
            that different texts share.

        Raises
        ------
        InputError
            Rows that are no vectors or differ in size, or another number of texts.
        """
        return self._checked(rows_of(vectors, texts), self.function)

    def check_table(
        self,
        table: Any,
        vector: str | None = None,
        *,
        sample: int = 2000,
        since_version: int | None = None,
    ) -> Quality:
        """Check random rows of a table, and keep what was found.

        Parameters
        ----------
        table : lancedb.table.Table
            A table of the synchronous API.
        vector : str, optional
            The vector column; None: the only one.
        sample : int, default 2000
            Rows that are read at most.
        since_version : int, optional
            Only rows of files that were written after this version; needs the extra ``tables``.

        Raises
        ------
        ConfigurationError
            No such column or version, or no rows.
        """
        read = table_rows(table, vector, sample, since_version, self._seed)
        return self._checked(read.rows, read.function or self.function)

    # -- periods ----------------------------------------------------------------------------------

    def compare(self, before: Any, after: Any, *, alpha: float = 0.01) -> Drift:
        """Test whether two sets of vectors are alike; nothing is kept.

        Parameters
        ----------
        before, after : numpy.ndarray, pyarrow.Array or sequence
            Vectors as `check` takes them; 20 or more each, of which 500 are compared.
        alpha : float, default 0.01
            Probability of a false alarm, over all tests.

        Raises
        ------
        ConfigurationError
            Too few vectors, or of different sizes.
        """
        first, second = (period_of_rows(rows_of(vectors)) for vectors in (before, after))
        return compared(first, second, alpha=alpha, seed=self._seed)

    def drift(self, at: datetime | None = None, *, alpha: float = 0.01) -> Drift:
        """Test whether what was checked before a time is like what was checked from then on.

        Parameters
        ----------
        at : datetime.datetime, optional
            The time, local if it has no zone; None: that of the last check.
        alpha : float, default 0.01
            Probability of a false alarm, over all tests.

        Raises
        ------
        ConfigurationError
            The history has fewer than 20 vectors before the time, or from then on; or they are of
            two sizes.
        """
        before, after = map(period_of, self._periods(at))
        return compared(before, after, alpha=alpha, seed=self._seed)

    @property
    def has_periods(self) -> bool:
        """Whether the last check, and those before it, have the vectors that `drift` needs."""
        parts = self._periods(None)
        return all(sum(len(entry.vectors) for entry in part) >= FEWEST for part in parts)

    @property
    def history(self) -> tuple[Quality, ...]:
        """All checks of this name, those of other processes too, the oldest first."""
        return tuple(entry.quality for entry in self._entries())

    # -- watching ---------------------------------------------------------------------------------

    @contextmanager
    def watching(self, target: Any = None, vector: str | None = None) -> Iterator[QualityMonitor]:
        """Check all that is written in a block through a function; see `attach`.

        What was gathered is checked when the block ends.
        """
        watcher = self._attached(target, vector)
        try:
            yield self
        finally:
            self._stop([watcher])

    def attach(self, target: Any = None, vector: str | None = None) -> None:
        """Check all that this process writes through a function, until `detach`.

        Windows of rows are checked on a thread of their own; findings become an
        `EmbeddingWarning`, and so does whatever goes wrong here: no write is changed or fails.

        Parameters
        ----------
        target : Embedder, str or lancedb.table.Table, optional
            A function, a registry name, or a table with one; every equally configured function
            counts. None: that of the monitor.
        vector : str, optional
            The table's vector column, if there are several.

        Raises
        ------
        ConfigurationError
            No function.
        """
        self._attached(target, vector)

    def detach(self) -> None:
        """Watch no more; what was gathered is checked."""
        self._stop(list(self._watchers))

    def flush(self) -> None:
        """Check what was gathered while watching, and wait until it is done."""
        for watcher in list(self._watchers):
            watcher.flush()

    # -- out --------------------------------------------------------------------------------------

    def export(self, to: Literal["prometheus", "opentelemetry"], into: Any = None) -> None:
        """Report every check from now on as metrics: numbers and names, no texts.

        Parameters
        ----------
        to : {"prometheus", "opentelemetry"}
            As what.
        into : prometheus_client.CollectorRegistry or opentelemetry.metrics.Meter, optional
            None: the registry, or the meter provider, of the process.

        Raises
        ------
        ConfigurationError
            Another `to`.
        MissingExtraError
            ``prometheus-client``, or ``opentelemetry-api``, is not installed.
        """
        self._tell.append(exporter(to, into))

    def write_html(self, path: str | os.PathLike[str]) -> None:
        """Write the history as one page that needs nothing else, and runs no script.

        Parameters
        ----------
        path : str or os.PathLike
            File to write.

        Raises
        ------
        ConfigurationError
            There is no check yet.
        MissingExtraError
            The extra ``tools`` is not installed.
        """
        from lancedb_embedders.tools.watch.dashboard import write_dashboard

        write_dashboard(self.name, self._entries(), path)

    # -- within -----------------------------------------------------------------------------------

    def _checked(self, rows: Rows, function: Embedder | None) -> Quality:
        entry = inspected(rows, function, self.name, self.limits, self._seed)
        self._kept.add(entry)
        quality = entry.quality
        for told in self._tell:
            told(quality)
        if self._on_finding is not None:
            for finding in quality.findings:
                self._on_finding(finding, quality)
        return quality

    def _entries(self) -> list[Entry]:
        self.flush()
        return self._kept.entries(self.name)

    def _periods(self, at: datetime | None) -> tuple[list[Entry], list[Entry]]:
        entries = self._entries()
        if at is None:
            return entries[:-1], entries[-1:]
        moment = at.astimezone(timezone.utc)
        before = [entry for entry in entries if entry.quality.at < moment]
        return before, entries[len(before) :]

    def _attached(self, target: Any, vector: str | None) -> Watcher:
        function = self.function if target is None else embedding_function(target, vector)
        if function is None:
            raise ConfigurationError("say what to watch: a function, or a table that has one")
        watcher = Watcher(function, self._watched, self._window)
        with self._lock:
            self._watchers.append(watcher)
        return watcher

    def _watched(self, function: Embedder, vectors: list[Any], texts: list[Any]) -> None:
        quality = self._checked(rows_of(vectors, texts), function)
        for finding in quality.findings:
            observers.report(f"{self.name}: {finding.message}")

    def _stop(self, watchers: Sequence[Watcher]) -> None:
        with self._lock:
            self._watchers = [one for one in self._watchers if one not in watchers]
        for watcher in watchers:
            watcher.stop()
