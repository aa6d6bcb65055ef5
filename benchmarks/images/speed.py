"""Pictures a second through ``table.add``, in turns."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.images.job import Job, run


@dataclass(frozen=True)
class Line:
    """What one contestant came to, figures by name, a dictionary a round."""

    who: str
    count: int
    rounds: list[dict[str, float]]

    def rate(self) -> float:
        """Return pictures a second, the median."""
        return self.count / self.median("seconds")

    def median(self, name: str) -> float:
        """Return the median of a figure."""
        return statistics.median(found[name] for found in self.rounds)

    def times(self, other: Line, name: str = "seconds") -> list[float]:
        """Return how many times less this took than `other`, a value a round."""
        pairs = zip(self.rounds, other.rounds, strict=True)
        return [b[name] / a[name] for a, b in pairs]

    def extra(self) -> float:
        """Return what the peak of memory grew by in MiB, the median."""
        return statistics.median(found["peak"] - found["before"] for found in self.rounds)

    def as_dict(self) -> dict[str, Any]:
        """Return all values, for JSON."""
        return {"who": self.who, "count": self.count, "rounds": self.rounds}


@dataclass(frozen=True)
class Speed:
    """Measures in turns.

    Attributes
    ----------
    folder : pathlib.Path
        For databases.
    model : str
        Folder of the model.
    rounds : int
        Turns of each contestant; every second round in the opposite order.
    report : callable
        Told what runs now.
    """

    folder: Path
    model: str
    rounds: int
    report: Callable[[str], None]

    def add(self, photos: str, count: int, contestants: Sequence[str]) -> list[Line]:
        """Add the pictures to a new table, by each contestant in each round."""
        lines = [Line(who, count, []) for who in contestants]
        for number in range(self.rounds):
            for line in reversed(lines) if number % 2 else lines:
                self.report(f"{Path(photos).stem}, round {number + 1}: {line.who}")
                folder = self.folder / "run"
                folder.mkdir()
                line.rounds.append(run(Job("add", str(folder), self.model, photos, line.who)))
                shutil.rmtree(folder)
        return lines
