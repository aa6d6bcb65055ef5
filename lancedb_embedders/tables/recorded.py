"""What a table's schema says of its vector columns: which function, of which source.

LanceDB keeps that as JSON in the schema's metadata. It is read as such here, so that a column
whose function is not installed does not keep others from being worked on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from lancedb.util import is_vector_column

from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.functions import content_hash
from lancedb_embedders.stored import registered

_FUNCTIONS = b"embedding_functions"
#: Ours: for each vector column, the work that filled it and what is still to be done.
_WORK = b"lancedb_embedders"


@dataclass(frozen=True)
class Recorded:
    """An embedding function as a table remembers it.

    Attributes
    ----------
    vector, source : str
        Columns.
    name : str
        The function's name in LanceDB's registry.
    options : dict
        What it is created from.
    """

    vector: str
    source: str
    name: str
    options: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return the form that LanceDB stores."""
        return {
            "name": self.name,
            "model": self.options,
            "source_column": self.source,
            "vector_column": self.vector,
        }


@dataclass(frozen=True)
class Work:
    """What `lancedb_embedders` did to a vector column.

    Attributes
    ----------
    job : str
        Key of the work that filled it.
    indexes : list of dict
        Vector indexes that the column had before, which are to be built again.
    """

    job: str
    indexes: tuple[dict[str, Any], ...] = ()


def functions_of(schema: pa.Schema) -> list[Recorded]:
    """Return the functions of all columns, hashes included."""
    stored = json.loads((schema.metadata or {}).get(_FUNCTIONS, b"[]"))
    return [
        Recorded(
            one.get("vector_column", "vector"),
            one.get("source_column", ""),
            one["name"],
            one.get("model") or {},
        )
        for one in stored
    ]


def embedded_columns(schema: pa.Schema) -> dict[str, Recorded]:
    """Return the vector columns that have a function."""
    return {one.vector: one for one in functions_of(schema) if one.name != content_hash.NAME}


def vector_columns(schema: pa.Schema, vector: str | None = None) -> list[str]:
    """Return the vector columns, or the one that is named.

    Raises
    ------
    ConfigurationError
        The one that is named is none.
    """
    known = embedded_columns(schema)
    names = [f.name for f in schema if f.name in known or is_vector_column(f.type)]
    if vector is None:
        return names
    if vector not in names:
        raise ConfigurationError(
            f"{vector!r} is no vector column; there are: {', '.join(names) or 'none'}"
        )
    return [vector]


def hash_name(vector: str) -> str:
    """Return the name of the column of hashes that belongs to a vector column."""
    return f"{vector}_hash"


def hash_column(schema: pa.Schema, vector: str) -> str | None:
    """Return the column of hashes of what a vector column was made from, if there is one."""
    kept = {one.vector for one in functions_of(schema) if one.name == content_hash.NAME}
    return hash_name(vector) if hash_name(vector) in kept else None


def one_embedded_column(schema: pa.Schema, vector: str | None) -> Recorded:
    """Return the vector column that is meant: the only one, if none is named.

    Raises
    ------
    ConfigurationError
        There is none, or which one is not clear.
    """
    known = embedded_columns(schema)
    if vector is not None and vector in known:
        return known[vector]
    if vector is None and len(known) == 1:
        return next(iter(known.values()))
    if vector is not None and vector not in schema.names:
        raise ConfigurationError(
            f"the table has no column {vector!r}; it has: {', '.join(schema.names)}"
        )
    if vector is not None or not known:
        what = "the table has no column with" if vector is None else f"column {vector!r} has"
        no = "" if vector is None else " no"
        raise ConfigurationError(
            f"{what}{no} embedding function. Give it one with "
            "tables.attach(table, source, vector, function)"
        )
    raise ConfigurationError(
        f"the table has several vector columns with a function: {', '.join(known)}; name one "
        "by vector=..."
    )


def work_on(schema: pa.Schema, vector: str) -> Work | None:
    """Return what is known of the work that filled a column."""
    stored = _works(schema).get(vector)
    return None if stored is None else Work(stored["job"], tuple(stored.get("indexes", ())))


def with_function(
    schema: pa.Schema, added: Recorded, hashed: str | None, work: Work | None
) -> dict[str, str]:
    """Return a schema's metadata with a column's function, its hashes and the work noted."""
    replaced = {added.vector, hashed}
    kept = [one.as_json() for one in functions_of(schema) if one.vector not in replaced]
    new = [added.as_json()]
    if hashed is not None:
        new.append(Recorded(hashed, added.source, content_hash.NAME, {}).as_json())
    works = _works(schema)
    works.pop(added.vector, None)
    if work is not None:
        works[added.vector] = {"job": work.job, "indexes": list(work.indexes)}
    metadata = dict(schema.metadata or {})
    metadata[_FUNCTIONS] = json.dumps([*kept, *new]).encode()
    metadata[_WORK] = json.dumps(works).encode()
    return decoded(metadata)


def without_indexes(schema: pa.Schema, vector: str) -> dict[str, str]:
    """Return the change of metadata that says: the indexes of a column are built."""
    works = _works(schema)
    works[vector] = {"job": works[vector]["job"], "indexes": []}
    return {_WORK.decode(): json.dumps(works)}


def decoded(metadata: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return metadata as text."""
    return {key.decode(): value.decode() for key, value in metadata.items()}


def _works(schema: pa.Schema) -> dict[str, Any]:
    works: dict[str, Any] = json.loads((schema.metadata or {}).get(_WORK, b"{}"))
    return works


def recorded_function(known: Recorded) -> Embedder:
    """Return the function of a column.

    Raises
    ------
    ConfigurationError
        It is none of this package, or not installed.
    """
    made = registered().get(known.name)
    if made is None:
        raise ConfigurationError(
            f"column {known.vector!r} has the function {known.name!r}, which is none of this "
            "package, or is defined in a module that was not imported. Move it to one that is by "
            "tables.reembed(table, function)"
        )
    function: Embedder = made.create(**known.options)
    return function
