"""Files of rows, and folders of texts, as batches of Arrow: what a table is filled from."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from lancedb_embedders.errors import ConfigurationError, InputError
from lancedb_embedders.tables.file_formats import FORMATS, TEXT, Format, readable, unified

_ADDED_KEY = "source"


def read_files(
    paths: Sequence[str | Path],
    text: str | None = None,
    key: str | None = None,
    batch_rows: int = 1024,
) -> Source:
    """Open files as one stream of rows, each with a key that is the same in every run.

    All files are read through once to find types, count rows and meet what is wrong with them,
    before the first row is embedded; of Parquet, only what it says of itself is read.

    Parameters
    ----------
    paths : sequence of str or pathlib.Path
        Parquet, JSON lines and CSV files (the last two also gzipped) or text and Markdown files,
        but not both; folders, of which all such files are taken except hidden ones, subfolders
        included and links to folders not; glob patterns. A file met twice is read once.
    text : str, optional
        Column of the text; None: "text". Every file must have it, save text files, whose whole
        content it is.
    key : str, optional
        Column that identifies a row. None: ``path`` of text files, otherwise ``id`` if there is
        one, otherwise ``source``, which is added: ``notes/a.csv#7`` for row 7 of a file,
        counted from 1.
    batch_rows : int, default 1024
        Rows of a batch; only the last has fewer.

    Returns
    -------
    Source
        The schema, the columns, the number of rows, and the batches.

    Raises
    ------
    ConfigurationError
        Paths where nothing is, or columns that are missing or differ in type between files.
    InputError
        A file that is empty, damaged or not UTF-8, or a text or key of a type that is none. While
        batches are read: a row without a key, damage within a Parquet file.

    Notes
    -----
    Files are named in ``path`` and ``source`` by their path below the folder given, or by their
    name if given themselves. Names that would be the same for two files are preceded by as many
    of the folders above as tell them apart, so the same arguments give the same names from any
    working directory.

    Strings in JSON stay strings, also those that look like dates. The text and key of CSV files are
    read as strings, the other columns as what fits all their values. A column without any value is
    one of strings.
    """
    if isinstance(paths, (str, Path)):
        paths = [paths]
    found = _distinct([file for path in paths for file in _found(path)])
    if not found:
        raise ConfigurationError("no files were given to read")
    formats = [_format_of(path) for path, _ in found]
    from_texts = TEXT in formats
    if from_texts and set(formats) != {TEXT}:
        one, other = (found[_first(formats, texts)][0] for texts in (True, False))
        raise ConfigurationError(
            f"{one} is a text and {other} a file of rows; a table is filled from one or the other: "
            "give the ones to read, as in 'folder/*.parquet'"
        )
    text = text or "text"
    if from_texts and text == "path":
        raise ConfigurationError("text='path' is the column of the files' names; name another")
    used = key or ("path" if from_texts else "id")
    files = [
        _File(kind, path, name, *_inspected(kind, path, [text, used]))
        for kind, (path, name) in zip(formats, found, strict=True)
    ]
    fields = unified((str(file.path), file.schema) for file in files)
    added = key is None and used not in fields
    if added:
        used = _ADDED_KEY
        if used in fields:
            raise ConfigurationError(
                f"there is no column 'id', and {used!r}, where a key would be added, is taken; "
                f"name the column that is the key, of: {', '.join(fields)}"
            )
    for file in files:
        _check_column(file, text, "text", _is_string)
        if not added:
            _check_column(file, used, "key", _is_key)
    if added:
        fields[used] = pa.field(used, pa.string())
    # A table with a column of no type could take no value there, ever.
    schema = pa.schema(
        [f.with_type(pa.string()) if pa.types.is_null(f.type) else f for f in fields.values()]
    )
    return Source(schema, used, text, sum(file.rows for file in files), tuple(files), batch_rows)


@dataclass(frozen=True)
class Source:
    """Rows of files, as often as they are asked for.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of every batch.
    key : str
        Column that identifies a row: never null or empty.
    text : str
        Column of the text; it may be null.
    rows : int
        How many there are in all files.
    """

    schema: pa.Schema
    key: str
    text: str
    rows: int
    files: tuple[_File, ...] = field(repr=False)
    batch_rows: int = field(repr=False)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read the rows anew, in batches of the same size whatever the files'."""
        waiting: list[pa.RecordBatch] = []
        for file in self.files:
            for batch in file.batches(self.schema, self.key, self.batch_rows):
                waiting.append(batch)
                if sum(b.num_rows for b in waiting) >= self.batch_rows:
                    cut = self._joined(waiting)
                    waiting = [cut.pop()] if cut[-1].num_rows < self.batch_rows else []
                    yield from cut
        yield from self._joined(waiting)

    def _joined(self, batches: Sequence[pa.RecordBatch]) -> list[pa.RecordBatch]:
        table = pa.Table.from_batches(batches, self.schema).combine_chunks()
        cut: list[pa.RecordBatch] = table.to_batches(max_chunksize=self.batch_rows)
        return [batch for batch in cut if batch.num_rows]


