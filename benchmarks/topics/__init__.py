"""What is measured: each module has ``measure``, run by a worker, and ``report``.

The heavy imports are inside ``measure``: the process that reports must stay small, because on
Linux a new process begins with the peak memory of the one that started it.
"""

from __future__ import annotations

from enum import Enum


class Topic(str, Enum):
    """Names of the modules, with ``-`` for ``_``."""

    ADD = "add"
    SECOND_ADD = "second-add"
    LATENCY = "latency"
    MEMORY = "memory"
    ARROW = "arrow"
    PADDING = "padding"

    @property
    def module(self) -> str:
        """The module's full name."""
        return f"{__name__}.{self.value.replace('-', '_')}"
