"""What checks have found so far."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lancedb_embedders.tools.watch.report import FIGURES, Finding, Severity


@dataclass
class Checked:
    """What checks have found so far.

    Attributes
    ----------
    figures : dict of str to float or None
        See `FIGURES`.
    findings : list of Finding
        As they were found.
    near : numpy.ndarray
        Cosine distances to the nearest other vector, of a sample.
    """

    figures: dict[str, float | None] = field(default_factory=lambda: dict.fromkeys(FIGURES))
    findings: list[Finding] = field(default_factory=list)
    near: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def found(self, code: str, severity: Severity, message: str, **figures: float) -> None:
        """Add a finding."""
        self.findings.append(Finding(code, severity, message, figures))
