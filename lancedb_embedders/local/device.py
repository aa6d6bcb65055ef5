"""Whether a model runs on the CPU here, found out without importing torch, which takes a second."""

from __future__ import annotations

import ctypes
import platform
import sys
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def runs_on_cpu(device: str) -> bool:
    """Tell whether `device`, a name of torch or ``"auto"``, comes to the CPU."""
    return not _anything_faster() if device == "auto" else device == "cpu"


@lru_cache(maxsize=1)
def _anything_faster() -> bool:
    if not _perhaps_something_faster():
        return False
    import torch

    return bool(torch.cuda.is_available() or torch.backends.mps.is_available())


def _perhaps_something_faster() -> bool:
    """Tell whether torch is worth asking."""
    try:
        if version("torch").endswith("+cpu"):
            return False
    except PackageNotFoundError:
        return False
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    amd = Path("/dev/kfd").exists()
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return amd
    return True