@dataclass(frozen=True)
class _File:
    format: Format
    path: Path
    name: str
    schema: pa.Schema
    rows: int

    def batches(self, schema: pa.Schema, key: str, size: int) -> Iterator[pa.RecordBatch]:
        row = 1
        with readable(self.path):
            for batch in self.format.batches(self.path, self.schema, size):
                columns = [self._column(batch, field, key, row) for field in schema]
                keys = columns[schema.get_field_index(key)]
                if (missing := pc.index(_is_missing(keys), True).as_py()) >= 0:
                    raise InputError(f"{self.path}, row {row + missing}: the key {key!r} is empty")
                yield pa.RecordBatch.from_arrays(columns, schema=schema)
                row += batch.num_rows

    def _column(self, batch: pa.RecordBatch, field: pa.Field, key: str, row: int) -> pa.Array:
        if self.format is TEXT and field.name == "path":
            return pa.array([self.name], field.type)
        if field.name in batch.schema.names:
            column = batch.column(field.name)
            return column if column.type.equals(field.type) else column.cast(field.type)
        if field.name == key:
            return pa.array([f"{self.name}#{row + i}" for i in range(batch.num_rows)])
        return pa.nulls(batch.num_rows, field.type)


def _found(given: str | Path) -> list[tuple[Path, str]]:
    """Return files with their names: below a folder that was given, or their own."""
    path = Path(given).expanduser()
    if path.is_dir():
        files = sorted(_walked(path), key=lambda file: file.relative_to(path).parts)
        if not files:
            raise ConfigurationError(f"there is nothing to read in {path}: {_taken()}")
        return [(file, file.relative_to(path).as_posix()) for file in files]
    if path.exists():
        return [(path, path.name)]
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(given), re.IGNORECASE):
        raise ConfigurationError(f"{given} is not read: only local files and folders are")
    # Path.glob takes no absolute patterns.
    matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207
    matches = [match for match in matches if Path(match).exists()]
    if not matches:
        raise ConfigurationError(f"there is no file or folder {path}")
    return [file for match in matches for file in _found(match)]


def _walked(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and name.lower().endswith(tuple(FORMATS)):
                yield Path(place, name)


def _refuse(error: OSError) -> None:
    raise ConfigurationError(f"{error.filename} cannot be read: {error.strerror}") from error


def _distinct(found: Sequence[tuple[Path, str]]) -> list[tuple[Path, str]]:
    """Return each file once, with a name that no other has."""
    once: dict[Path, tuple[Path, str]] = {}
    for path, name in found:
        once.setdefault(path.resolve(), (path, name))
    files = [path for path, _ in once.values()]
    names = [name for _, name in once.values()]
    while repeated := {name for name, count in Counter(names).items() if count > 1}:
        for i, name in enumerate(names):
            if name in repeated:
                above = len(Path(name).parts) + 1
                names[i] = Path(*files[i].absolute().parts[-above:]).as_posix()
    return list(zip(files, names, strict=True))


def _format_of(path: Path) -> Format:
    for ending, kind in FORMATS.items():
        if path.name.lower().endswith(ending):
            return kind
    raise ConfigurationError(f"{path} is of no type that is read: {_taken()}")


def _first(formats: Sequence[Format], texts: bool) -> int:
    return next(i for i, kind in enumerate(formats) if (kind is TEXT) == texts)


def _taken() -> str:
    return f"files that end in {', '.join(FORMATS)} are"


def _inspected(kind: Format, path: Path, strings: Sequence[str]) -> tuple[pa.Schema, int]:
    with readable(path):
        str(path).encode()  # a name that is no text could not be stored
        if not path.stat().st_size:
            raise InputError(f"{path} is empty; leave it out")
        return kind.inspect(path, strings)


def _check_column(file: _File, name: str, role: str, fits: Callable[[pa.DataType], bool]) -> None:
    if name not in file.schema.names:
        raise ConfigurationError(
            f"{file.path} has no column {name!r} for the {role}; "
            f"it has: {', '.join(file.schema.names)}"
        )
    kind = file.schema.field(name).type
    if not (pa.types.is_null(kind) or fits(kind)):
        raise InputError(f"{file.path}: column {name!r} is {kind}, which cannot be a {role}")


def _is_string(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_key(kind: pa.DataType) -> bool:
    plain = getattr(kind, "storage_type", kind)
    return _is_string(plain) or pa.types.is_integer(plain) or plain == pa.binary(16)


def _is_missing(keys: pa.Array) -> pa.Array:
    return pc.fill_null(pc.equal(keys, ""), True) if _is_string(keys.type) else keys.is_null()
