"""Pictures through a model: read and decoded by several threads while the model runs.

Threads stay a little ahead of the model and no further, so memory does not grow with the number
of pictures.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from threading import BoundedSemaphore
from typing import Any

import numpy as np

from lancedb_embedders.errors import ImageError
from lancedb_embedders.inputs.images import Image
from lancedb_embedders.inputs.images.decode import decode, from_pixels
from lancedb_embedders.inputs.images.image import FILE_BYTES
from lancedb_embedders.inputs.images.limits import ImageLimits
from lancedb_embedders.inputs.images.read import is_remote, read_image
from lancedb_embedders.local.engine import ImageSide
from lancedb_embedders.local.kept import KeptPictures
from lancedb_embedders.output import Float32
from lancedb_embedders.progress import progress_bar

# More at once make no model faster, but hold more pictures in memory.
_MOST_AT_ONCE = 256
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_decoding = BoundedSemaphore(_CORES)


@dataclass(frozen=True)
class PictureJob:
    """How pictures are to be embedded.

    Attributes
    ----------
    side : callable
        Returns the picture side of the model, which is loaded when it is first called.
    limits : ImageLimits
        How far reading may go.
    fetches : int
        Pictures that are fetched from other machines at once.
    batch_tokens : int or None
        What goes through the model at once, counted as tokens of text; None: what it runs best on.
    kept : KeptPictures or None
        Vectors on disk.
    stop : bool
        Whether a picture that cannot be had ends it, or is left out.
    progress : bool or None
        Whether to show a progress bar.
    """

    side: Callable[[], ImageSide]
    limits: ImageLimits
    fetches: int
    batch_tokens: int | None = None
    kept: KeptPictures | None = None
    stop: bool = True
    progress: bool | None = None

    def at_once(self) -> int:
        """Return how many pictures go through the model together."""
        side = self.side()
        tokens = self.batch_tokens or side.batch_tokens
        return max(1, min(_MOST_AT_ONCE, tokens // side.tokens))


class Embedded:
    """Vectors of pictures, and which could not be had.

    Parameters
    ----------
    count : int
        Number of pictures.

    Attributes
    ----------
    vectors : numpy.ndarray or None
        float32, shape ``(count, dim)``; rows of pictures that failed mean nothing. None if all did.
    failed : dict
        Position -> why there is no vector.
    """

    def __init__(self, count: int) -> None:
        self.failed: dict[int, ImageError] = {}
        self.vectors: Float32 | None = None
        self._count = count

    def put(self, positions: Sequence[int], rows: Float32) -> None:
        """Take vectors in."""
        if self.vectors is None:
            self.vectors = np.zeros((self._count, rows.shape[1]), dtype=np.float32)
        self.vectors[list(positions)] = rows


@dataclass(frozen=True)
class _Ready:
    """A picture that was read: its vector from the disk, or what the model takes."""

    key: bytes = b""
    vector: Float32 | None = None
    item: Any = None


def embed_pictures(images: Sequence[Image], job: PictureJob) -> Embedded:
    """Embed pictures.

    Parameters
    ----------
    images : sequence of Image
        Where they are.
    job : PictureJob
        How.

    Returns
    -------
    Embedded
        Vectors as the model gives them, neither cut nor normalized. With `stop`, all ends with the
        first picture that failed.
    """
    done = Embedded(len(images))
    waiting: list[tuple[int, _Ready]] = []
    with progress_bar(len(images), "pictures", job.progress) as bar:
        for position, ready in _read_ahead(images, job):
            if isinstance(ready, ImageError):
                done.failed[position] = ready
                if job.stop:
                    return done
            elif ready.vector is not None:
                done.put([position], ready.vector[np.newaxis])
            else:
                waiting.append((position, ready))
                if len(waiting) == job.at_once():
                    _run(waiting, job, done)
                    waiting = []
            bar.update(1)
        if waiting:
            _run(waiting, job, done)
    return done


def _run(waiting: Sequence[tuple[int, _Ready]], job: PictureJob, done: Embedded) -> None:
    vectors = job.side().forward([ready.item for _, ready in waiting])
    done.put([position for position, _ in waiting], vectors)
    if job.kept is not None:
        job.kept.put([ready.key for _, ready in waiting], vectors)


def _read_ahead(
    images: Sequence[Image], job: PictureJob
) -> Iterator[tuple[int, _Ready | ImageError]]:
    """Yield the pictures in order, while threads make the next ones ready."""
    remote = any(is_remote(image) for image in images)
    threads = max(_CORES, job.fetches) if remote else _CORES
    pool, ahead = _pool(threads), threads
    futures: deque[Future[_Ready | ImageError]] = deque()
    try:
        for position in range(len(images)):
            while len(futures) < ahead and position + len(futures) < len(images):
                futures.append(pool.submit(_ready, images[position + len(futures)], job))
            ready = futures.popleft().result()
            yield position, ready
            if isinstance(ready, _Ready) and ready.item is not None:
                ahead = max(threads, 2 * job.at_once())  # known once the model is loaded
    finally:
        for future in futures:
            future.cancel()


def _ready(image: Image, job: PictureJob) -> _Ready | ImageError:
    try:
        source = read_image(image, job.limits)
        if not isinstance(source, FILE_BYTES):
            source = from_pixels(source, job.limits.max_pixels)
        key = b""
        if job.kept is not None:
            key = Image(source).digest()
            vector = job.kept.find(key)
            if vector is not None:
                return _Ready(key, vector=vector)
        side = job.side()
        with _decoding:
            if isinstance(source, FILE_BYTES):
                source = decode(source, job.limits.max_pixels, side.at_least)
            return _Ready(key, item=side.prepare(source))
    except ImageError as error:
        return error


@cache
def _pool(size: int) -> ThreadPoolExecutor:
    # Kept: each new thread would open the file of vectors on disk anew.
    return ThreadPoolExecutor(size, thread_name_prefix="lancedb-embedders-pictures")
