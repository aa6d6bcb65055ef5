"""OpenVINO itself: how it is imported, and how it runs a graph on this machine's cores."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import openvino

_logger = logging.getLogger(__name__)

# A precision, OpenVINO's hint for it, and what it calls a CPU that has instructions for it.
_SIXTEEN_BITS = {
    "auto": ("bf16", "BF16"),
    "int8": ("bf16", "BF16"),  # for what is not in eight bits
    "bfloat16": ("bf16", "BF16"),
    "float16": ("f16", "FP16"),
}
_REPORTING = "openvino_telemetry"
_import_lock = threading.RLock()


@contextmanager
def without_reports() -> Iterator[None]:
    """Keep what is imported from reporting its use to a server of its makers.

    OpenVINO's converter, which ``import openvino`` loads, forks this process at once to do so.
    Without the module that reports it works just as well.
    """
    with _import_lock:
        if _REPORTING in sys.modules:  # someone else has imported it, and wants it
            yield
            return
        sys.modules[_REPORTING] = None  # type: ignore[assignment]
        try:
            yield
        finally:
            del sys.modules[_REPORTING]


def import_openvino() -> Any:
    """Import OpenVINO; see `without_reports`."""
    with without_reports():
        import openvino

    return openvino


@lru_cache(maxsize=1)
def core() -> openvino.Core:
    """Return the one entry to OpenVINO of this process."""
    found: openvino.Core = import_openvino().Core()
    return found


def arithmetic(precision: str) -> str:
    """Return OpenVINO's name of the arithmetic that a precision comes to on this CPU.

    Sixteen bits only where the CPU has instructions for them, which OpenVINO knows.
    """
    able = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    hint, capability = _SIXTEEN_BITS.get(precision, ("f32", ""))
    if capability in able:
        return hint
    if precision in {"bfloat16", "float16"}:
        _logger.info("this CPU has no instructions for %s: float32 is used", precision)
    return "f32"
