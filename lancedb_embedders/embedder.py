"""`Embedder`: the base class of every function, and the one path that every input takes.

A subclass writes its fields, `ndims` and `embed`. All else is here: what a table remembers,
which inputs count as null, equal inputs computed once, vectors checked before they are stored.
"""

from __future__ import annotations

import difflib
import json
import re
import typing
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import numpy as np
import numpy.typing as npt
from lancedb.embeddings import EmbeddingFunction, get_registry
from lancedb.pydantic import Vector as LanceVector
from pydantic import ConfigDict, Field, SecretStr, ValidationError
from typing_extensions import Self

from lancedb_embedders import output
from lancedb_embedders.errors import (
    ConfigurationError,
    EmbeddingWarning,
    InputError,
    VectorError,
    name_rows,
)
from lancedb_embedders.inputs.text import accept_texts, clean_text, is_blank
from lancedb_embedders.process import recall, remember
from lancedb_embedders.settings import Settings, settings
from lancedb_embedders.version import __version__

Role = Literal["document", "query"]

#: Stored with a table, but no part of what makes two functions equal.
_PROVENANCE = frozenset({"signature", "written_by"})


@dataclass(frozen=True)
class Batch:
    """Inputs that are ready for a model: no nulls, each one different.

    Attributes
    ----------
    inputs : sequence of str
        Prepared inputs.
    rows : sequence of int
        Row in which each input came first, within what LanceDB handed over.
    counts : sequence of int
        How many rows hold each input.
    role : {"document", "query"}
        Whether rows are stored or a search is asked.
    """

    inputs: Sequence[str]
    rows: Sequence[int]
    counts: Sequence[int]
    role: Role


def process_option(default: Any = None, **kwargs: Any) -> Any:
    """Declare a field that belongs to this process: it is never stored with a table."""
    return Field(default, exclude=True, json_schema_extra={"process_option": True}, **kwargs)


