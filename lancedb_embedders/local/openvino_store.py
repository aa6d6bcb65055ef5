"""Where graphs come from: ready-made in the model's folder, kept from before, or made now.

A graph is kept in ``openvino/<model>-<key>/`` of the cache folder; the key stands for the content
of the model's folder and for the versions of what made the graph. It gets there by one rename,
so that nobody reads half of it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from lancedb_embedders.cache.shared import default_folder
from lancedb_embedders.local import hub
from lancedb_embedders.local.declared import read_declared, read_tokens
from lancedb_embedders.local.engine import EngineOptions
from lancedb_embedders.local.heads import Head, UnsupportedModelError
from lancedb_embedders.local.openvino_model import OpenVinoModel, tokenizer_from
from lancedb_embedders.local.openvino_runtime import core, import_openvino

_logger = logging.getLogger(__name__)

#: Changes when graphs are made or kept in another way.
_FORMAT = 1
_MADE_BY = ("openvino", "transformers", "sentence-transformers", "torch", "tokenizers")
_MODEL, _WEIGHTS, _TOKENIZER, _FACTS = "model.xml", "model.bin", "tokenizer.json", "facts.json"
_READY_MADE = Path("openvino", "openvino_model.xml")
_READY_MADE_INT8 = Path("openvino", "openvino_model_qint8_quantized.xml")
_READY_MADE_ONNX = Path("onnx", "model.onnx")
# What of a large file goes into the key: training changes weights everywhere.
_SAMPLES, _SAMPLE_BYTES = 64, 16_384
_MODEL_FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "*.bin", "*.py")
# Converting takes seconds to minutes; who waits longer than this converts for itself.
_PATIENCE = 1800.0


class Facts(BaseModel):
    """What is kept beside a graph.

    Attributes
    ----------
    files : dict
        CRC-32 of each file.
    pad, cut_left, max_length
        How it is fed, as in `OpenVinoModel`; `cut_left`: a text that is too long loses its
        beginning.
    reference : list of float
        Torch's vector of the reference text.
    refused : str or None
        Why there is no graph.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: dict[str, int] = {}
    pad: int = 0
    cut_left: bool = False
    max_length: int | None = None
    reference: list[float] = []
    refused: str | None = None


def find_model(folder: Path, head: Head, options: EngineOptions) -> OpenVinoModel:
    """Return the graph of the model in `folder`, and make it if there is none.

    Parameters
    ----------
    folder : pathlib.Path
        The model's folder.
    head : Head
        What stands behind its transformer.
    options : EngineOptions
        Cache folder, trust, and whether eight bits are wanted.

    Raises
    ------
    UnsupportedModelError
        There is no graph, and none can be made.
    MissingExtraError
        Eight bits are wanted, and what makes them is not installed.
    EmbeddingError
        What loading the model with torch raises.
    """
    key = _key(folder)
    graphs = (options.cache_dir or default_folder()) / "openvino"

    def make() -> OpenVinoModel:
        from lancedb_embedders.local.openvino_convert import convert

        if hub.graph_only(folder):
            raise UnsupportedModelError("its ready-made graph cannot be used")
        return convert(folder, head, options.trust_remote_code)

    def whole() -> OpenVinoModel:
        return (
            _ready_made(folder, _READY_MADE)
            or _kept(graphs / key)
            or _ready_made(folder, _READY_MADE_ONNX)
            or _made(graphs / key, make)
        )

    def make_small() -> OpenVinoModel:
        from lancedb_embedders.local.openvino_quantize import quantize

        return quantize(whole(), head)

    if options.precision != "int8":
        return whole()
    small = graphs / f"{key}-int8"
    return _ready_made(folder, _READY_MADE_INT8) or _kept(small) or _made(small, make_small)


# -- ready-made ------------------------------------------------------------------------------------


def _ready_made(folder: Path, file: Path) -> OpenVinoModel | None:
    if not (folder / file).is_file() or not (folder / _TOKENIZER).is_file():
        return None
    try:
        tokens = read_tokens(folder)
        tokenizer = tokenizer_from(folder / _TOKENIZER, tokens.cut_left)
        pad = tokens.pad if isinstance(tokens.pad, int) else tokenizer.id_of(tokens.pad)
        model = core().read_model(folder / file)
    except Exception as error:  # another graph of it will do
        _logger.warning("%s cannot be read, and is left aside: %s", folder / file, _reason(error))
        return None
    return OpenVinoModel(model, tokenizer, pad or 0, read_declared(folder).max_length)


# -- kept ------------------------------------------------------------------------------------------


