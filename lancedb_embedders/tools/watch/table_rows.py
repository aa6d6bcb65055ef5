"""Random rows of a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from lancedb.table import Table

from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.extras import require
from lancedb_embedders.inputs.template import Template
from lancedb_embedders.tables.recorded import embedded_columns, recorded_function, vector_columns
from lancedb_embedders.tools.given import function_of, table_function
from lancedb_embedders.tools.watch.rows import Rows, rows_of


@dataclass(frozen=True)
class TableRows:
    """Random rows of a table.

    Attributes
    ----------
    rows : Rows
        Their vectors and texts.
    function : Embedder or None
        What embeds the column, if the table says so.
    vector : str
        The column.
    """

    rows: Rows
    function: Embedder | None
    vector: str


def table_rows(
    table: Any, vector: str | None, sample: int, since_version: int | None, seed: int
) -> TableRows:
    """Read random rows of a table, or of what was added to it.

    Parameters
    ----------
    table : lancedb.table.Table
        A table of the synchronous API.
    vector : str, optional
        The vector column; None: the only one.
    sample : int
        Rows that are read at most.
    since_version : int, optional
        Only rows in files written after this version of the table; needs the extra ``tables``.
    seed : int
        Of the random choice.

    Raises
    ------
    ConfigurationError
        No table, no such column or version, or no rows.
    """
    if not isinstance(table, Table):
        raise ConfigurationError(
            "expected a table that lancedb.connect(...).open_table(...) gives, got "
            f"{type(table).__name__}; an async table is opened a second time by lancedb.connect"
        )
    if sample < 1:
        raise ConfigurationError(f"sample={sample} looks at nothing; use 1 or more")
    name = _column(table, vector)
    known = embedded_columns(table.schema).get(name)
    places = _places(table, since_version)
    if not len(places):
        what = "" if since_version is None else f" in files written after version {since_version}"
        raise ConfigurationError(
            f"table {table.name!r} has no rows{what}; there is nothing to check"
        )
    chance = np.random.default_rng(seed)
    if len(places) > sample:
        places = np.sort(chance.choice(places, sample, replace=False))
    source = known.source if known is not None and known.source in table.schema.names else None
    columns = [name] if source is None else [name, source]
    read = table.take_offsets(places.tolist()).select(columns).to_arrow()
    function = None if known is None else recorded_function(known)
    texts = None if source is None else _texts(function, read[source])
    return TableRows(rows_of(read[name], texts, places), function, name)


def _column(table: Any, vector: str | None) -> str:
    names = vector_columns(table.schema, vector)
    if len(names) != 1:
        raise ConfigurationError(
            f"table {table.name!r} has "
            + (f"several vector columns: {', '.join(names)}; name one" if names else "no vectors")
        )
    return names[0]


def _texts(function: Embedder | None, values: Any) -> Any:
    if function is None:
        return values
    if getattr(function, "source", "text") != "text":
        return None  # strings there are addresses of pictures
    return values if function.template is None else Template(function.template).texts(values)


def _places(table: Any, since_version: int | None) -> npt.NDArray[np.int64]:
    if since_version is None:
        return np.arange(table.count_rows(), dtype=np.int64)
    require("tables", "Looking only at what was added since a version")
    dataset = table.to_lance()
    known = [one["version"] for one in dataset.versions()]
    if since_version not in known:
        raise ConfigurationError(
            f"since_version={since_version}: the table has no such version; it has {known[0]} to "
            f"{known[-1]}"
        )
    then = dataset.checkout_version(since_version)
    old = {_files(one) for one in then.get_fragments()}
    found, start = [], 0
    for fragment in dataset.get_fragments():
        count = fragment.count_rows()
        if _files(fragment) not in old:
            found.append(np.arange(start, start + count))
        start += count
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)


def _files(fragment: Any) -> tuple[Any, ...]:
    return (fragment.fragment_id, *(file.path for file in fragment.metadata.files))


def embedding_function(target: Any, vector: str | None) -> Embedder:
    """Return the function that is meant: itself, by its name, or a table's.

    Raises
    ------
    ConfigurationError
        There is none.
    """
    return table_function(target, vector)[0] if isinstance(target, Table) else function_of(target)
