"""What tools are given: a function or its name, and texts in a list, a table or a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lancedb_embedders import catalog
from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.inputs.text import accept_texts, is_blank
from lancedb_embedders.stored import registered
from lancedb_embedders.tables.recorded import one_embedded_column, recorded_function


def function_of(given: Embedder | str | os.PathLike[str], **options: Any) -> Embedder:
    """Return a function for what a user named.

    Parameters
    ----------
    given : Embedder or str or os.PathLike
        A function, which is returned as it is; a registry name like ``"sbert"``; a model of the
        catalogue, for which the catalogue knows the function; or a name on the hub or the folder
        of a model, which ``sbert`` takes.
    **options
        For ``create()``, where a function is made.

    Raises
    ------
    ConfigurationError
        It is none of these, or options are given beside a function.

    Examples
    --------
    >>> import lancedb_embedders
    >>> function_of("intfloat/multilingual-e5-small").registry_name
    'multilingual'
    """
    if isinstance(given, Embedder):
        if options:
            raise ConfigurationError("options go into create(), beside a function they are none")
        return given
    if not isinstance(given, (str, os.PathLike)):
        raise ConfigurationError(
            f"expected a function, its name, or that of a model, got {type(given).__name__}"
        )
    name, known = os.fspath(given), registered()
    if name in known:
        return _created(known[name], options)
    card = None if Path(name).is_dir() else catalog.find(name)
    if card is not None:
        return _created(known[card.function], {"name": card.name, **options})
    return _created(known["sbert"], {"name": name, **options})


def texts_of(given: Any, column: str | None = None, what: str = "texts") -> list[str]:
    """Return the texts that are there, blank ones left out.

    Parameters
    ----------
    given : iterable of str, pyarrow.Array or lancedb.table.Table
        Texts, or a table.
    column : str, optional
        The table's column; None: the one that it embeds.
    what : str
        What they are, for the error.

    Raises
    ------
    InputError
        A value that is no text, with its row.
    ConfigurationError
        There is no text at all, no such column, or none that the table embeds.
    """
    values = given
    if hasattr(given, "to_lance"):
        name = text_column(given, column)
        values = given.search().select([name]).to_arrow()[name]
    if isinstance(values, str):
        raise ConfigurationError(f"expected a list of {what}, got one string")
    texts = [text for text in accept_texts(values) if text is not None and not is_blank(text)]
    if not texts:
        raise ConfigurationError(f"there are no {what}: nothing was given, or only blank ones")
    return texts


def table_function(table: Any, vector: str | None = None) -> tuple[Embedder, str, str]:
    """Return a table's function, its source column and its vector column.

    Raises
    ------
    ConfigurationError
        The table has no such vector column, several, or none that is embedded by this package.
    """
    known = one_embedded_column(table.schema, vector)
    return recorded_function(known), known.source, known.vector


def text_column(table: Any, column: str | None) -> str:
    """Return a table's column that is meant: the one that it embeds, if none is named.

    Raises
    ------
    ConfigurationError
        There is no such column.
    """
    name = table_function(table)[1] if column is None else column
    if name not in table.schema.names:
        raise ConfigurationError(
            f"table {table.name!r} has no column {name!r}; it has: {', '.join(table.schema.names)}"
        )
    return name


def _created(function: type[Any], options: dict[str, Any]) -> Embedder:
    made: Embedder = function.create(**options)
    return made
