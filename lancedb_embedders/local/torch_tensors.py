"""Tensors to where a model is, and its vectors back, beside what else the device does."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np

from lancedb_embedders.output import Float32

if TYPE_CHECKING:
    import torch


class Streams:
    """Lets several threads use a CUDA device at the same time, each in a stream of its own.

    While one batch is computed, the next is copied there and the vectors of the last come back.
    Elsewhere it does nothing.

    Parameters
    ----------
    device : torch.device
        The device.
    count : int
        How many threads at once; more wait, so that memory stays bounded.
    """

    def __init__(self, device: torch.device, count: int) -> None:
        import torch

        self._free: SimpleQueue[Any] = SimpleQueue()
        self._count = count if device.type == "cuda" else 0
        self._gathering = threading.Lock()
        if self._count:
            torch.cuda.synchronize(device)  # weights came by another stream
        stream: Any = torch.cuda.Stream  # it has no types
        for _ in range(self._count):
            self._free.put(stream(device))

    @contextmanager
    def turn(self, alone: bool = False) -> Iterator[None]:
        """Run what is inside on a stream; with `alone`, when all others have ended."""
        import torch

        if not self._count:
            yield
            return
        with self._gathering:  # or two that want all would wait for each other
            streams = [self._free.get() for _ in range(self._count if alone else 1)]
        try:
            with torch.cuda.stream(streams[0]):
                yield
        finally:
            for stream in streams:
                self._free.put(stream)


def on_device(features: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Return the features of a batch with all tensors among them on `device`."""
    return {
        name: _moved(value, device) if hasattr(value, "to") else value
        for name, value in features.items()
    }


def as_array(vectors: torch.Tensor) -> Float32:
    """Return vectors of any device and precision as a float32 array."""
    import torch

    vectors = vectors.float()
    if vectors.device.type != "cuda":
        return np.asarray(vectors.cpu().numpy())
    # `.cpu()` would keep a core busy until the vectors are there; an event lets the thread sleep.
    found = torch.empty(vectors.shape, dtype=torch.float32, pin_memory=True)
    found.copy_(vectors, non_blocking=True)
    event: Any = torch.cuda.Event
    arrived = event(blocking=True)
    arrived.record(torch.cuda.current_stream(vectors.device))
    arrived.synchronize()
    return np.asarray(found.numpy())


def _moved(value: Any, device: torch.device) -> Any:
    if device.type == "cuda" and getattr(value, "device", device).type == "cpu":
        return value.pin_memory().to(device, non_blocking=True)
    return value.to(device)