class Embedder(EmbeddingFunction):
    """Base class of every embedding function of this package.

    Subclass it with ``class Mine(Embedder, registry_name="mine")``, give it fields, `ndims` and
    `embed`, and LanceDB's registry knows it as ``"mine"``. ``registry_name=None`` marks a
    class that is only there to be subclassed.

    Parameters
    ----------
    normalize : bool, default True
        Scale vectors to length 1, so that cosine, dot product and L2 rank alike.
    truncate_dim : int, optional
        Keep this many dimensions (Matryoshka); applied before `normalize`.
    quantization : {None, "float16", "binary"}
        What is stored for each dimension: 32 bits, 16 bits, or 1 bit.
    clean : bool, default False
        Bring text to Unicode NFC, drop invisible characters, squeeze white space.
    progress : bool, optional
        Show a progress bar; an option of this process, see `lancedb_embedders.settings`.

    Raises
    ------
    ConfigurationError
        From `create`: unknown or unfit options, all named.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, protected_namespaces=()
    )

    registry_name: ClassVar[str | None] = None

    normalize: bool = True
    truncate_dim: int | None = Field(default=None, ge=1)
    quantization: output.Quantization | None = None
    clean: bool = False
    signature: str | None = None
    written_by: str | None = None
    progress: bool | None = process_option()
    # LanceDB's own field. Here retries are decided by what went wrong, so it has no effect.
    max_retries: int = Field(default=7, exclude=True)

    # -- what a subclass writes -----------------------------------------------------------

    @abstractmethod
    def ndims(self) -> int:
        """Return the size of the vector column; `column_dims` computes it from a model's."""

    @abstractmethod
    def embed(self, batch: Batch) -> npt.NDArray[np.float32]:
        """Turn prepared inputs into vectors.

        Parameters
        ----------
        batch : Batch
            Inputs to embed, each one different.

        Returns
        -------
        numpy.ndarray
            One row an input, in order, as wide as the model gives them.

        Raises
        ------
        InputError
            An input that cannot be embedded, named by ``batch.rows``.
        """

    def fingerprint(self) -> str | None:
        """Return a short signature of the model's vectors for the drift guard, if there is one."""
        return None

    def resolved(self) -> dict[str, Any]:
        """Return every option that affects vectors, with no default left to be decided later."""
        return self.model_dump(mode="json")

    # -- registration -----------------------------------------------------------------------

    # Pydantic hands the class's keywords to both hooks; the fields are there in the second.
    def __init_subclass__(cls, registry_name: str | None = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)

    @classmethod
    def __pydantic_init_subclass__(cls, registry_name: str | None = "", **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if registry_name == "":
            raise TypeError(
                f"{cls.__name__} needs a name of its own, or LanceDB would store its tables under "
                f"its parent's: class {cls.__name__}(..., registry_name="
                f'"{_kebab(cls.__name__)}")'
            )
        cls.registry_name = registry_name
        if registry_name is None:
            return
        registry = get_registry()
        try:
            taken = registry.get(registry_name)
        except KeyError:
            pass
        else:
            # The same class defined anew (a reloaded module, a notebook cell) takes its place.
            if _path(taken) != _path(cls):
                raise TypeError(f"the name {registry_name!r} is taken by {_path(taken)}")
        registry.register(registry_name)(cls)

    # -- creation -----------------------------------------------------------------------------

    @classmethod
    def create(cls, **kwargs: Any) -> Self:
        """Make a function from options; LanceDB calls it again with what a table stored.

        Raises
        ------
        ConfigurationError
            Unknown or unfit options, all of them named; a secret that is written out.
        """
        if cls.registry_name is None:
            raise ConfigurationError(f"{cls.__name__} is a base class; create a subclass of it")
        cls._refuse_unknown(kwargs)
        cls._refuse_written_secrets(kwargs)
        try:
            return cast("Self", super().create(**kwargs))
        except ValidationError as error:
            raise ConfigurationError(_explain(cls, error)) from None
        except ConfigurationError:
            raise
        except ValueError as error:  # LanceDB: a $var: that is not set
            notes = " ".join(getattr(error, "__notes__", ()))
            raise ConfigurationError(f"{cls.registry_name}: {error} {notes}".strip()) from None

    @classmethod
    def sensitive_keys(cls) -> list[str]:
        """Return the names of fields that hold secrets: those typed `SecretStr`."""
        return [
            name
            for name, field in cls.model_fields.items()
            if field.annotation is SecretStr or SecretStr in typing.get_args(field.annotation)
        ]

    @classmethod
    def _refuse_unknown(cls, kwargs: dict[str, Any]) -> None:
        unknown = [name for name in kwargs if name not in cls.model_fields]
        if not unknown:
            return
        if "trust_remote_code" in unknown:
            raise ConfigurationError(
                "trust_remote_code is never an option of a function, since a table could carry it; "
                "it is a setting of this process: LANCEDB_EMBEDDERS_TRUST_REMOTE_CODE=1 or "
                "lancedb_embedders.settings.trust_remote_code = True"
            )
        writer = kwargs.get("written_by")
        if isinstance(writer, str) and _version_key(writer) > _version_key(__version__):
            raise ConfigurationError(
                f"this table was written by lancedb-embedders {writer}, which stores options that "
                f"{__version__} does not know ({', '.join(unknown)}). Upgrade with: "
                f'pip install "lancedb-embedders>={writer}"'
            )
        known = [name for name in cls.model_fields if name not in _PROVENANCE]
        hints = [
            f"{name!r}" + (f" (did you mean {close[0]!r}?)" if close else "")
            for name in unknown
            for close in [difflib.get_close_matches(name, known, 1)]
        ]
        raise ConfigurationError(
            f"{cls.registry_name} has no option {', '.join(hints)}; it has: {', '.join(known)}"
        )

    @classmethod
    def _refuse_written_secrets(cls, kwargs: dict[str, Any]) -> None:
        for name in cls.sensitive_keys():
            value = kwargs.get(name)
            if value is None:
                continue
            if not isinstance(value, str) or not re.fullmatch(r"\$var:[^:]+", value):
                raise ConfigurationError(
                    f"{cls.registry_name}: {name} is a secret and must not be written out, nor get "
                    'a default; use the environment, or registry.set_var("key", ...) and '
                    f'{name}="$var:key"'
                )

    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        given = {
            name: getattr(self, name)
            for name in self._process_options()
            if getattr(self, name) is not None
        }
        if given:
            remember(self._process_key(self.model_dump(mode="json")), given)

    # -- what a table remembers -----------------------------------------------------------------

    def safe_model_dump(self) -> dict[str, Any]:
        """Return what LanceDB stores with a table: all that makes vectors, nothing else."""
        stored = self.resolved()
        stored["signature"] = self.signature or self.fingerprint()
        stored["written_by"] = self.written_by or __version__
        stored = {name: value for name, value in stored.items() if value is not None}
        remember(self._process_key(stored), recall(self._process_key(self.model_dump(mode="json"))))
        return {**stored, **self._secret_references()}

    def identity(self) -> str:
        """Return what makes two functions equal: all options that affect vectors, as JSON."""
        return _as_json(self.model_dump(mode="json"))

    def _process_key(self, stored: dict[str, Any], signature: bool = True) -> str:
        suffix = stored.get("signature") if signature else None
        return f"{self.registry_name}:{_as_json(stored)}:{suffix}"

    def _secret_references(self) -> dict[str, str]:
        given = getattr(self, "_original_args", None) or {}
        return {name: given[name] for name in self.sensitive_keys() if given.get(name) is not None}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Embedder):
            return NotImplemented
        return type(self) is type(other) and self.identity() == other.identity()

    def __hash__(self) -> int:
        return hash((type(self), self.identity()))

    def __repr_args__(self) -> Any:
        hidden = {*self.sensitive_keys(), "max_retries"}
        return [(k, v) for k, v in super().__repr_args__() if k not in hidden and v is not None]

    def __reduce__(self) -> tuple[Any, ...]:
        stored = {k: v for k, v in self.model_dump(mode="json").items() if v is not None}
        given = {k: getattr(self, k) for k in self._process_options()}
        given = {k: v for k, v in given.items() if v is not None}
        return _recreate, (type(self), {**stored, **self._secret_references(), **given})

    # -- options of this process ----------------------------------------------------------------

    @classmethod
    def _process_options(cls) -> list[str]:
        return [
            name
            for name, field in cls.model_fields.items()
            if isinstance(field.json_schema_extra, dict)
            and field.json_schema_extra.get("process_option")
        ]

    def process_options(self) -> dict[str, Any]:
        """Return the options of this process: the function's own arguments over the settings.

        LanceDB rebuilds a function from what its table stores, so arguments given to an equal
        function earlier in this process count too.
        """
        current: Settings = settings.current()
        stored = self.model_dump(mode="json")
        given = recall(self._process_key(stored)) or recall(self._process_key(stored, False))
        merged = {}
        for name in self._process_options():
            value = getattr(self, name)
            if value is None:
                value = given.get(name)
            if value is None:
                value = getattr(current, name, None)
            merged[name] = value
        return merged

    # -- the schema -----------------------------------------------------------------------------

    def column_dims(self, dims: int) -> int:
        """Return the size of the vector column for a model that gives `dims` dimensions.

        Raises
        ------
        ConfigurationError
            `truncate_dim` is larger than `dims`, or the size is not a multiple of 8 for
            ``quantization="binary"``.
        """
        if self.truncate_dim is not None and self.truncate_dim > dims:
            raise ConfigurationError(
                f"truncate_dim={self.truncate_dim} is more than the {dims} dimensions that "
                f"{getattr(self, 'name', self.registry_name)} gives; use 1 to {dims}"
            )
        size = self.truncate_dim or dims
        if self.quantization != "binary":
            return size
        if size % 8:
            raise ConfigurationError(
                f'quantization="binary" packs 8 dimensions into a byte, and {size} is not a '
                "multiple of 8; set truncate_dim to one that is"
            )
        return size // 8

    def Vector(self) -> Any:
        """Return the column type for a schema: right in size and, if quantized, in kind.

        Examples
        --------
        >>> import lancedb_embedders
        >>> from lancedb.embeddings import get_registry
        >>> from lancedb.pydantic import LanceModel
        >>> sbert = get_registry().get("sbert").create(quantization="binary")
        >>> class Document(LanceModel):
        ...     text: str = sbert.SourceField()
        ...     vector: sbert.Vector() = sbert.VectorField()
        """
        return LanceVector(self.ndims(), output.ARROW_TYPES[self.quantization])

    # -- the one path ---------------------------------------------------------------------------

    def compute_source_embeddings(self, values: Any, *args: Any, **kwargs: Any) -> Any:
        """Embed rows to store.

        Parameters
        ----------
        values : pyarrow.Array, pyarrow.ChunkedArray, numpy.ndarray, list of str or str
            Texts; null and blank ones get no vector.

        Returns
        -------
        numpy.ndarray or list
            Shape ``(n, ndims())``, or a list of rows with ``None`` where there is no vector.

        Raises
        ------
        InputError
            A value that is no text, with row and type.
        VectorError
            The model gave a vector that must not be stored, with its row.
        """
        return self._compute(values, "document")

    def compute_query_embeddings(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """Embed what is searched for; parameters and errors as in `compute_source_embeddings`."""
        return self._compute(query, "query")

    # LanceDB would retry each error seven times, a TypeError for half an hour.
    def compute_source_embeddings_with_retry(self, *args: Any, **kwargs: Any) -> Any:
        """Embed rows to store; nothing is retried that cannot pass."""
        return self.compute_source_embeddings(*args, **kwargs)

    def compute_query_embeddings_with_retry(self, *args: Any, **kwargs: Any) -> Any:
        """Embed a query; nothing is retried that cannot pass."""
        return self.compute_query_embeddings(*args, **kwargs)

    def _compute(self, values: Any, role: Role) -> Any:
        texts = accept_texts(values)
        if self.clean:
            texts = [text if text is None else clean_text(text) for text in texts]
        positions: dict[str, int] = {}
        rows: list[int] = []
        counts: list[int] = []
        nulls: list[int] = []
        inverse = np.empty(len(texts), dtype=np.intp)
        for row, text in enumerate(texts):
            if text is None or is_blank(text):
                nulls.append(row)
                inverse[row] = -1
                continue
            position = positions.setdefault(text, len(rows))
            if position == len(rows):
                rows.append(row)
                counts.append(0)
            counts[position] += 1
            inverse[row] = position
        if nulls:
            _report_nulls(nulls, len(texts), role)
        if not rows:
            return [None] * len(texts)
        batch = Batch(list(positions), rows, counts, role)
        vectors = self._finish(self.embed(batch), batch)
        if nulls:
            return [None if position < 0 else vectors[position] for position in inverse]
        return vectors if len(rows) == len(texts) else vectors[inverse]

    def _finish(self, vectors: npt.NDArray[np.float32], batch: Batch) -> npt.NDArray[Any]:
        if vectors.ndim != 2 or len(vectors) != len(batch.inputs):
            raise VectorError(
                f"{self.registry_name} gave an array of shape {vectors.shape} for "
                f"{len(batch.inputs)} inputs; nothing was written"
            )
        if self.column_dims(vectors.shape[1]) != self.ndims():
            raise VectorError(
                f"{self.registry_name} was expected to give {self.ndims()} dimensions and its "
                f"model gives {vectors.shape[1]}; nothing was written"
            )
        self._refuse(batch, output.bad_rows(vectors), "a vector with NaN or infinity")
        vectors = output.truncate(vectors, self.truncate_dim)
        if self.normalize:
            self._refuse(batch, output.zero_rows(vectors), "a vector of zeros, without direction")
            vectors = output.normalize(vectors)
        return output.quantize(vectors, self.quantization)

    def _refuse(self, batch: Batch, bad: list[int], what: str) -> None:
        if bad:
            rows = [batch.rows[position] for position in bad]
            raise VectorError(
                f"the model gave {what} for {name_rows(rows)}; nothing was written. Look at the "
                "text there: leave the row out, or set its text to null and add with "
                'on_bad_vectors="null"'
            )


def _report_nulls(nulls: list[int], total: int, role: Role) -> None:
    if role == "query":
        raise InputError("the query is empty, there is nothing to search for", nulls)
    warnings.warn(
        f"{len(nulls):,} of {total:,} rows have no text ({name_rows(nulls)}) and get no vector; "
        'add with on_bad_vectors="null" to keep them, or "drop" to leave them out',
        EmbeddingWarning,
        stacklevel=2,
    )


def _recreate(cls: type[Embedder], kwargs: dict[str, Any]) -> Embedder:
    return cls.create(**kwargs)


def _as_json(options: dict[str, Any]) -> str:
    relevant = {k: v for k, v in options.items() if k not in _PROVENANCE and v is not None}
    return json.dumps(relevant, sort_keys=True)


def _explain(cls: type[Embedder], error: ValidationError) -> str:
    problems = []
    for problem in error.errors(include_url=False, include_input=False):
        cause = problem.get("ctx", {}).get("error")
        where = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"] if cause is None else str(cause)
        problems.append(f"{where}: {message}" if where else message)
    return f"{cls.registry_name}: " + "; ".join(problems)


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name.removesuffix("Embeddings")).lower()


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
