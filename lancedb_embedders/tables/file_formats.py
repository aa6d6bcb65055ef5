"""How each format of files is read: its types and number of rows first, then its rows."""

from __future__ import annotations

import gzip
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv, json

from lancedb_embedders.errors import ConfigurationError, InputError

# A row of a CSV file must fit in one; Arrow reads 32 of them ahead.
_BLOCK = 2 << 20
_UNREADABLE = (pa.ArrowException, OSError, EOFError, zlib.error, UnicodeError)


class Format(NamedTuple):
    """How files are read.

    Parameters
    ----------
    inspect : callable
        Takes a file and the columns that are strings in it, whatever they look like; returns its
        schema and number of rows.
    batches : callable
        Takes a file, the schema that `inspect` gave, and how many rows of a batch are wanted;
        returns batches of any size.
    """

    inspect: Callable[[Path, Sequence[str]], tuple[pa.Schema, int]]
    batches: Callable[[Path, pa.Schema, int], Iterable[pa.RecordBatch]]


@contextmanager
def readable(path: Path, shift: int = -1) -> Iterator[None]:
    """Name the file in errors, and its row as counted from 1; Arrow counts a CSV header as one."""
    try:
        yield
    except _UNREADABLE as error:
        what = re.sub(
            r"(?i)(?<=row )#?(\d+)", lambda found: str(int(found[1]) + shift), str(error), count=1
        )
        if "straddling" in what:
            what = f"a row is longer than {_BLOCK >> 20} MiB; make it Parquet or JSON lines"
        raise InputError(f"{path} cannot be read: {what[:300]}") from error


def unified(
    schemas: Iterable[tuple[str, pa.Schema]], all_strings: bool = False
) -> dict[str, pa.Field]:
    """Return the columns of all schemas; types that have no common one make strings, or fail."""
    fields: dict[str, pa.Field] = {}
    origins: dict[str, str] = {}
    for where, schema in schemas:
        for new in schema:
            name = new.name
            old = fields.setdefault(name, new.with_nullable(True))
            origins.setdefault(name, where)
            if old.type.equals(new.type):
                continue
            pair = [pa.schema([old]), pa.schema([new])]
            try:
                fields[name] = pa.unify_schemas(pair, promote_options="permissive").field(0)
            except pa.ArrowException:
                if not all_strings:
                    raise ConfigurationError(
                        f"column {name!r} is {old.type} in {origins[name]} and {new.type} in "
                        f"{where}; make it one type"
                    ) from None
                fields[name] = pa.field(name, pa.string())
            if not fields[name].type.equals(old.type):
                origins[name] = where
    return fields


