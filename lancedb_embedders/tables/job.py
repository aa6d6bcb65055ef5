"""What is to be done to a vector column: all that a worker on any machine must know."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import blake2b
from importlib import import_module
from typing import Any, Literal

import pyarrow as pa
from lancedb.embeddings import get_registry

from lancedb_embedders import output
from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.functions import content_hash
from lancedb_embedders.settings import settings
from lancedb_embedders.tables.place import Place

#: Which rows get a new vector.
#: all: every row, in a column of its own that takes the old one's place when it is whole.
#: The others replace vectors within the column, which stays of one function.
#: hashes: no vector at all, but the column of hashes is made.
Kind = Literal["all", "missing", "late", "where", "since", "changed", "hashes"]


@dataclass(frozen=True)
class Selection:
    """Which rows get a new vector.

    Attributes
    ----------
    kind : str
        ``"all"``, ``"missing"`` (no vector), ``"late"`` (the same, in fragments of writers that did
        not know of the column), ``"where"``, ``"since"`` (in fragments written after a version),
        ``"changed"`` (their hash is not that of their text), ``"hashes"`` (none; a column of hashes
        is made).
    where : str, optional
        SQL condition.
    since : int, optional
        Version of the table.
    """

    kind: Kind = "all"
    where: str | None = None
    since: int | None = None


@dataclass(frozen=True)
class FunctionSpec:
    """A function in a form that other processes can make it from.

    Attributes
    ----------
    name : str
        In LanceDB's registry.
    options : dict
        What a table stores of it.
    process : dict
        Its options of this process, references to secrets among them.
    module : str
        Python module that registers it.
    """

    name: str
    options: dict[str, Any]
    process: dict[str, Any] = field(default_factory=dict, repr=False)
    module: str = "lancedb_embedders"

    @property
    def identity(self) -> str:
        """All that makes vectors, as JSON; what tells who made them is left out."""
        relevant = {k: v for k, v in self.options.items() if k not in ("signature", "written_by")}
        return json.dumps([self.name, relevant], sort_keys=True)

    def create(self) -> Embedder:
        """Return the function; its model is guarded against drift."""
        import_module(self.module)
        # A reference to a secret is in both.
        options = {**self.options, **self.process}
        function: Embedder = get_registry().get(self.name).create(**options)
        return function


@dataclass(frozen=True)
class Job:
    """A vector column, and how it is to be filled.

    Attributes
    ----------
    place : Place
        The table.
    source, vector, hashed : str
        Columns: what is embedded, its vectors, and hashes of it (None: no such column).
    function : FunctionSpec
        What embeds.
    dtype : pyarrow.DataType
        Of the vector column.
    selection : Selection
        Which rows.
    """

    place: Place
    source: str
    vector: str
    hashed: str | None
    function: FunctionSpec
    dtype: pa.DataType
    selection: Selection = Selection()

    @property
    def key(self) -> str:
        """What tells this work from others on the table; equal in every process."""
        chosen = self.selection
        facts = [
            self.source,
            self.vector,
            self.hashed,
            self.function.identity,
            str(self.dtype),
            [chosen.kind, chosen.where, chosen.since],
        ]
        return blake2b(json.dumps(facts).encode(), digest_size=8).hexdigest()

    @property
    def in_new_column(self) -> bool:
        """Whether a column of its own is filled, that takes the old one's place in the end."""
        return self.selection.kind in ("all", "hashes")

    @property
    def embeds(self) -> bool:
        """Whether vectors are made."""
        return self.selection.kind != "hashes"

    def part_schema(self) -> pa.Schema:
        """Return the schema of a part: rows by their offset in the fragment."""
        return pa.schema([pa.field("offset", pa.uint32()), *self.new_fields()])

    def new_fields(self) -> list[pa.Field]:
        """Return the columns that are written."""
        vectors = [pa.field(self.vector, self.dtype)] if self.embeds else []
        hashes = [] if self.hashed is None else [pa.field(self.hashed, content_hash.TYPE)]
        return vectors + hashes


def spec_of(function: Embedder) -> FunctionSpec:
    """Return a function as other processes can make it; asks a local model for its signature."""
    process = {**function.given_options(), **function._secret_references()}
    name, module = str(function.registry_name), type(function).__module__
    return FunctionSpec(name, function.safe_model_dump(), process, module)


def column_type(function: Embedder) -> pa.DataType:
    """Return the type of a function's vector column."""
    vector = pa.list_(output.ARROW_TYPES[function.quantization], function.ndims())
    return pa.list_(vector) if function.multivector else vector


def function_of(function: Embedder | str) -> Embedder:
    """Return a function that was given as such, or by its name in LanceDB's registry.

    Raises
    ------
    ConfigurationError
        It is none of this package.
    """
    if isinstance(function, str):
        try:
            function = get_registry().get(function).create()
        except KeyError:
            raise ConfigurationError(f"LanceDB's registry knows no function {function!r}") from None
    if not isinstance(function, Embedder):
        raise ConfigurationError(
            f"{type(function).__name__} is no function of this package: what a table needs to "
            'know of it would not be stored. Take one of those, like get_registry().get("sbert")'
            ".create(), or subclass lancedb_embedders.Embedder"
        )
    return function


def settings_given() -> dict[str, Any]:
    """Return the settings of this process that are not defaults, for processes elsewhere."""
    return settings.current().model_dump(exclude_defaults=True)


def secrets_of(function: FunctionSpec) -> dict[str, str]:
    """Return the variables of LanceDB's registry that a function's options refer to."""
    registry = get_registry()
    names = [
        value.removeprefix("$var:").partition(":")[0]
        for value in {**function.options, **function.process}.values()
        if isinstance(value, str) and value.startswith("$var:")
    ]
    return {name: registry.get_var(name) for name in names}


def set_secrets(secrets: dict[str, str]) -> None:
    """Set variables in LanceDB's registry of this process."""
    for name, value in secrets.items():
        get_registry().set_var(name, value)
