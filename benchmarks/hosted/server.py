"""The loopback server as a process of its own, so that it shares no interpreter with a client."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[2]
LATENCY = 0.05
DIMS = 1536
KEY = "test-key"


@contextmanager
def serving(rate: float | None = None, latency: float = LATENCY) -> Iterator[str]:
    """Serve for the length of the block; yields the URL.

    Parameters
    ----------
    rate : float, optional
        Texts a second that the server takes, from all requests together; None: what it can.
    latency : float, optional
        Seconds before each answer.
    """
    command = [sys.executable, "-m", "tests.providers", "--vectors", "hash"]
    command += ["--latency", str(latency), "--dims", str(DIMS)]
    command += [] if rate is None else ["--rate", str(rate)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


def requests(url: str) -> int:
    """Return how many requests the server has seen."""
    with urlopen(f"{url}/seen") as answer:
        return int(json.load(answer)["requests"])
