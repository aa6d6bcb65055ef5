"""A folder of pictures as a table: kept up to date with the files, and searched."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from lancedb.pydantic import LanceModel

from lancedb_embedders.errors import ConfigurationError, EmbeddingWarning, ImageError
from lancedb_embedders.functions import ClipEmbeddings
from lancedb_embedders.inputs.images import Image
from lancedb_embedders.inputs.images.accept import is_reference
from lancedb_embedders.tools.gallery import Hit

#: Name of the table in its database.
TABLE = "images"

_BATCH = 256
_COLUMNS = pa.schema(
    {"path": pa.string(), "image": pa.string(), "size": pa.int64(), "modified": pa.int64()}
)


class _File(NamedTuple):
    """What a row says of its file; one that has changed is another."""

    path: str
    image: str
    size: int
    modified: int


def image_table(folder: Path, database: Any, function: ClipEmbeddings) -> Any:
    """Return a table of the pictures in a folder and in all below it.

    If the table is there already, only new and changed files are embedded, and rows of files that
    are gone are deleted.

    Parameters
    ----------
    folder : pathlib.Path
        Where the pictures are. Files are taken for pictures by the ends of their names.
    database : lancedb.DBConnection
        Where the table is, or comes to be: ``images``, with the columns ``path`` (below `folder`),
        ``image`` (the file), ``size``, ``modified`` (nanoseconds) and ``vector``.
    function : ClipEmbeddings
        What embeds the pictures. With ``on_bad_image="null"``, files that are no pictures are left
        out, with a warning that names them.

    Returns
    -------
    lancedb.table.Table
        Searched by `search_images`, or as any other.

    Raises
    ------
    ConfigurationError
        There is no such folder, or the table is one of another folder or function.
    ImageError
        The folder holds no pictures.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"there is no folder {folder}")
    folder = folder.resolve()
    files = set(_files(folder))
    if not files:
        raise ImageError(f"there are no pictures in {folder}: no file is named like one")
    table = _opened(database, function)
    stored = _stored(table)
    if any(file.image != str(folder / file.path) for file in stored):
        raise ConfigurationError(
            f"the table holds the pictures of another folder than {folder}; use another database"
        )
    _delete(table, sorted(file.path for file in stored - files))
    new = sorted(files - stored)
    if new:
        table.add(pa.RecordBatchReader.from_batches(_COLUMNS, _batches(new)), on_bad_vectors="drop")
    if not table.count_rows():
        raise ImageError(f"none of the {len(files):,} files in {folder} holds a picture")
    return table


def search_images(table: Any, query: str | Image, limit: int = 12) -> list[Hit]:
    """Return the pictures of an `image_table` that are nearest to a text or a picture.

    Parameters
    ----------
    table : lancedb.table.Table
        What `image_table` gave.
    query : str or Image
        What to search for.
    limit : int, default 12
        How many pictures at most.

    Returns
    -------
    list of Hit
        The nearest first, with cosine similarities.
    """
    columns = ["path", "image", "_distance"]
    found = table.search(query).distance_type("cosine").limit(limit).select(columns).to_list()
    return [Hit(row["path"], Image(Path(row["image"])), 1 - row["_distance"]) for row in found]


def _files(folder: Path) -> Iterator[_File]:
    for place, _, names in os.walk(folder, onerror=_left_out):
        for file in (Path(place, name) for name in names):
            if is_reference(file.as_posix()):
                try:
                    status = file.stat()
                    str(file).encode()  # names that are no text cannot be stored
                except (OSError, UnicodeEncodeError) as error:
                    _left_out(error, file)
                else:
                    path = file.relative_to(folder).as_posix()
                    yield _File(path, str(file), status.st_size, status.st_mtime_ns)


def _left_out(error: Exception, file: Path | None = None) -> None:
    what = f"{str(file)!r} is" if file else "a folder is"
    warnings.warn(f"{what} left out: {error}", EmbeddingWarning, stacklevel=2)


def _opened(database: Any, function: ClipEmbeddings) -> Any:
    if TABLE not in database.list_tables().tables:
        return database.create_table(TABLE, schema=_schema(function))
    table = database.open_table(TABLE)
    found = table.embedding_functions["vector"].function
    # As the table would store it: with nothing left open that the model decides.
    if found != type(function).create(**function.safe_model_dump()):
        raise ConfigurationError(
            f"the table was made with {found!r}, which is not {function!r}; use another database"
        )
    return table


def _schema(function: ClipEmbeddings) -> type[LanceModel]:
    clip: Any = function

    class Picture(LanceModel):
        path: str
        image: str = clip.SourceField()
        size: int
        modified: int
        vector: clip.Vector() = clip.VectorField()  # type: ignore[valid-type]

    return Picture


def _stored(table: Any) -> set[_File]:
    rows = table.search().select(_COLUMNS.names).to_arrow()
    return {_File(**row) for row in rows.select(_COLUMNS.names).to_pylist()}


def _delete(table: Any, paths: Sequence[str]) -> None:
    for start in range(0, len(paths), _BATCH):
        quoted = ("'" + path.replace("'", "''") + "'" for path in paths[start : start + _BATCH])
        table.delete(f"path IN ({', '.join(quoted)})")


def _batches(files: Sequence[_File]) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(files), _BATCH):
        rows = [file._asdict() for file in files[start : start + _BATCH]]
        yield pa.RecordBatch.from_pylist(rows, schema=_COLUMNS)
