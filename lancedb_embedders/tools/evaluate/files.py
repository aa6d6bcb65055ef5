"""Rows of the files that evaluation data comes in: TSV, CSV, JSON lines, compressed or not."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from lancedb_embedders.errors import ConfigurationError, InputError


def records(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a file.

    Parameters
    ----------
    path : pathlib.Path
        TSV (tabs, no quoting), CSV, or JSON lines; with ``.gz`` at the end, compressed.

    Raises
    ------
    ConfigurationError
        There is no such file, it cannot be read, or its name ends in something else.
    InputError
        A line that is no JSON object; names the row, counted from 0.
    """
    kind = "".join(path.suffixes[-2:]).removesuffix(".gz").lower()
    with opened(path) as file:
        if kind.endswith((".jsonl", ".ndjson", ".json")):
            for row, line in enumerate(filter(str.strip, file)):
                try:
                    record = json.loads(line)
                except ValueError as error:
                    raise InputError(f"{path}, row {row}: no JSON: {error}", [row]) from None
                if not isinstance(record, dict):
                    raise InputError(f"{path}, row {row}: expected an object", [row])
                yield record
        elif kind.endswith(".tsv"):
            yield from csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        elif kind.endswith(".csv"):
            yield from csv.DictReader(file)
        else:
            raise ConfigurationError(
                f"{path}: files are read that end in .tsv, .csv or .jsonl, and .gz of these"
            )


@contextmanager
def opened(path: Path) -> Iterator[IO[str]]:
    """Open a text file, compressed or not; what goes wrong there is a `ConfigurationError`."""
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8-sig", newline="")
            if path.suffix == ".gz"
            else (path.open(encoding="utf-8-sig", newline="")) as file
        ):
            yield file
    except FileNotFoundError:
        raise ConfigurationError(f"there is no file {path}") from None
    except (IsADirectoryError, PermissionError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, csv.Error) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
