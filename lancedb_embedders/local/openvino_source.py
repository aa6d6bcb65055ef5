"""A graph that is to be compiled: from its own files, or quicker from what was compiled before."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lancedb_embedders.local.heads import UnsupportedModelError
from lancedb_embedders.local.openvino_files import reason
from lancedb_embedders.local.openvino_runtime import core, import_openvino

if TYPE_CHECKING:
    import openvino

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Compiled:
    """A compiled graph, and the memory that it may still read from."""

    graph: openvino.CompiledModel
    memory: Any


class Source:
    """A graph, read when it is needed.

    Parameters
    ----------
    read : callable
        Reads it.
    size : int
        Bytes of its weights.
    folder : pathlib.Path, optional
        Where compiled forms are kept: in a quarter of the time a process is ready.
    """

    def __init__(
        self, read: Callable[[], openvino.Model], size: int, folder: Path | None = None
    ) -> None:
        self._read = read
        self.size = size
        self._folder = folder
        self._memories: dict[Path, Any] = {}

    @classmethod
    def of(cls, model: openvino.Model) -> Source:
        """Make one of a graph in memory."""
        constants = (node for node in model.get_ops() if node.get_type_name() == "Constant")
        return cls(lambda: model, sum(node.get_byte_size() for node in constants))

    @cached_property
    def model(self) -> openvino.Model:
        """The graph itself.

        Raises
        ------
        UnsupportedModelError
            It cannot be read.
        """
        try:
            return self._read()
        except Exception as error:
            raise UnsupportedModelError(f"its graph cannot be read ({reason(error)})") from None

    def check(self) -> None:
        """Make sure that it can be compiled.

        Raises
        ------
        UnsupportedModelError
            It cannot be read, and no compiled form is kept.
        """
        if not any(self._memory(file) is not None for file in self._compiled("")):
            self.model  # noqa: B018, reading shows whether it can be read

    def compile(self, settings: Mapping[str, Any]) -> Compiled:
        """Compile it for this CPU."""
        tag = _tag(settings)
        for file in self._compiled(tag):
            found = self._load(file, settings)
            if found is not None:
                return found
        compiled = core().compile_model(self.model, "CPU", dict(settings))
        if self._folder is not None:
            try:
                _save(compiled, self._folder, tag)
            except (OSError, RuntimeError) as error:  # the next process compiles once more
                _logger.debug("what was compiled is not kept: %s", error)
        return Compiled(compiled, None)

    def _compiled(self, tag: str) -> list[Path]:
        return [] if self._folder is None else list(self._folder.glob(f"compiled-{tag}*.blob"))

    def _load(self, file: Path, settings: Mapping[str, Any]) -> Compiled | None:
        memory = self._memory(file)
        if memory is None:
            return None
        try:
            tensor = import_openvino().Tensor(memory, shared_memory=True)
            return Compiled(core().import_model(tensor, "CPU", dict(settings)), memory)
        except RuntimeError as error:
            _discard(file, error)
            return None

    def _memory(self, file: Path) -> Any:
        """Return a compiled form as memory; None if it is not as it was written."""
        if file not in self._memories:
            try:
                # Copied where it is written to, which is nowhere: processes share it.
                memory: Any = np.memmap(file, dtype=np.uint8, mode="c")
                if f"{zlib.crc32(memory.data):08x}" != file.stem.rpartition("-")[2]:
                    raise ValueError("it is not as it was written")
            except (OSError, ValueError) as error:
                _discard(file, error)
                return None
            self._memories[file] = memory
        return self._memories[file]


def _discard(file: Path, error: Exception) -> None:
    _logger.debug("%s is of no use and made anew: %s", file, error)
    file.unlink(missing_ok=True)


def _save(compiled: openvino.CompiledModel, folder: Path, tag: str) -> None:
    content = compiled.export_model().getbuffer()
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f".{os.getpid()}-{threading.get_ident()}"
    try:
        place.write_bytes(content)
        place.replace(folder / f"compiled-{tag}-{zlib.crc32(content):08x}.blob")
    finally:
        place.unlink(missing_ok=True)


def _tag(settings: Mapping[str, Any]) -> str:
    """Return what tells compiled forms apart: the CPU, the arithmetic, and who compiled."""
    facts = [
        core().get_property("CPU", name)
        for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")
    ]
    made_for = f"{facts} {settings['INFERENCE_PRECISION_HINT']} {import_openvino().__version__}"
    return hashlib.sha256(made_for.encode()).hexdigest()[:16]