def _kept(kept: Path, level: int = logging.DEBUG) -> OpenVinoModel | None:
    if not kept.is_dir():
        return None
    try:
        facts = Facts.model_validate(_read_checked(kept / _FACTS))
        for name, checksum in facts.files.items():
            if _checksum(kept / name) != checksum:
                raise ValueError(f"{name} is not as it was written")
        if facts.refused is not None:
            raise UnsupportedModelError(facts.refused)
        return OpenVinoModel(
            model=core().read_model(kept / _MODEL),
            tokenizer=tokenizer_from(kept / _TOKENIZER, facts.cut_left),
            pad=facts.pad,
            max_length=facts.max_length,
            reference=np.array(facts.reference, dtype=np.float32) if facts.reference else None,
        )
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        _logger.log(level, "%s is damaged and made anew: %s", kept, _reason(error))
        return None


def _made(kept: Path, make: Callable[[], OpenVinoModel]) -> OpenVinoModel:
    with _alone(kept) as writable:
        # Another process may have been first.
        found = _kept(kept, logging.WARNING) if writable else None
        if found is not None:
            return found
        _logger.info("making a graph for OpenVINO, to be kept as %s; this happens once", kept)
        try:
            made = make()
        except UnsupportedModelError as refusal:
            _keep(kept, writable, None, str(refusal))
            raise
        _keep(kept, writable, made, None)
        return made


def _keep(kept: Path, writable: bool, made: OpenVinoModel | None, refused: str | None) -> None:
    if not writable:
        return
    try:
        place = Path(tempfile.mkdtemp(prefix=".", dir=kept.parent))
        try:
            facts = Facts(refused=refused) if made is None else _write(made, place)
            _write_checked(place / _FACTS, facts.model_dump())
            if kept.exists():  # damaged, or it would have been taken
                kept.rename(place / "old")
            os.replace(place, kept)  # noqa: PTH105, Path.replace is the same
            shutil.rmtree(kept / "old", ignore_errors=True)
        finally:
            shutil.rmtree(place, ignore_errors=True)
    except OSError as error:
        _logger.warning(
            "the graph cannot be kept in %s, so each process makes it anew: %s",
            kept.parent,
            _reason(error),
        )


def _write(made: OpenVinoModel, place: Path) -> Facts:
    import_openvino().save_model(made.model, place / _MODEL, compress_to_fp16=False)
    made.tokenizer.save(place / _TOKENIZER)
    return Facts(
        files={name: _checksum(place / name) for name in (_MODEL, _WEIGHTS, _TOKENIZER)},
        pad=made.pad,
        cut_left=made.tokenizer.left,
        max_length=made.max_length,
        reference=[] if made.reference is None else made.reference.tolist(),
    )


@contextmanager
def _alone(kept: Path) -> Iterator[bool]:
    """Keep other processes from making the same graph; yields whether it can be kept."""
    from filelock import FileLock, Timeout

    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(kept.parent / f".{kept.name}.lock", timeout=_PATIENCE)
        lock.acquire()
    except (OSError, Timeout) as error:
        _logger.warning(
            "the graph cannot be kept in %s, so each process makes it anew: %s",
            kept.parent,
            _reason(error),
        )
        yield False
        return
    with lock:
        lock.release()  # `with` has acquired it once more
        yield True


# -- keys and checksums ----------------------------------------------------------------------------


def _key(folder: Path) -> str:
    digest = hashlib.sha256(json.dumps([_FORMAT, *map(_version, _MADE_BY)]).encode())
    for file in sorted({found for pattern in _MODEL_FILES for found in folder.rglob(pattern)}):
        place = file.relative_to(folder)
        if place.parts[0] not in {"onnx", "openvino"} and file.is_file():
            digest.update(place.as_posix().encode() + _sample(file))
    name = re.sub(r"[^A-Za-z0-9._-]", "-", folder.name)[:40]
    return f"{name}-{digest.hexdigest()[:24]}"


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


def _checksum(file: Path) -> int:
    checksum = 0
    with file.open("rb") as stream:
        while block := stream.read(2**22):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _read_checked(file: Path) -> Any:
    content = json.loads(file.read_text(encoding="utf-8"))
    if zlib.crc32(json.dumps(content["facts"]).encode()) != content["crc"]:
        raise ValueError(f"{file.name} is not as it was written")
    return content["facts"]


def _write_checked(file: Path, facts: dict[str, Any]) -> None:
    crc = zlib.crc32(json.dumps(facts).encode())
    file.write_text(json.dumps({"facts": facts, "crc": crc}), encoding="utf-8")


def _reason(error: BaseException) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"
