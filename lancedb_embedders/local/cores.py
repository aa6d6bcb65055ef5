"""How many cores this process may use, and how many of the machine's are idle."""

from __future__ import annotations

import os
from pathlib import Path


def cores() -> int:
    """Return how many cores this process may use, by its affinity and its container's limit."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limit = Path("/sys/fs/cgroup/cpu.max")
    try:
        quota, period = limit.read_text(encoding="ascii").split()
        return max(1, min(usable or 1, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or "max": no limit
        return usable or 1


def idle_cores() -> int:
    """Return how many of the machine's cores have nothing to do, the caller's own among them."""
    try:
        running = Path("/proc/loadavg").read_text(encoding="ascii").split()[3].split("/")[0]
    except (OSError, IndexError):
        return os.cpu_count() or 1
    return (os.cpu_count() or 1) - int(running) + 1
