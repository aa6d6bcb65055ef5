"""Threads and processes share a cache, are killed at any moment, and what was paid for stays."""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lancedb
import numpy as np
import pytest
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel
from tqdm import tqdm

from lancedb_embedders import CacheError, VectorCache
from tests.providers import ProviderServer, Seen
from tests.test_cache import numbered, same_bits, vectors_of

if sys.platform == "win32":
    pytest.skip("Windows forks no processes", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings(
    "ignore:lancedb fork support", "ignore:.*fork:DeprecationWarning"
)

KILLS = 20
WIDTH = 64

# These begin with all modules loaded; they use nothing but the cache.
processes = multiprocessing.get_context("fork")


def at_once(count: int, work: Callable[[int], None]) -> None:
    """Run `work` in processes that begin together, and see that all of them succeed."""
    start = processes.Barrier(count)

    def begin(number: int) -> None:
        start.wait()
        work(number)

    running = [processes.Process(target=begin, args=(number,)) for number in range(count)]
    for process in running:
        process.start()
    for process in running:
        process.join(60)
    assert [process.exitcode for process in running] == [0] * count


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[VectorCache]:
    with VectorCache(tmp_path) as opened:
        yield opened


# -- threads ------------------------------------------------------------------------------------


def test_threads_put_and_get_at_once(cache: VectorCache) -> None:
    def work(thread: int) -> None:
        for start in range(0, 400, 20):
            texts = numbered(40, start + thread)
            cache.put_many("s", texts, vectors_of(texts))
            assert all(map(same_bits, cache.get_many("s", texts), vectors_of(texts)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert cache.verify() == 427


def test_a_connection_ends_with_its_thread(cache: VectorCache) -> None:
    cache.put_many("s", ["a"], [[1.0]])
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(200):
        thread = threading.Thread(target=cache.get_many, args=("s", ["a"]))
        thread.start()
        thread.join()
    assert len(os.listdir("/proc/self/fd")) <= before + 2  # noqa: PTH208


def test_closing_while_others_work_harms_nobody(cache: VectorCache) -> None:
    def work(thread: int) -> None:
        for start in range(0, 300, 10):
            texts = numbered(10, 1000 * thread + start)
            cache.put_many("s", texts, vectors_of(texts))
            assert all(map(same_bits, cache.get_many("s", texts), vectors_of(texts)))

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(work, thread) for thread in range(4)]
        while not all(future.done() for future in running):
            cache.close()
            time.sleep(0.001)
    assert [future.result() for future in running] == [None] * 4
    assert cache.verify() == 1200


# -- several processes --------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 4])
def test_overlapping_puts_lose_and_double_nothing(tmp_path: Path, count: int) -> None:
    def work(number: int) -> None:
        with VectorCache(tmp_path) as cache:
            for start in range(0, 1000, 50):
                texts = numbered(100, start + 25 * number)
                cache.put_many("s", texts, vectors_of(texts, WIDTH))
                found = cache.get_many("s", texts)
                assert all(map(same_bits, found, vectors_of(texts, WIDTH)))

    at_once(count, work)
    texts = numbered(1050 + 25 * (count - 1))
    with VectorCache(tmp_path) as cache:
        assert all(map(same_bits, cache.get_many("s", texts), vectors_of(texts, WIDTH)))
        assert cache.verify() == len(texts)


@pytest.mark.slow
def test_a_new_file_is_made_once(tmp_path: Path) -> None:
    for attempt in range(15):

        def work(number: int, folder: Path = tmp_path / str(attempt)) -> None:
            with VectorCache(folder / "vectors") as cache:
                cache.put_many("s", [f"text {number}"], [[float(number)]])

        at_once(6, work)
        with VectorCache(tmp_path / str(attempt) / "vectors") as cache:
            found = cache.get_many("s", numbered(6))
            assert np.ravel(np.array(found)).tolist() == [0, 1, 2, 3, 4, 5]


def test_damage_is_set_aside_once(tmp_path: Path) -> None:
    texts = numbered(200)
    with VectorCache(tmp_path) as cache:
        cache.put_many("s", texts, vectors_of(texts, WIDTH))
    damaged = cache.path.read_bytes().replace(vectors_of(["text 7"], WIDTH).tobytes(), bytes(256))
    cache.path.write_bytes(damaged)

    def work(number: int) -> None:
        with VectorCache(tmp_path) as cache:
            try:
                cache.get_many("s", texts)
            except CacheError as error:
                assert "set aside" in str(error)  # noqa: PT017
            cache.put_many("new", [f"text {number}"], [[float(number)]])

    at_once(4, work)
    aside = [
        file for file in tmp_path.glob("*.damaged-*") if file.suffix[-4:] not in ("-wal", "-shm")
    ]
    assert [file.read_bytes() for file in aside] == [damaged]
    assert cache.verify() == 4


def test_a_fork_uses_a_connection_of_its_own(tmp_path: Path) -> None:
    with VectorCache(tmp_path) as cache:
        cache.put_many("s", ["text 9"], [[9.0]])
        at_once(3, lambda number: cache.put_many("s", [f"text {number}"], [[float(number)]]))
        cache.put_many("s", ["text 3"], [[3.0]])
        found = cache.get_many("s", [*numbered(4), "text 9"])
        assert np.ravel(np.array(found)).tolist() == [0, 1, 2, 3, 9]
        assert cache.verify() == 5


# -- kill -9 ------------------------------------------------------------------------------------


def put_and_say_so(path: Path, start: int, said: int) -> None:
    with VectorCache(path) as cache:
        for at in range(start, start + 100_000, 10):
            texts = numbered(10, at)
            cache.put_many("s", texts, vectors_of(texts, WIDTH))
            os.write(said, b"%d\n" % at)


def killed_while_putting(path: Path, start: int, seconds: float, begun: bool) -> list[int]:
    """Return which puts returned before the process that did them was killed.

    The seconds count from its start, or from its first put if it is to have `begun`.
    """
    reads, writes = os.pipe()
    process = processes.Process(target=put_and_say_so, args=(path, start, writes))
    process.start()
    os.close(writes)
    head = os.read(reads, 1) if begun else b""
    time.sleep(seconds)
    process.kill()
    process.join()
    with open(reads, "rb") as pipe:  # noqa: PTH123
        return [int(line) for line in (head + pipe.read()).splitlines()]


@pytest.mark.parametrize(
    "fresh", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["new file", "same file"]
)
def test_what_was_put_before_a_kill_is_there(tmp_path: Path, fresh: bool) -> None:
    chance = random.Random(fresh)
    texts: list[str] = []
    for number in range(KILLS):
        path = tmp_path / f"vectors {number if fresh else 0}"
        seconds = chance.uniform(0, 0.05)
        done = killed_while_putting(path, 100_000 * number, seconds, begun=number % 2 == 1)
        said = [text for start in done for text in numbered(10, start)]
        texts = said if fresh else texts + said
        with VectorCache(path) as cache:
            assert len(texts) <= cache.verify() <= len(texts) + 10 * (1 if fresh else number + 1)
            assert all(map(same_bits, cache.get_many("s", texts), vectors_of(texts, WIDTH)))
    assert fresh or texts


# -- kill -9 through LanceDB and a function -----------------------------------------------------

TEXTS = [f"Row number {i} has words of its own." for i in range(2000)]
BATCH = 16
CONCURRENCY = 8  # the default
#: Seconds after which an answer that was sent must be in the cache, on a slow machine too.
SETTLED = 1.5
QUICK, SLOW = 0.01, 0.4  # seconds that an answer takes

# Processes that begin with LanceDB loaded; it cares for forks of a process as idle as this one.
fork_server = multiprocessing.get_context("forkserver")
fork_server.set_forkserver_preload([__name__, "openai"])


def embed_all(place: Path, url: str, name: str = "t") -> None:
    tqdm.set_lock(threading.RLock())  # its own is one of the system, which a kill leaves behind
    function = (
        get_registry()
        .get("cached-openai")
        .create(base_url=f"{url}/v1", batch_size=BATCH, cache_dir=place / "vectors")
    )

    class Row(LanceModel):
        text: str = function.SourceField()
        vector: function.Vector() = function.VectorField()  # type: ignore[valid-type]

    table = lancedb.connect(place / "db").create_table(name, schema=Row, exist_ok=True)
    if table.count_rows() == 0:
        table.add([{"text": text} for text in TEXTS])


def embed_until_killed(place: Path, server: ProviderServer, requests: int, seconds: float) -> float:
    """Kill a process when it has sent so many requests; returns when that was."""
    expected = len(server.seen) + requests
    process = fork_server.Process(target=embed_all, args=(place, server.url))
    process.start()
    while len(server.seen) < expected and process.is_alive():
        time.sleep(0.001)
    time.sleep(seconds)
    killed = time.monotonic()
    process.kill()
    process.join()
    return killed


def embed_to_the_end(*args: object) -> None:
    process = fork_server.Process(target=embed_all, args=args)
    process.start()
    process.join(120)
    assert process.exitcode == 0


def answers(seen: list[Seen]) -> Counter[str]:
    return Counter(text for one in seen if one.status == 200 for text in one.texts)


def asked_again(seen: list[Seen], kills: list[float], slack: float) -> Iterator[int]:
    """Yield for each kill how many texts had an answer `slack` seconds before, and came again."""
    for begin, killed in zip([0.0, *kills], kills, strict=False):
        ours = [one for one in seen if begin < one.at < killed - slack]
        yield len(
            set(answers(ours)) & {text for one in seen if one.at > killed for text in one.texts}
        )


@pytest.mark.slow
def test_no_answer_is_asked_for_again_after_a_kill(tmp_path: Path) -> None:
    chance, kills = random.Random(11), []
    with ProviderServer("hash") as server:
        for number in range(KILLS):
            slow = number == 0
            server.latency = SLOW if slow else QUICK
            requests, seconds = chance.randint(1, 8), 3.5 if slow else chance.uniform(0, 0.02)
            kills.append(embed_until_killed(tmp_path, server, requests, seconds))
            if slow:
                early = [one for one in server.seen if one.at < kills[-1] - SLOW - SETTLED]
                assert len(answers(early)) >= CONCURRENCY * BATCH
        embed_to_the_end(tmp_path, server.url)
        seen = list(server.seen)
        embed_to_the_end(tmp_path, server.url, "again")
        assert len(server.seen) == len(seen)
    assert set(answers(seen)) == set(TEXTS)
    assert list(asked_again(seen, kills[:1], SLOW + SETTLED)) == [0]
    assert list(asked_again(seen, kills, QUICK + SETTLED))[1:] == [0] * (KILLS - 1)
    assert max(asked_again(seen, kills, 0)) <= CONCURRENCY * BATCH
    assert sum(answers(seen).values()) - len(TEXTS) <= KILLS * CONCURRENCY * BATCH
    for name in ("t", "again"):
        rows = lancedb.connect(tmp_path / "db").open_table(name).to_arrow().to_pydict()
        assert sorted(rows["text"]) == sorted(TEXTS)
