"""Where graphs come from: ready-made in the model's folder, kept from before, or made now.

A graph is kept in ``openvino/<model>-<key>/`` of the cache folder; the key stands for the content
of the model's folder and for the versions of what made the graph. It gets there by one rename,
so that nobody reads half of it.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from lancedb_embedders.cache.shared import default_folder
from lancedb_embedders.local import hub
from lancedb_embedders.local.declared import read_declared, read_tokens
from lancedb_embedders.local.engine import EngineOptions
from lancedb_embedders.local.heads import Head, UnsupportedModelError
from lancedb_embedders.local.openvino_files import (
    checksum,
    key_of,
    model_files,
    read_checked,
    reason,
    write_checked,
)
from lancedb_embedders.local.openvino_model import OpenVinoModel, tokenizer_from
from lancedb_embedders.local.openvino_runtime import core, import_openvino
from lancedb_embedders.local.openvino_source import Source

_logger = logging.getLogger(__name__)

_MODEL, _WEIGHTS, _TOKENIZER, _FACTS = "model.xml", "model.bin", "tokenizer.json", "facts.json"
_READY_MADE = Path("openvino", "openvino_model.xml")
_READY_MADE_INT8 = Path("openvino", "openvino_model_qint8_quantized.xml")
_READY_MADE_ONNX = Path("onnx", "model.onnx")
# Converting takes seconds to minutes; who waits longer than this converts for itself.
_PATIENCE = 1800.0


_DAMAGE = (OSError, ValueError, TypeError, KeyError, RuntimeError, UnsupportedModelError)


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
    key = key_of(folder, model_files(folder))
    graphs = (options.cache_dir or default_folder()) / "openvino"

    def make() -> OpenVinoModel:
        from lancedb_embedders.local.openvino_convert import convert

        if hub.graph_only(folder):
            raise UnsupportedModelError("its ready-made graph cannot be used")
        return convert(folder, head, options.trust_remote_code)

    def ready_made(place: Path) -> OpenVinoModel | None:
        return _ready_made(folder, folder / place, graphs)

    def whole() -> OpenVinoModel:
        return (
            ready_made(_READY_MADE)
            or _kept(graphs / key)
            or ready_made(_READY_MADE_ONNX)
            or _made(graphs / key, make)
        )

    def make_small() -> OpenVinoModel:
        from lancedb_embedders.local.openvino_quantize import quantize

        return quantize(whole(), head)

    if options.precision != "int8":
        return whole()
    small = graphs / f"{key}-int8"
    return ready_made(_READY_MADE_INT8) or _kept(small) or _made(small, make_small)


# -- ready-made ------------------------------------------------------------------------------------


def _ready_made(folder: Path, file: Path, graphs: Path) -> OpenVinoModel | None:
    if not file.is_file() or not (folder / _TOKENIZER).is_file():
        return None
    parts = [part for part in (file, file.with_suffix(".bin")) if part.is_file()]
    try:
        tokens = read_tokens(folder)
        tokenizer = tokenizer_from(folder / _TOKENIZER, tokens.cut_left)
        pad = tokens.pad if isinstance(tokens.pad, int) else tokenizer.id_of(tokens.pad)
        source = Source(
            partial(core().read_model, file),
            size=sum(part.stat().st_size for part in parts),
            folder=graphs / key_of(folder, parts),
        )
        source.check()
    except Exception as error:  # another graph of it will do
        _logger.warning("%s cannot be read, and is left aside: %s", file, reason(error))
        return None
    return OpenVinoModel(source, tokenizer, pad or 0, read_declared(folder).max_length)


# -- kept ------------------------------------------------------------------------------------------


def _kept(kept: Path, level: int = logging.DEBUG) -> OpenVinoModel | None:
    if not kept.is_dir():
        return None
    try:
        facts = Facts.model_validate(read_checked(kept / _FACTS))
        found = None if facts.refused is not None else _opened(kept, facts)
    except _DAMAGE as error:
        _logger.log(level, "%s is damaged and made anew: %s", kept, reason(error))
        return None
    if facts.refused is not None:
        raise UnsupportedModelError(facts.refused)
    return found


def _opened(kept: Path, facts: Facts) -> OpenVinoModel:
    _compare(kept, facts, _TOKENIZER)
    weights = (kept / _WEIGHTS).stat().st_size
    source = Source(partial(_read_kept, kept, facts), weights, folder=kept)
    source.check()
    return OpenVinoModel(
        source=source,
        tokenizer=tokenizer_from(kept / _TOKENIZER, facts.cut_left),
        pad=facts.pad,
        max_length=facts.max_length,
        reference=np.array(facts.reference, dtype=np.float32) if facts.reference else None,
    )


def _read_kept(kept: Path, facts: Facts) -> Any:
    for name in (_MODEL, _WEIGHTS):
        _compare(kept, facts, name)
    return core().read_model(kept / _MODEL)


def _compare(kept: Path, facts: Facts, name: str) -> None:
    if checksum(kept / name) != facts.files[name]:
        raise ValueError(f"{name} is not as it was written")


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
        return (_kept(kept) if writable else None) or made


def _keep(kept: Path, writable: bool, made: OpenVinoModel | None, refused: str | None) -> None:
    if not writable:
        return
    try:
        place = kept.parent / f".{kept.name}.new"  # the lock is held: no one else writes there
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        try:
            facts = Facts(refused=refused) if made is None else _write(made, place)
            write_checked(place / _FACTS, facts.model_dump())
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
            reason(error),
        )


def _write(made: OpenVinoModel, place: Path) -> Facts:
    import_openvino().save_model(made.source.model, place / _MODEL, compress_to_fp16=False)
    made.tokenizer.save(place / _TOKENIZER)
    return Facts(
        files={name: checksum(place / name) for name in (_MODEL, _WEIGHTS, _TOKENIZER)},
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
        lock = FileLock(kept.parent / f".{kept.name}.lock")
        lock.acquire(timeout=_PATIENCE)
    except (OSError, Timeout) as error:
        _logger.warning(
            "the graph cannot be kept in %s, so each process makes it anew: %s",
            kept.parent,
            reason(error),
        )
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
