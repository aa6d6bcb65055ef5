"""Which LanceDB index a table of vectors wants at its size, and what the vectors weigh.

The rules are those of LanceDB's documentation, https://docs.lancedb.com/indexing/vector-index,
read on 2026-11-28: none up to about 100,000 rows; `IVF_HNSW_FLAT` for the highest recall,
`IVF_HNSW_SQ` for the best recall and latency, `IVF_RQ` for the strongest compression, `IVF_PQ` at
up to 256 dimensions; binary vectors in `IVF_FLAT` by Hamming distance; ``rows // 4096`` partitions,
``rows // 1048576`` with HNSW; ``dimension // 8`` sub-vectors.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from lancedb_embedders.errors import ConfigurationError

Stored = Literal["float32", "float16", "binary"]
Priority = Literal["speed", "balanced", "quality"]

#: Where the rules were read.
SOURCE = "https://docs.lancedb.com/indexing/vector-index"

_EXACT_ROWS = 100_000
_PARTITION_ROWS = 4096
_HNSW_PARTITION_ROWS = 1_048_576
_PQ_DIMS = 256
_EF_CONSTRUCTION = 150
# Our own rule: an index with HNSW is to be held in memory, and no machine is assumed to have more.
_MOST_HNSW_GB = 16.0
_GB = 1e9
_BYTES = {"float32": 4.0, "float16": 2.0, "binary": 0.125}
# What the documentation says an index takes, as a share of the raw float32 vectors.
_SHARE = {"IVF_HNSW_FLAT": 1.1, "IVF_HNSW_SQ": 0.27, "IVF_RQ": 1 / 32}
_CLASS = {
    "IVF_FLAT": "IvfFlat",
    "IVF_PQ": "IvfPq",
    "IVF_RQ": "IvfRq",
    "IVF_HNSW_SQ": "IvfHnswSq",
    "IVF_HNSW_FLAT": "IvfHnswFlat",
}


@dataclass(frozen=True)
class Storage:
    """What raw vectors weigh, without text and index; 1 GB is 10**9 bytes.

    Attributes
    ----------
    rows, dims : int
        How many vectors, and of how many dimensions.
    float32_gb, float16_gb : float
        As they are, and with ``quantization="float16"``.
    binary_gb : float or None
        With ``quantization="binary"``; None: the dimensions are no multiple of 8.
    """

    rows: int
    dims: int
    float32_gb: float
    float16_gb: float
    binary_gb: float | None


@dataclass(frozen=True)
class IndexAdvice:
    """A vector index to build, or that none is needed.

    Attributes
    ----------
    kind : str or None
        LanceDB's name of the index type; None: an exact search is fast enough.
    distance : str
        Distance to build it for and to search by.
    num_partitions, num_sub_vectors, ef_construction : int or None
        Parameters that the kind of index has.
    gigabytes : float
        About what it takes on disk; with HNSW in memory too.
    why : str
        The rule that decided.
    source : str
        Where the rule was read.
    """

    kind: str | None
    distance: str
    num_partitions: int | None
    num_sub_vectors: int | None
    ef_construction: int | None
    gigabytes: float
    why: str
    source: str = SOURCE

    def config(self) -> Any:
        """Return it for ``table.create_index(column, config=...)``; None if none is needed."""
        import lancedb.index

        if self.kind is None:
            return None
        return getattr(lancedb.index, self.config_class)(**self._options())

    @property
    def config_class(self) -> str:
        """Name of the class in ``lancedb.index`` that configures it; "" if none is needed."""
        return _CLASS.get(self.kind or "", "")

    @property
    def code(self) -> str:
        """Python that builds it; of none, the search that is exact."""
        if self.kind is None:
            return f'table.search(query).distance_type("{self.distance}")  # no index'
        options = "".join(
            f"    {name}={json.dumps(value)},\n" for name, value in self._options().items()
        )
        built = 'table.create_index("vector", config=config)'
        return f"config = {self.config_class}(\n{options})\n{built}"

    def _options(self) -> dict[str, Any]:
        given = {
            "distance_type": self.distance,
            "num_partitions": self.num_partitions,
            "num_sub_vectors": self.num_sub_vectors,
            "ef_construction": self.ef_construction,
        }
        return {name: value for name, value in given.items() if value is not None}


def storage_of(rows: int, dims: int) -> Storage:
    """Return what `rows` vectors of `dims` dimensions weigh.

    Examples
    --------
    >>> storage_of(1_000_000, 384)
    Storage(rows=1000000, dims=384, float32_gb=1.536, float16_gb=0.768, binary_gb=0.048)
    """
    sizes = {kind: rows * dims * size / _GB for kind, size in _BYTES.items()}
    return Storage(
        rows=rows,
        dims=dims,
        float32_gb=sizes["float32"],
        float16_gb=sizes["float16"],
        binary_gb=sizes["binary"] if dims % 8 == 0 else None,
    )


def advise_index(
    rows: int,
    dims: int,
    *,
    stored: Stored = "float32",
    priority: Priority = "balanced",
    filtered: bool = False,
) -> IndexAdvice:
    """Say which index to build.

    Parameters
    ----------
    rows : int
        Vectors in the table.
    dims : int
        Their dimensions, before quantization.
    stored : {"float32", "float16", "binary"}
        How they are stored.
    priority : {"speed", "balanced", "quality"}
        ``"quality"`` asks for the highest recall, the others for recall and latency.
    filtered : bool, default False
        Whether most searches have a ``where(...)``, which HNSW does not serve evenly.

    Raises
    ------
    ConfigurationError
        An unknown `stored`, or a number that is none.

    Examples
    --------
    >>> advise_index(50_000, 384).kind is None
    True
    >>> advice = advise_index(2_000_000, 384)
    >>> advice.kind, advice.num_partitions, advice.config_class
    ('IVF_HNSW_SQ', 1, 'IvfHnswSq')
    """
    if stored not in _BYTES:
        raise ConfigurationError(f"stored={stored!r} is not known; there are: {', '.join(_BYTES)}")
    if rows < 0 or dims < 1:
        raise ConfigurationError(f"rows={rows} and dims={dims} make no table of vectors")
    distance = "hamming" if stored == "binary" else "cosine"
    if rows <= _EXACT_ROWS:
        why = f"up to {_EXACT_ROWS:,} rows an exact search takes less than about 100 ms"
        return IndexAdvice(None, distance, None, None, None, 0.0, why)
    kind, why = _kind(rows, dims, stored, priority, filtered)
    with_hnsw = "HNSW" in kind
    partitions = max(1, rows // (_HNSW_PARTITION_ROWS if with_hnsw else _PARTITION_ROWS))
    subs = _sub_vectors(dims) if kind == "IVF_PQ" else None
    return IndexAdvice(
        kind=kind,
        distance=distance,
        num_partitions=partitions,
        num_sub_vectors=subs,
        ef_construction=_EF_CONSTRUCTION if with_hnsw else None,
        gigabytes=_gigabytes(kind, rows, dims, subs),
        why=why,
    )


def _kind(rows: int, dims: int, stored: str, priority: str, filtered: bool) -> tuple[str, str]:
    if stored == "binary":
        return "IVF_FLAT", "binary vectors are searched by Hamming distance"
    small = "IVF_PQ", f"the more accurate compression at up to {_PQ_DIMS} dimensions"
    if filtered:
        if dims > _PQ_DIMS and dims % 8 == 0:
            return "IVF_RQ", "searches with filters are served more evenly without HNSW"
        return small
    if dims <= _PQ_DIMS and priority != "quality":
        return small
    if priority == "quality" and _gigabytes("IVF_HNSW_FLAT", rows, dims) <= _MOST_HNSW_GB:
        return "IVF_HNSW_FLAT", "the highest recall: nothing is quantized"
    if _gigabytes("IVF_HNSW_SQ", rows, dims) <= _MOST_HNSW_GB:
        return "IVF_HNSW_SQ", "the best trade-off of recall and latency"
    if dims % 8 == 0 and dims > _PQ_DIMS:
        return "IVF_RQ", (
            "the strongest compression: an index with HNSW would take more than "
            f"{_MOST_HNSW_GB:g} GB of memory"
        )
    return "IVF_PQ", f"an index with HNSW would take more than {_MOST_HNSW_GB:g} GB of memory"


def _sub_vectors(dims: int) -> int:
    # 8 numbers a sub-vector; of other sizes the largest number of equal ones.
    return next((dims // size for size in (8, 16, 4, 2) if dims % size == 0), 1)


def _gigabytes(kind: str, rows: int, dims: int, sub_vectors: int | None = None) -> float:
    if kind == "IVF_FLAT":
        return rows * dims / 8 / _GB
    if kind == "IVF_PQ":
        return rows * (sub_vectors or 1) / _GB
    return rows * dims * 4 * _SHARE[kind] / _GB
