"""Main memory of this process, at its peak, and that of its device."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path


def peak_memory() -> int:
    """Return the bytes of main memory that this process held at its peak."""
    # Not getrusage there: a new process begins with the peak of the one that started it.
    if sys.platform == "linux":
        return _status("VmHWM")
    import psutil

    found = psutil.Process().memory_info()
    if hasattr(found, "peak_wset"):
        return int(found.peak_wset)
    import resource

    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def start_peak() -> int:
    """Return the bytes of main memory that this process holds; a peak counts from now on."""
    if sys.platform == "linux":
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return _status("VmRSS")
    import psutil

    return int(psutil.Process().memory_info().rss)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    found = next(line for line in lines if line.startswith(f"{name}:"))
    return 1024 * int(found.split()[1])


def device_memory() -> int | None:
    """Return the bytes that torch held on a CUDA device at its peak; None without one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return int(torch.cuda.max_memory_allocated())
