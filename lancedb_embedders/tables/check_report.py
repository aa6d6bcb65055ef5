"""What a look over a table found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ColumnCheck:
    """What is known of a vector column.

    Attributes
    ----------
    vector : str
        The column.
    function, source : str or None
        The function's name in LanceDB's registry, and the column that it embeds; None: LanceDB
        does not embed this column, its vectors come from elsewhere.
    model, revision, written_by : str or None
        The model, its revision, and the version of this package that wrote the column.
    rows : int
        Rows of the table.
    missing : int
        Rows without a vector that have something to embed.
    empty : int
        Rows without a vector that have nothing to embed.
    stale : int or None
        Rows whose text has changed since their vector was made; None: no hashes are kept.
    unknown : int or None
        Rows with a vector and no hash: added by a program that knows nothing of hashes.
    sampled : int
        Random rows that were embedded again.
    foreign : int
        Those of them whose vector is not what the function gives today, cosine below 0.99.
    cosine : tuple of float or None
        Lowest and median cosine of stored vectors and those of today, in the sample.
    problem : str or None
        Why the function cannot be used: another model under its name, one that is not found.
    pending : tuple of str
        Vector indexes that are still to be built again.
    """

    vector: str
    rows: int
    function: str | None = None
    source: str | None = None
    model: str | None = None
    revision: str | None = None
    written_by: str | None = None
    missing: int = 0
    empty: int = 0
    stale: int | None = None
    unknown: int | None = None
    sampled: int = 0
    foreign: int = 0
    cosine: tuple[float, float] | None = None
    problem: str | None = None
    pending: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing was found that should be mended."""
        wrong = self.missing or self.stale or self.foreign or self.problem or self.pending
        return self.function is not None and not wrong

    def __str__(self) -> str:
        if self.function is None:
            return (
                f"{self.vector}: foreign, {self.rows:,} rows; no function is recorded. "
                "tables.attach gives it one"
            )
        made = " ".join(part for part in (self.model, self.revision) if part)
        by = f", written by lancedb-embedders {self.written_by}" if self.written_by else ""
        lines = [f"{self.vector}: {self.function} of {self.source!r}, {made or 'no model'}{by}"]
        stale = "stale unknown, no hashes" if self.stale is None else f"{self.stale:,} stale"
        unknown = f", {self.unknown:,} without a hash" if self.unknown else ""
        lines.append(
            f"  {self.rows:,} rows: {self.missing:,} missing, {self.empty:,} empty, "
            f"{stale}{unknown}"
        )
        if self.cosine is not None:
            lines.append(
                f"  {self.sampled:,} random rows embedded again: {self.foreign:,} foreign, "
                f"cosine {self.cosine[0]:.4f} at the lowest, {self.cosine[1]:.4f} in the median"
            )
        if self.pending:
            lines.append(f"  index to be built: {', '.join(self.pending)}")
        if self.problem:
            lines.append(f"  {self.problem}")
        return "\n".join(lines)


@dataclass(frozen=True)
class TableCheck:
    """What is known of a table's vectors.

    Attributes
    ----------
    version, rows : int
        Of the table.
    columns : tuple of ColumnCheck
        Its vector columns.
    unfinished : tuple of str
        Folders of work that was begun and not finished; the same call again goes on with it.
    """

    version: int
    rows: int
    columns: tuple[ColumnCheck, ...]
    unfinished: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing was found that should be mended."""
        return all(column.ok for column in self.columns) and not self.unfinished

    def __str__(self) -> str:
        lines = [f"version {self.version}, {self.rows:,} rows", *map(str, self.columns)]
        if self.unfinished:
            lines.append(
                f"unfinished work: {', '.join(self.unfinished)}; the same call again goes on, "
                "tables.discard deletes it"
            )
        return "\n".join(lines)
