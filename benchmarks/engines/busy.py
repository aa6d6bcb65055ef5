"""Other work on all cores, which surely ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Each ends by itself when whoever started it is gone, or after minutes in any case.
_LOOP = """
import os, sys, time
parent, until = int(sys.argv[1]), time.monotonic() + 300
while os.getppid() == parent and time.monotonic() < until:
    sum(range(100_000))
"""


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def busy() -> Iterator[None]:
    """Keep all cores busy with as many processes until the block ends."""
    command = [sys.executable, "-c", _LOOP, str(os.getpid())]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(cores()):
            started.append(subprocess.Popen(command))
        yield
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()
