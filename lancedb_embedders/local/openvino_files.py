"""What tells one model's folder from another, and a whole file from a damaged one."""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

#: Changes when graphs are made or kept in another way.
_FORMAT = 1
_MADE_BY = ("openvino", "transformers", "sentence-transformers", "torch", "tokenizers")
_OTHER_GRAPHS = {"onnx", "openvino"}
# What of a large file goes into the key: training changes weights everywhere.
_SAMPLES, _SAMPLE_BYTES = 64, 16_384
_MODEL_FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "*.bin", "*.py")


def key_of(folder: Path, files: Iterable[Path]) -> str:
    """Return what stands for the content of files in a model's folder, and who makes graphs."""
    digest = hashlib.sha256(json.dumps([_FORMAT, *map(_version, _MADE_BY)]).encode())
    for file in sorted(files):
        digest.update(file.relative_to(folder).as_posix().encode() + _sample(file))
    name = re.sub(r"[^A-Za-z0-9._-]", "-", folder.name)[:40]
    return f"{name}-{digest.hexdigest()[:24]}"


def model_files(folder: Path) -> set[Path]:
    """Return the files that a model is loaded from with torch."""
    found = {file for pattern in _MODEL_FILES for file in folder.rglob(pattern) if file.is_file()}
    return {file for file in found if file.relative_to(folder).parts[0] not in _OTHER_GRAPHS}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _sample(file: Path) -> bytes:
    """Return the SHA-256 of a small file, or of samples from all over a large one and its age."""
    facts = file.stat()
    digest = hashlib.sha256(str(facts.st_size).encode())
    with file.open("rb") as stream:
        if facts.st_size <= _SAMPLES * _SAMPLE_BYTES:
            digest.update(stream.read())
            return digest.digest()
        digest.update(str(facts.st_mtime_ns).encode())
        last = facts.st_size - _SAMPLE_BYTES
        for start in np.linspace(0, last, _SAMPLES).astype(np.int64).tolist():
            stream.seek(start)
            digest.update(stream.read(_SAMPLE_BYTES))
    return digest.digest()


def checksum(file: Path) -> int:
    """Return the CRC-32 of a file."""
    found = 0
    with file.open("rb") as stream:
        while block := stream.read(2**22):
            found = zlib.crc32(block, found)
    return found


def read_checked(file: Path) -> Any:
    """Read what `write_checked` wrote.

    Raises
    ------
    ValueError, TypeError, KeyError
        It is not as it was written.
    """
    content = json.loads(file.read_text(encoding="utf-8"))
    if zlib.crc32(json.dumps(content["facts"]).encode()) != content["crc"]:
        raise ValueError(f"{file.name} is not as it was written")
    return content["facts"]


def write_checked(file: Path, facts: dict[str, Any]) -> None:
    """Write JSON, with a checksum."""
    crc = zlib.crc32(json.dumps(facts).encode())
    file.write_text(json.dumps({"facts": facts, "crc": crc}), encoding="utf-8")


def reason(error: BaseException) -> str:
    """Return an error in a line."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"
