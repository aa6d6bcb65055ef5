"""What is selected in a slice of a table, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lancedb_embedders.functions.content_hash import compared
from lancedb_embedders.tables.columns import joined
from lancedb_embedders.tables.job import Job
from lancedb_embedders.tables.slices import Slice, counted_fields, state_of


@dataclass(frozen=True)
class Read:
    """Rows of a slice that are selected.

    Attributes
    ----------
    one : Slice
        The slice.
    alive : int
        Its rows that are not deleted.
    offsets : numpy.ndarray
        The selected ones, from 0 at the start of the slice.
    values : pyarrow.Array
        What is to be embedded there.
    row_ids : numpy.ndarray
        LanceDB's ``_rowid`` of them.
    """

    one: Slice
    alive: int
    offsets: npt.NDArray[Any]
    values: pa.Array
    row_ids: npt.NDArray[Any]


class Reader:
    """Reads slices of a job.

    Parameters
    ----------
    job : Job
        What is to be done.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self._dataset: Any = None
        self._met: tuple[tuple[int, str], npt.NDArray[np.int64]] | None = None

    def read(self, one: Slice) -> Read | None:
        """Return what is selected in a slice; None: its fragment is no longer what it was."""
        fragment = self._fragment(one)
        if fragment is None:
            return None
        columns = [self.job.source]
        kind = self.job.selection.kind
        if kind in ("missing", "late"):
            columns.append(self.job.vector)
        elif kind == "changed":
            columns += [self.job.vector, str(self.job.hashed)]
        table = fragment.scanner(
            columns=columns,
            offset=one.start,
            limit=one.rows,
            include_deleted_rows=True,
            with_row_id=True,
        ).to_table()
        alive = _mask(pc.is_valid(table["_rowid"]))
        chosen = alive & self._chosen(table, fragment, one)
        offsets = np.flatnonzero(chosen)
        values = joined(table[self.job.source].filter(pa.array(chosen)))
        row_ids = table["_rowid"].filter(pa.array(chosen)).to_numpy()
        return Read(one, int(alive.sum()), offsets, values, row_ids)

    def _fragment(self, one: Slice) -> Any:
        """Return a slice's fragment, if it is still what it was when the slice was cut."""
        for newest in (False, True):
            if self._dataset is None or newest:
                self._dataset = self.job.place.dataset()
            fragment = self._dataset.get_fragment(one.fragment)
            fields = counted_fields(self._dataset, self.job)
            if fragment is not None and state_of(fragment.metadata, fields) == one.state:
                return fragment
        return None

    def _chosen(self, table: pa.Table, fragment: Any, one: Slice) -> npt.NDArray[np.bool_]:
        selection = self.job.selection
        source = table[self.job.source]
        if selection.kind in ("missing", "late"):
            return _mask(pc.and_(pc.is_null(table[self.job.vector]), pc.is_valid(source)))
        if selection.kind == "changed":
            then = table[str(self.job.hashed)]
            differs, unkept = compared(source, then)
            # A text that is gone leaves no hash, and its vector must go too.
            left = pc.or_(pc.is_valid(table[self.job.vector]), pc.is_valid(then))
            gone = pc.and_(pc.is_null(source), left)
            return _mask(pc.or_(pc.or_(differs, unkept), gone))
        mask = np.ones(len(table), dtype=bool)
        if selection.kind == "where":
            offsets = self._matching(fragment, one.state)
            first, last = np.searchsorted(offsets, [one.start, one.stop])
            mask[:] = False
            mask[offsets[first:last] - one.start] = True
        return mask

    def _matching(self, fragment: Any, state: str) -> npt.NDArray[np.int64]:
        """Return the rows of a fragment that meet the condition, which is asked once for all."""
        key = fragment.fragment_id, state
        if self._met is None or self._met[0] != key:
            found = fragment.scanner(
                columns=[], filter=self.job.selection.where, with_row_address=True
            ).to_table()
            # The low half of an address is the row within its fragment.
            offsets = (found["_rowaddr"].to_numpy() & 0xFFFFFFFF).astype(np.int64)
            self._met = key, np.sort(offsets)
        return self._met[1]


def _mask(values: pa.ChunkedArray | pa.Array) -> npt.NDArray[np.bool_]:
    mask: npt.NDArray[np.bool_] = np.asarray(values.to_numpy(zero_copy_only=False), dtype=bool)
    return mask
