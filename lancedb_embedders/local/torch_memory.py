"""When a device's memory is too small for a batch: smaller ones, now and from then on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from lancedb_embedders.errors import InputError
from lancedb_embedders.output import Float32

if TYPE_CHECKING:
    import torch

_logger = logging.getLogger(__name__)

# What allocators say that raise no class of their own.
_SAYINGS = ("MPS backend out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "DefaultCPUAllocator")


class TokenBudget:
    """How many tokens go through a model at once; halved whenever they do not fit into memory.

    Parameters
    ----------
    tokens : int
        What it begins with, padding included.
    device : torch.device
        Whose memory it is.

    Attributes
    ----------
    tokens : int
        What it is now.
    was_lowered : bool
        Whether something did not fit.
    """

    def __init__(self, tokens: int, device: torch.device) -> None:
        self.tokens = tokens
        self._device = device
        self.was_lowered = False
        self._lock = threading.Lock()

    @contextmanager
    def trial(self, tokens: int) -> Iterator[None]:
        """Begin anew with `tokens`; what is learnt meanwhile is forgotten after."""
        kept = self.tokens, self.was_lowered
        self.tokens, self.was_lowered = tokens, False
        try:
            yield
        finally:
            self.tokens, self.was_lowered = kept

    def run(self, items: Sequence[Any], work: Callable[[slice, bool], Float32]) -> Float32:
        """Do `work` on all items at once, or on parts of them that fit.

        Parameters
        ----------
        items : sequence
            Token ids, or texts.
        work : callable
            Takes which of the items, and whether nothing else is to run meanwhile; returns rows.

        Raises
        ------
        InputError
            A single item does not fit, even with nothing beside it.
        """
        sizes = [_tokens(item) for item in items]
        waiting = [(slice(0, len(items)), False)]
        done: list[Float32] = []
        while waiting:
            part, alone = waiting.pop()
            count = part.stop - part.start
            tokens = max(sizes[part], default=0) * count
            if count > 1 and self.was_lowered and tokens > self.tokens:
                waiting += _halves(part)
                continue
            try:
                done.append(work(part, alone))
                continue
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error).splitlines()[0]
            # Here and not in the handler: the error holds on to the tensors of its frames.
            _let_go(self._device)
            if count > 1:
                self._lower(tokens // 2)
                waiting += _halves(part)
            elif alone:
                raise InputError(
                    f"a text of {tokens:,} tokens does not fit into the memory of "
                    f"{self._device}, even by itself: set a smaller max_length, or another device "
                    f"({reason})"
                )
            else:
                waiting.append((part, True))
        return done[0] if len(done) == 1 else np.concatenate(done)

    def _lower(self, tokens: int) -> None:
        with self._lock:
            if tokens < self.tokens:
                self.tokens = tokens
                self.was_lowered = True
                _logger.info(
                    "%s ran out of memory: batches have %d tokens at most from now on",
                    self._device,
                    tokens,
                )


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether an error of torch means that memory is used up."""
    import torch

    return isinstance(error, torch.cuda.OutOfMemoryError) or any(
        saying in str(error) for saying in _SAYINGS
    )


def _tokens(item: Any) -> int:
    return 1 + len(item) // 4 if isinstance(item, str) else len(item)


def _halves(part: slice) -> list[tuple[slice, bool]]:
    """Return both halves, the first one last: it is taken next."""
    middle = (part.start + part.stop) // 2
    return [(slice(middle, part.stop), False), (slice(part.start, middle), False)]


def _let_go(device: torch.device) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
