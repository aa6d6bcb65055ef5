"""What goes into a function's `embed`, and what comes out where some inputs were given up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Role = Literal["document", "query"]


@dataclass(frozen=True)
class Batch:
    """Inputs that are ready for a model: no nulls, each one different.

    Attributes
    ----------
    inputs : sequence
        Prepared inputs: texts, or pictures of a function that takes them.
    index : numpy.ndarray
        For each row that LanceDB handed over, the position of its input, or -1 for a null.
    role : {"document", "query"}
        Whether rows are stored or a search is asked.
    """

    inputs: Sequence[Any]
    index: npt.NDArray[np.intp]
    role: Role

    def rows(self, positions: Sequence[int]) -> list[int]:
        """Return the numbers of all rows that hold the inputs at `positions`."""
        found: list[int] = np.flatnonzero(np.isin(self.index, positions)).tolist()
        return found

    def counts(self) -> npt.NDArray[np.int64]:
        """Return how many rows hold each input."""
        return np.bincount(self.index[self.index >= 0], minlength=len(self.inputs))

    def without(self, positions: Sequence[int]) -> Batch:
        """Return the batch with the inputs at `positions` taken for nulls."""
        kept = np.ones(len(self.inputs), dtype=bool)
        kept[list(positions)] = False
        # The last one is for rows that are null already: their index is -1.
        renumbered = np.append(np.where(kept, np.cumsum(kept) - 1, -1), -1)
        inputs = [value for value, keep in zip(self.inputs, kept, strict=True) if keep]
        return Batch(inputs, renumbered[self.index], self.role)


@dataclass(frozen=True)
class Partial:
    """Vectors of a batch in which some inputs were given up.

    Attributes
    ----------
    vectors : numpy.ndarray
        float32, shape ``(inputs, dim)``; rows of what was given up mean nothing.
    given_up : sequence of int
        Positions of inputs that get no vector, which the function has reported.
    """

    vectors: npt.NDArray[np.float32]
    given_up: Sequence[int]
