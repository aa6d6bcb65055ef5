"""Rows of CSV, TSV and JSON-lines files, and of BEIR folders."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lancedb_embedders import ConfigurationError, InputError


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Return the rows of a file, or of a folder's ``corpus.jsonl``."""
    if path.is_dir():
        path = next(iter(sorted(path.glob("corpus.jsonl*"))), path / "corpus.jsonl")
    if not path.is_file():
        raise ConfigurationError(f"there is no file {path}")
    kind = path.with_suffix("") if path.suffix == ".gz" else path
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as lines:
        if kind.suffix in (".csv", ".tsv"):
            if kind.suffix == ".csv":
                yield from csv.DictReader(lines)
            else:
                yield from csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        elif kind.suffix == ".jsonl":
            for number, line in enumerate(filter(str.strip, lines)):
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise InputError(
                        f"{path}, row {number} is no JSON: {error}", [number]
                    ) from None
                if not isinstance(row, dict):
                    raise InputError(f"{path}, row {number} is no JSON object", [number])
                yield row
        else:
            raise ConfigurationError(f"{path} is none of .csv, .tsv, .jsonl, or these with .gz")
