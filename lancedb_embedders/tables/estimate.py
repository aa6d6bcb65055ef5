"""What work on a table would come to, before anything is spent."""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from lancedb_embedders.embedder import Embedder
from lancedb_embedders.hosted.embedder import HostedEmbedder
from lancedb_embedders.hosted.usage import dollars, price_of
from lancedb_embedders.local.embedder import LocalTextEmbedder
from lancedb_embedders.settings import settings
from lancedb_embedders.tables.job import Job
from lancedb_embedders.tables.reading import Reader
from lancedb_embedders.tables.report import Estimate
from lancedb_embedders.tables.slices import Slice, finished_rows, remaining

# Slices that are looked into for the sample, and rows of it that are embedded to see how long.
_SLICES = 64
_SLICE_ROWS = 512
_SCANNED_ROWS = 16_384
_SAMPLE = 2000
_TIMED = 64


def estimate(
    job: Job, function: Embedder, done: Iterable[Slice], workers: int | None = None
) -> Estimate:
    """Say what a job would come to; nothing is written, and nothing sent to a provider.

    Parameters
    ----------
    job : Job
        The work.
    function : Embedder
        Its function.
    done : iterable of Slice
        What is finished.
    workers : int, optional
        Workers that would share it.
    """
    dataset = job.place.dataset()
    done = list(done)
    rows, values = _sample(dataset, job, done)
    tokens = _tokens(function, values)
    share = rows / len(values) if values else 0.0
    total = None if tokens is None else round(tokens * share)
    seconds: float | None = None
    usd: float | None = 0.0
    basis: list[str] = []
    if isinstance(function, HostedEmbedder):
        seconds, usd, basis = _hosted(function, rows, total)
    elif values:
        timed = values[:_TIMED]
        seconds = seconds_for(function, timed) / len(timed) * rows / (workers or 1)
        how = "one worker" if workers is None else f"divided by {workers} workers"
        basis.append(f"time: a sample of {min(len(values), _TIMED)} rows embedded here, {how}")
    if total is not None:
        basis.insert(0, f"tokens: counted in {len(values):,} random rows")
    return Estimate(
        rows=rows,
        resumed=finished_rows(dataset, job, done),
        tokens=total,
        seconds=seconds,
        usd=usd,
        sample=len(values),
        basis=tuple(basis),
    )


def _sample(dataset: Any, job: Job, done: list[Slice]) -> tuple[int, list[Any]]:
    """Return how many rows are selected, and values of random ones."""
    reader, chance = Reader(job), random.Random(0)
    # Which rows are chosen is seen only by looking at all of them.
    whole = job.selection.kind not in ("all", "since")
    slices = remaining(dataset, job, done, _SCANNED_ROWS if whole else _SLICE_ROWS)
    looked = slices if whole else chance.sample(slices, min(_SLICES, len(slices)))
    found, physical, values = 0, 0, []
    for one in looked:
        read = reader.read(one)
        if read is not None:
            found += len(read.values) - read.values.null_count
            physical += one.rows
            values += chance.sample(read.values.to_pylist(), min(len(read.values), _SAMPLE // 8))
    if not whole and physical:
        # What was looked at stands for the rest.
        found = round(found / physical * sum(one.rows for one in slices))
    filled = [value for value in values if value is not None]
    return found, chance.sample(filled, min(len(filled), _SAMPLE))


def _tokens(function: Embedder, values: list[Any]) -> int | None:
    """Return the tokens that a model sees of values; None: it has no tokenizer here."""
    if not values:
        return 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batch = function.batch_of(values, "document")
    if not all(isinstance(text, str) for text in batch.inputs):
        return None
    counts = batch.counts()
    if isinstance(function, HostedEmbedder):
        return int(function.tokens_of(batch.inputs, "document") @ counts)
    if not isinstance(function, LocalTextEmbedder):
        return None
    model, encoding = function.prepared_model("document")
    tokenizer = model.engine.tokenizer
    if tokenizer is None:
        return None
    overhead = model.engine.overhead(encoding.prompt)
    contents = tokenizer.contents(list(batch.inputs), encoding.prompt, offsets=False)
    return sum(
        (len(one.ids) + overhead) * int(count) for one, count in zip(contents, counts, strict=True)
    )


def _hosted(
    function: HostedEmbedder, rows: int, tokens: int | None
) -> tuple[float | None, float | None, list[str]]:
    basis: list[str] = []
    options = function.process_options()
    times = [
        amount / limit * 60
        for amount, limit in (
            (tokens, options["tokens_per_minute"]),
            (rows / (function.limits().inputs or 1), options["requests_per_minute"]),
        )
        if amount is not None and limit
    ]
    if times:
        basis.append("time: by tokens_per_minute and requests_per_minute")
    else:
        basis.append("time: not known without tokens_per_minute or requests_per_minute")
    price = price_of(function.name, function.provider)
    if price is None:
        basis.append(f"cost: the catalogue has no price for {function.name}")
        return max(times, default=None), None, basis
    basis.append(
        f"cost: ${price.usd_per_million_tokens} a million tokens, {price.source}, {price.date}; "
        "equal texts, and those in the cache, cost less"
    )
    usd = None if tokens is None else dollars(function.name, function.provider, tokens)
    return max(times, default=None), usd, basis


def seconds_for(function: Embedder, values: Sequence[Any]) -> float:
    """Return the seconds that embedding values takes, the model being loaded; no cache is used."""
    with warnings.catch_warnings(), settings.override(progress=False, cache=False):
        warnings.simplefilter("ignore")
        function.compute_source_embeddings(list(values[:8]))  # the model is loaded
        began = time.perf_counter()
        function.compute_source_embeddings(list(values))
        return time.perf_counter() - began
