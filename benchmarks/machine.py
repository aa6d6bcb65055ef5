"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

_system: Any = psutil  # it has no types
_PACKAGES = (
    "lancedb-embedders",
    "lancedb",
    "sentence-transformers",
    "transformers",
    "torch",
    "pyarrow",
    "numpy",
)
_VECTOR_FLAGS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_vnni": "VNNI", "avx512_bf16": "BF16"}


def machine() -> str:
    """Return processor, cores, memory and system in a line."""
    memory = _system.virtual_memory().total / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores, {_processor()}, {memory:.0f} GiB of memory, {platform.system()}"


def versions() -> str:
    """Return Python and the packages that matter, in a line."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return f"Python {platform.python_version()}, {packages}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return platform.processor() or platform.machine()
    lines = [line.partition(":") for line in info.read_text(encoding="utf-8").splitlines()]
    fields = {name.strip(): value.strip() for name, _, value in lines}
    flags = fields.get("flags", "").split()
    extensions = [name for flag, name in _VECTOR_FLAGS.items() if flag in flags]
    return " ".join([fields.get("model name", platform.machine()), *extensions])
