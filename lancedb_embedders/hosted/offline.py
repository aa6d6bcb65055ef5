"""`embed_offline`: large amounts of text by a provider's batches, for a good deal less money."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lancedb_embedders.batch import Role
from lancedb_embedders.cache import VectorCache, text_key
from lancedb_embedders.errors import ConfigurationError, CostError, ProviderError, VectorError
from lancedb_embedders.hosted.batch_api import ENDED, BatchApi
from lancedb_embedders.hosted.batch_jobs import Job, Jobs
from lancedb_embedders.hosted.embedder import HostedEmbedder
from lancedb_embedders.hosted.fetch import check_width
from lancedb_embedders.hosted.packing import Request, pack
from lancedb_embedders.hosted.provider import answer_of, unusable
from lancedb_embedders.hosted.usage import Usage, dollars

logger = logging.getLogger(__name__)


@dataclass
class OfflineReport:
    """What became of texts that were embedded offline.

    Attributes
    ----------
    cached : int
        Different texts that were in the cache before.
    submitted : int
        Texts that this call submitted.
    embedded : int
        Texts whose vectors came, and are in the cache now.
    pending : int
        Texts whose batches are not done yet; call again to collect them.
    failed : dict of str to int
        The provider's words -> texts that got no vector; call again to submit them anew.
    batches : list of str
        The provider's names of the batches that are not done yet.
    usage : Usage
        What came back, at the price of batches.
    """

    cached: int = 0
    submitted: int = 0
    embedded: int = 0
    pending: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    batches: list[str] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)


def embed_offline(
    function: HostedEmbedder,
    texts: Iterable[str] | Any = (),
    *,
    role: Role = "document",
    wait: bool = True,
    poll_seconds: float = 30.0,
    timeout: float | None = None,
) -> OfflineReport:
    """Embed texts by the provider's batches, into the cache; adding them to a table is free then.

    OpenAI takes half the price for a batch and up to 24 hours, Voyage two thirds and up to 12.
    What is submitted is remembered in the cache's folder: a later call, in another process too,
    collects it and submits nothing twice. It need not be given the texts again.

    Parameters
    ----------
    function : CachedOpenAIEmbeddings or CachedVoyageEmbeddings
        Whose options count, the same as the table's.
    texts : iterable of str, or Arrow array
        Texts as they will be added; none: only collect what was submitted before.
    role : {"document", "query"}
        What they are for.
    wait : bool, default True
        Whether to return only when all batches are done.
    poll_seconds : float, default 30
        Seconds between two questions whether they are.
    timeout : float, optional
        Seconds to wait at the most.

    Returns
    -------
    OfflineReport
        What was found, submitted, embedded, and refused.

    Raises
    ------
    ConfigurationError
        The function's provider has no batches.
    CostError
        They would cost more than `max_cost`.
    ProviderError
        The provider does not take them.
    """
    offline = _Offline(function, role)
    report = OfflineReport()
    with offline.api:
        with offline.jobs.lock():
            offline.settle()
            offline.submit(texts, report)
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            for job in offline.jobs.of(offline.space):
                offline.collect(job, report)
            jobs = offline.jobs.of(offline.space)
            late = until is not None and time.monotonic() + poll_seconds > until
            if not jobs or not wait or late:
                break
            time.sleep(poll_seconds)
    report.pending = sum(len(list(job.text_keys())) for job in jobs)
    report.batches = [job.batch for job in jobs if job.batch]
    logger.info("%s offline: %s", function.registry_name, report)
    return report


class _Offline:
    """Batches of one function and role."""

    def __init__(self, function: HostedEmbedder, role: Role) -> None:
        terms = function.batch_terms(role)
        if terms is None:
            raise ConfigurationError(
                f"{function.registry_name} has no batches; embed_offline takes cached-openai (not "
                "on Azure) and cached-voyage"
            )
        self.function, self.role, self.terms = function, role, terms
        self.space = function.space(role)
        self.cache: VectorCache = function.open_cache()
        self.cache.check()
        self.jobs = Jobs(self.cache.path.parent)
        timeout = function.process_options()["request_timeout"]
        self.api = BatchApi(function.base_url, function.find_key(), timeout)

    def settle(self) -> None:
        """Find out whether jobs were submitted whose process was stopped meanwhile."""
        for job in self.jobs.of(self.space):
            if job.batch is None:
                job.batch = self.api.find(job.tag)
                if job.batch is None:
                    self.jobs.forget(job)
                else:
                    self.jobs.save(job)

    def submit(self, values: Any, report: OfflineReport) -> None:
        """Submit what is neither in the cache nor on its way."""
        if isinstance(values, Iterator):
            values = list(values)
        batch = self.function.batch_of(values, self.role)
        if not batch.inputs:
            return
        texts = list(self.function.pieces(batch).texts)
        keys = [text_key(text) for text in texts]
        known = self.cache.find(self.space, keys).known
        report.cached = int(known.sum())
        coming = {key for job in self.jobs.of(self.space) for key in job.text_keys()}
        left = [i for i, key in enumerate(keys) if not known[i] and key not in coming]
        packed = pack([texts[i] for i in left], self.function.limits(), self.function.counter())
        requests = [Request(np.array(left)[r.positions], r.tokens) for r in packed]
        self._check_cost(requests)
        for some in self._files(requests):
            self._submit_one(some, texts, keys)
            report.submitted += sum(len(request.positions) for request in some)

    def _files(self, requests: Iterable[Request]) -> Iterator[list[Request]]:
        some: list[Request] = []
        inputs = 0
        for request in requests:
            if some and inputs + len(request.positions) > self.terms.inputs:
                yield some
                some, inputs = [], 0
            some.append(request)
            inputs += len(request.positions)
        if some:
            yield some

    def _submit_one(self, requests: list[Request], texts: list[str], keys: list[bytes]) -> None:
        names = [f"request-{number}" for number in range(len(requests))]
        lines = [
            json.dumps(
                self.terms.line(name, [texts[i] for i in request.positions]),
                ensure_ascii=False,
            )
            for name, request in zip(names, requests, strict=True)
        ]
        data = ("\n".join(lines) + "\n").encode()
        if len(data) > self.terms.file_bytes and len(requests) > 1:
            half = len(requests) // 2
            self._submit_one(requests[:half], texts, keys)
            self._submit_one(requests[half:], texts, keys)
            return
        job = Job(
            self.space,
            {
                name: [keys[i].hex() for i in request.positions]
                for name, request in zip(names, requests, strict=True)
            },
        )
        file = self.api.upload(f"{job.tag}.jsonl", data)
        # Known before it is submitted: if this process is stopped in between, its tag tells.
        self.jobs.save(job)
        job.batch = self.api.submit(file, self.terms, job.tag)
        self.jobs.save(job)

    def _check_cost(self, requests: list[Request]) -> None:
        most = self.function.process_options()["max_cost"]
        tokens = sum(request.tokens for request in requests)
        cost = dollars(self.function.name, self.function.provider, tokens, batch=True)
        if most is not None and cost is not None and cost > most:
            raise CostError(
                f"up to {tokens:,} tokens cost ${cost:,.6f} with batches of {self.function.name}, "
                f"more than max_cost={most}. Nothing was submitted"
            )

    # -- what comes back ------------------------------------------------------------------------

    def collect(self, job: Job, report: OfflineReport) -> None:
        """Put the vectors of a batch into the cache, if it is done."""
        if job.batch is None:  # another process is just submitting it
            return
        state = self.api.state(job.batch)
        if state["status"] not in ENDED:
            return
        left = dict(job.requests)
        for kind in ("output_file_id", "error_file_id"):
            for line in self.api.lines(state[kind]) if state.get(kind) else ():
                answer = json.loads(line)
                keys = left.pop(str(answer["custom_id"]), None)
                if keys is not None:
                    self._keep(answer, [bytes.fromhex(key) for key in keys], report)
        for keys in left.values():
            said = f"the batch is {state['status']}: {_words(state) or 'no reason given'}"
            report.failed[said] = report.failed.get(said, 0) + len(keys)
        self.jobs.forget(job)

    def _keep(self, line: dict[str, Any], keys: list[bytes], report: OfflineReport) -> None:
        response = line.get("response") or {}
        body = response.get("body") or {}
        if response.get("status_code") != 200:
            said = _words(line) or _words(body) or f"HTTP {response.get('status_code')}"
            report.failed[said] = report.failed.get(said, 0) + len(keys)
            return
        try:
            answer = answer_of(body, len(keys))
            check_width(self.function, answer.vectors.shape[1])
        except (ProviderError, VectorError) as error:
            report.failed[str(error)] = report.failed.get(str(error), 0) + len(keys)
            return
        bad = unusable(answer.vectors)
        good = [i for i in range(len(keys)) if i not in bad]
        self.cache.put_keys(self.space, [keys[i] for i in good], answer.vectors[good])
        report.embedded += len(good)
        for said in bad.values():
            report.failed[said] = report.failed.get(said, 0) + 1
        self._count(answer.tokens or 0, len(keys), report)

    def _count(self, tokens: int, texts: int, report: OfflineReport) -> None:
        function = self.function
        usd = dollars(function.name, function.provider, tokens, batch=True)
        usage = Usage(requests=1, texts=texts, tokens=tokens, usd=usd)
        report.usage += usage
        function.count(usage)


def _words(body: dict[str, Any]) -> str:
    """Return what a batch, or a line of its answers, says went wrong."""
    errors = body.get("error") or body.get("errors") or {}
    if isinstance(errors, dict) and errors.get("data"):
        errors = errors["data"][0]
    if not isinstance(errors, dict):
        return str(errors)
    return str(errors.get("message") or errors.get("code") or "")