def _is_zipped(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _decoded(path: Path, content: bytes, start: int = 0) -> str:
    try:
        return content.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8: byte {start + error.start} is {content[error.start]:#04x}"
        ) from None


def _unique(path: Path, names: list[str]) -> list[str]:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise InputError(f"{path} has several columns {repeated[0]!r}; rename all but one")
    return names


def _inspect_parquet(path: Path, _: Sequence[str]) -> tuple[pa.Schema, int]:
    with pq.ParquetFile(path) as file:
        fields = [field.with_type(_decoded_type(field.type)) for field in file.schema_arrow]
        _unique(path, file.schema_arrow.names)
        return pa.schema(fields), file.metadata.num_rows


def _decoded_type(kind: pa.DataType) -> pa.DataType:
    """Return a type whose batches are alike: those of dictionaries may hold different ones."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    return pa.string() if pa.types.is_string_view(kind) else kind


def _parquet_batches(path: Path, _: pa.Schema, size: int) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(size)


def _inspect_json(path: Path, _: Sequence[str]) -> tuple[pa.Schema, int]:
    schemas, rows = [], 0
    for batch in _json_batches(path):
        where = f"{path}, rows {rows + 1} to {rows + batch.num_rows},"
        fields = [field.with_type(_written_type(field.type)) for field in batch.schema]
        schemas.append((where, pa.schema(fields)))
        rows += batch.num_rows
    return pa.schema(unified(schemas).values()), rows


def _written_type(kind: pa.DataType) -> pa.DataType:
    """Return a type with the strings that JSON has where Arrow sees times."""
    if pa.types.is_timestamp(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_written_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _written_type(field.type)) for field in kind])
    return kind


def _json_batches(
    path: Path, schema: pa.Schema | None = None, _: int = 0
) -> Iterator[pa.RecordBatch]:
    # Not as a stream, of which Arrow takes the types from the first block.
    rows = start = 0
    unexpected = "infer" if schema is None else "error"
    parse = json.ParseOptions(explicit_schema=schema, unexpected_field_behavior=unexpected)
    with gzip.open(path) if _is_zipped(path) else path.open("rb") as file:
        while lines := file.readlines(_BLOCK):
            block = b"".join(lines)
            content = _decoded(path, block, start).encode()
            read = json.ReadOptions(use_threads=False, block_size=len(block) + 1)
            with readable(path, rows + 1):
                table = json.read_json(pa.BufferReader(content), read, parse)
            yield from table.to_batches()
            rows += table.num_rows
            start += len(block)


def _inspect_csv(path: Path, strings: Sequence[str]) -> tuple[pa.Schema, int]:
    with _csv(path) as reader:
        names = _unique(path, reader.schema.names)
    types = [(name, pa.string() if name in strings else pa.null()) for name in names]
    open_types = [i for i, name in enumerate(names) if name not in strings]
    schemas = [pa.schema(types)]
    rows = 0
    with _csv(path, pa.schema([(name, pa.string()) for name in names])) as reader:
        for batch in reader:
            rows += batch.num_rows
            if open_types:
                schemas.append(_guessed(batch.select(open_types)))
    return pa.schema(unified([(str(path), s) for s in schemas], all_strings=True).values()), rows


def _guessed(strings: pa.RecordBatch) -> pa.Schema:
    """Return the types that Arrow would read from a CSV file of these values."""
    written = pa.BufferOutputStream()
    csv.write_csv(strings, written)
    content = written.getvalue()
    return csv.read_csv(content, csv.ReadOptions(block_size=content.size), _parsed(",")).schema


def _csv_batches(path: Path, schema: pa.Schema, _: int) -> Iterator[pa.RecordBatch]:
    with _csv(path, schema) as reader:
        yield from reader


@contextmanager
def _csv(path: Path, schema: pa.Schema | None = None) -> Iterator[Any]:
    # Only without threads does Arrow say in which row an error is.
    read = csv.ReadOptions(use_threads=False, block_size=_BLOCK)
    tabs = path.name.lower().endswith((".tsv", ".tsv.gz"))
    parse = _parsed("\t" if tabs else ",")
    convert = csv.ConvertOptions(column_types=schema)
    zipped = "gzip" if _is_zipped(path) else None
    with pa.input_stream(path, zipped) as file, csv.open_csv(file, read, parse, convert) as reader:
        yield reader


def _parsed(delimiter: str) -> csv.ParseOptions:
    return csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)


def _inspect_text(path: Path, strings: Sequence[str]) -> tuple[pa.Schema, int]:
    _decoded(path, path.read_bytes())
    return pa.schema({"path": pa.string(), strings[0]: pa.string()}), 1


def _text_batches(path: Path, schema: pa.Schema, _: int) -> Iterator[pa.RecordBatch]:
    content = _decoded(path, path.read_bytes())
    yield pa.RecordBatch.from_pydict({schema.names[1]: [content]})


TEXT = Format(_inspect_text, _text_batches)
_PARQUET = Format(_inspect_parquet, _parquet_batches)
_JSON = Format(_inspect_json, _json_batches)
_CSV = Format(_inspect_csv, _csv_batches)

#: By how the names of files end.
FORMATS = {
    **dict.fromkeys((".parquet", ".pq"), _PARQUET),
    **dict.fromkeys((".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz"), _JSON),
    **dict.fromkeys((".csv", ".tsv", ".csv.gz", ".tsv.gz"), _CSV),
    **dict.fromkeys((".txt", ".md", ".markdown"), TEXT),
}
