"""`Embedder`: the base class of every function, and the one path that every input takes.

A subclass writes its fields, `ndims` and `embed`. All else is here: which inputs count as
null, equal inputs computed once, vectors checked before they are stored. What a table
remembers of a function is in `stored`.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from lancedb.pydantic import MultiVector as LanceMultiVector
from lancedb.pydantic import Vector as LanceVector
from pydantic import Field, field_validator

from lancedb_embedders import observers, output
from lancedb_embedders.batch import Batch, Partial, Role
from lancedb_embedders.errors import (
    ConfigurationError,
    EmbeddingWarning,
    InputError,
    VectorError,
    name_rows,
)
from lancedb_embedders.inputs.clean import Step, cleaned, steps_of
from lancedb_embedders.inputs.template import Template
from lancedb_embedders.inputs.text import accept_texts, is_blank
from lancedb_embedders.multivector import MultiVectors, rows_for_lancedb
from lancedb_embedders.stored import StoredFunction, process_option


class Embedder(StoredFunction, registry_name=None):
    r"""Base class of every embedding function of this package.

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
    clean : bool or tuple of {"html", "markdown", "urls"}, default False
        Bring text to Unicode NFC, drop invisible characters, squeeze white space; and take out what
        the steps say, see `lancedb_embedders.clean_text`. Documents and queries alike.
    template : str, optional
        Makes one text of several fields, like ``"{title}\n\n{body}"``; the source is then a
        nested model, or a struct column. Queries are plain texts.
    progress : bool, optional
        Show a progress bar; an option of this process, see `lancedb_embedders.settings`.

    Raises
    ------
    ConfigurationError
        From `create`: unknown or unfit options, all named.
    """

    normalize: bool = True
    truncate_dim: int | None = Field(default=None, ge=1)
    quantization: output.Quantization | None = None
    clean: bool | tuple[Step, ...] = False
    template: str | None = None
    progress: bool | None = process_option()

    @field_validator("clean", mode="before")
    @classmethod
    def _check_clean(cls, given: Any) -> Any:
        return steps_of(given)

    @field_validator("template")
    @classmethod
    def _check_template(cls, template: str | None) -> str | None:
        if template is not None:
            Template(template)
        return template

    # -- what a subclass writes -----------------------------------------------------------

    def _set(self, **values: Any) -> None:
        # The fields are frozen for everyone else; a subclass decides what was left open.
        for name, value in values.items():
            self.__dict__[name] = value

    @abstractmethod
    def ndims(self) -> int:
        """Return the size of the vector column; `column_dims` computes it from a model's."""

    @abstractmethod
    def embed(self, batch: Batch) -> npt.NDArray[np.float32] | MultiVectors | Partial:
        """Turn prepared inputs into vectors.

        Parameters
        ----------
        batch : Batch
            Inputs to embed, each one different.

        Returns
        -------
        numpy.ndarray, MultiVectors or Partial
            One row an input, in order, as wide as the model gives them; `MultiVectors` from a
            function whose `multivector` is true; `Partial` where inputs were given up.

        Raises
        ------
        InputError
            An input that cannot be embedded, named by ``batch.rows(...)``.
        """

    def prepare(self, text: str) -> str:
        """Return what is embedded in place of `text`; extend it, equal results count as equal."""
        return cleaned(text, self.clean)

    @property
    def multivector(self) -> bool:
        """Whether a row gets several vectors."""
        return False

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
        if self.multivector:
            raise ConfigurationError(
                'quantization="binary" cannot be had with several vectors a row: LanceDB finds '
                'no such vectors; use "float16" or none'
            )
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
        kind = LanceMultiVector if self.multivector else LanceVector
        return kind(self.ndims(), output.ARROW_TYPES[self.quantization])

    # -- the one path ---------------------------------------------------------------------------

    def compute_source_embeddings(self, values: Any) -> Any:
        """Embed rows to store.

        Parameters
        ----------
        values : pyarrow.Array, pyarrow.ChunkedArray, numpy.ndarray, list of str or str
            Texts; null and blank ones get no vector.

        Returns
        -------
        numpy.ndarray or list
            Shape ``(n, ndims())``, or a list of rows with ``None`` where there is no vector. A row
            of a `multivector` function has shape ``(vectors, ndims())``.

        Raises
        ------
        InputError
            A value that is no text, with row and type.
        VectorError
            The model gave a vector that must not be stored, with its row.
        """
        return self._compute(values, "document")

    def compute_query_embeddings(self, query: Any) -> Any:
        """Embed what is searched for; parameters and errors as in `compute_source_embeddings`."""
        found = self._compute(query, "query")
        if self.multivector:  # LanceDB takes one vector, or several that must all be matched
            return [vectors[0] if len(vectors) == 1 else vectors for vectors in found]
        return found

    # LanceDB would retry each error seven times, a TypeError for half an hour.
    def compute_source_embeddings_with_retry(self, values: Any) -> Any:
        """Embed rows to store; nothing is retried that cannot pass."""
        found = self.compute_source_embeddings(values)
        return rows_for_lancedb(found, self.ndims()) if self.multivector else found

    def compute_query_embeddings_with_retry(self, query: Any) -> Any:
        """Embed a query; nothing is retried that cannot pass."""
        return self.compute_query_embeddings(query)

    def batch_of(self, values: Any, role: Role) -> Batch:
        """Return what `embed` is given for `values`: no nulls, equal ones once; warns of nulls."""
        texts = accept_texts(self._filled(values, role))
        positions: dict[str, int] = {}
        index = np.full(len(texts), -1, dtype=np.intp)
        for row, text in enumerate(texts):
            if text is not None and not is_blank(prepared := self.prepare(text)):
                index[row] = positions.setdefault(prepared, len(positions))
        report_nulls(index, role)
        return Batch(list(positions), index, role)

    def _compute(self, values: Any, role: Role) -> Any:
        batch = self.batch_of(values, role)
        vectors = self._vectors_of(batch)
        if observers.listening():
            observers.tell(self, batch, vectors)
        return vectors

    def _vectors_of(self, batch: Batch) -> Any:
        if not batch.inputs:
            return [None] * len(batch.index)
        embedded = self.embed(batch)
        if isinstance(embedded, Partial):
            given_up = embedded.given_up
            batch = batch.without(given_up)
            if not batch.inputs:
                return [None] * len(batch.index)
            embedded = np.delete(embedded.vectors, list(given_up), axis=0)
        vectors = self._finish(embedded, batch)
        if (batch.index < 0).any() or self.multivector:
            return [None if position < 0 else vectors[position] for position in batch.index]
        return vectors if len(batch.inputs) == len(batch.index) else vectors[batch.index]

    def _filled(self, values: Any, role: Role) -> Any:
        if self.template is None or role == "query":
            return values
        return Template(self.template).texts(values)

    def _finish(self, embedded: npt.ArrayLike | MultiVectors, batch: Batch) -> Any:
        if isinstance(embedded, MultiVectors):
            if len(embedded.counts) != len(batch.inputs) or not embedded.counts.all():
                raise VectorError(f"{self.registry_name} gave some inputs no vector")
            finished = self._finish_each(embedded.vectors, embedded.owners(), batch)
            return embedded.split(finished)
        return self._finish_each(embedded, np.arange(len(batch.inputs)), batch)

    def _finish_each(
        self, embedded: npt.ArrayLike, owners: npt.NDArray[np.int64], batch: Batch
    ) -> npt.NDArray[Any]:
        vectors = np.asarray(embedded, dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != len(owners):
            raise VectorError(
                f"{self.registry_name} gave an array of shape {vectors.shape} for "
                f"{len(owners)} inputs; nothing was written"
            )
        if self.column_dims(vectors.shape[1]) != self.ndims():
            raise VectorError(
                f"{self.registry_name} was expected to give {self.ndims()} dimensions and its "
                f"model gives {vectors.shape[1]}; nothing was written"
            )
        self._refuse(batch, owners[output.bad_rows(vectors)], "a vector with NaN or infinity")
        vectors = output.truncate(vectors, self.truncate_dim)
        if self.normalize:
            self._refuse(batch, owners[output.zero_rows(vectors)], "a vector of zeros")
            vectors = output.normalize(vectors)
        return output.quantize(vectors, self.quantization)

    def _refuse(self, batch: Batch, bad: npt.NDArray[np.int64], what: str) -> None:
        if len(bad):
            raise VectorError(
                f"the model gave {what} for {name_rows(batch.rows(bad.tolist()))}; nothing was "
                "written. Look at the text there: leave the row out, or set its text to null and "
                'add with on_bad_vectors="null"'
            )


# Begins what `report_nulls` says, and no other warning.
_NULLS = r"[\d,]+ of [\d,]+ rows have no \w+ \("


@contextmanager
def nulls_unreported() -> Iterator[None]:
    """Say nothing of rows that hold nothing to embed: the caller counts them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", _NULLS, EmbeddingWarning)
        yield


def report_nulls(index: npt.NDArray[np.intp], role: Role, what: str = "text") -> None:
    """Warn of rows that hold nothing to embed, -1 in `index`; an empty query is an error."""
    nulls = np.flatnonzero(index < 0).tolist()
    if not nulls:
        return
    if role == "query":
        raise InputError("the query is empty, there is nothing to search for", nulls)
    warnings.warn(
        f"{len(nulls):,} of {len(index):,} rows have no {what} ({name_rows(nulls)}) and get no "
        'vector; add with on_bad_vectors="null" to keep them, or "drop" to leave them out',
        EmbeddingWarning,
        stacklevel=2,
    )
