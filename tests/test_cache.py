"""What is put into the cache of vectors is found again, bit by bit, and nothing else."""

from __future__ import annotations

import sqlite3
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lancedb_embedders
from lancedb_embedders import VectorCache
from lancedb_embedders.cache import shared_cache, text_key

Vectors = npt.NDArray[np.float32]
MEGABYTE = 2**20
#: What SQLite may keep beside the file until it copies it there.
LOG = 17 * MEGABYTE
EXTREMES = [0.0, -0.0, 1e-45, -1e-40, 3.4028235e38, -3.4028235e38, 1.17549435e-38, 1 / 3]


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[VectorCache]:
    with VectorCache(tmp_path) as opened:
        yield opened


def numbered(count: int, start: int = 0) -> list[str]:
    return [f"text {i}" for i in range(start, start + count)]


def vectors_of(texts: list[str], width: int = 8) -> Vectors:
    """Return vectors that follow from the texts."""
    seeds = [int.from_bytes(text_key(text)[:4], "little") for text in texts]
    rows = [np.random.default_rng(seed).standard_normal(width) for seed in seeds]
    return np.array(rows, dtype=np.float32).reshape(-1, width)


def same_bits(found: Any, expected: Any) -> bool:
    return found is not None and bool(found.tobytes() == np.asarray(expected, "<f4").tobytes())


# -- put and get --------------------------------------------------------------------------------


def test_vectors_come_back_bit_by_bit(cache: VectorCache) -> None:
    vector = np.array(EXTREMES, dtype=np.float32)
    cache.put_many("s", ["a", "b"], [vector, -vector])
    found = cache.get_many("s", ["b", "a"])
    assert [row.dtype for row in found if row is not None] == [np.float32, np.float32]
    assert same_bits(found[0], -vector)
    assert same_bits(found[1], vector)


def test_the_file_holds_little_endian_floats_under_hashes(cache: VectorCache) -> None:
    cache.put_many("the space", ["a secret text"], np.array([EXTREMES], dtype=">f4"))
    cache.close()
    with sqlite3.connect(cache.path) as connection:
        rows = connection.execute("SELECT key, vector FROM vectors").fetchall()
    assert rows == [(text_key("a secret text"), struct.pack("<8f", *EXTREMES))]
    assert b"the space" in cache.path.read_bytes()
    assert b"secret" not in cache.path.read_bytes()


def test_nothing_is_pickled_but_between_own_processes() -> None:
    folder = Path(lancedb_embedders.__file__).parent
    found = [file.name for file in folder.rglob("*.py") if "import pickle" in file.read_text()]
    own = ["measure_process.py", "ray_engine.py", "worker.py", "worker_messages.py"]
    assert sorted(found) == own


def test_duplicates_and_unknown_texts(cache: VectorCache) -> None:
    cache.put_many("s", ["a", "a", "b"], [[1.0], [2.0], [3.0]])
    found = cache.get_many("s", ["b", "?", "a", "b", "a"])
    assert [None if row is None else row.tolist() for row in found] == [[3], None, [1], [3], [1]]


def test_the_first_vector_of_a_text_stays(cache: VectorCache) -> None:
    cache.put_many("s", ["a"], [[1.0]])
    cache.put_many("s", ["a", "b"], [[2.0], [2.0]])
    assert np.ravel(np.array(cache.get_many("s", ["a", "b"]))).tolist() == [1, 2]


@pytest.mark.parametrize("count", [1, 499, 500, 501, 1000, 3217])
def test_many_at_once(cache: VectorCache, count: int) -> None:
    texts = numbered(count)
    cache.put_many("s", texts, vectors_of(texts))
    found = cache.find("s", [text_key(text) for text in [*texts[::-1], "unknown"]])
    assert found.known.tolist() == [True] * count + [False]
    assert same_bits(found.vectors[:count], vectors_of(texts)[::-1])


def test_spaces_are_apart(cache: VectorCache) -> None:
    cache.put_many("one", ["a", "b"], [[1.0], [2.0]])
    cache.put_many("two", ["a"], [[3.0, 4.0]])
    assert cache.get_many("two", ["b"]) == [None]
    assert cache.get_many("three", ["a"]) == [None]
    assert same_bits(cache.get_many("two", ["a"])[0], [3, 4])


def test_several_vectors_a_text(cache: VectorCache) -> None:
    several = [np.ones((3, 2)), np.zeros((0, 2)), np.full((2, 2), 2), np.full(2, 7)]
    cache.put_many("s", list("abcd"), several)
    found = cache.get_many("s", list("abcda"))
    assert [None if row is None else row.shape for row in found] == [
        (3, 2), (0, 2), (2, 2), (2,), (3, 2),
    ]  # fmt: skip
    assert all(same_bits(row, put) for row, put in zip(found, several, strict=False))


def test_empty_calls(cache: VectorCache) -> None:
    assert cache.get_many("s", []) == []
    cache.put_many("s", [], np.empty((0, 3), dtype=np.float32))
    assert cache.find("s", []).vectors.shape == (0, 0)
    assert (cache.stats().vectors, cache.verify(), cache.clear()) == (0, 0, 0)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([[1.0]], "2 texts and 1 vectors"),
        ([[1.0], [1.0, 2.0]], r"one width, these have \[1, 2\]"),
        ([1.0, 2.0], r"one width, these have \[0\]"),
        (np.ones((2, 1, 1, 3)), r"one width, these have \[0\]"),
        ([[1.0, 2.0], [1.0, 2.0]], "vectors of 2 numbers for a space of 3: s"),
    ],
)
def test_vectors_that_do_not_fit(cache: VectorCache, vectors: Any, message: str) -> None:
    cache.put_many("s", ["z"], [[0.0, 0.0, 0.0]])
    with pytest.raises(ValueError, match=message):
        cache.put_many("s", ["a", "b"], vectors)
    cache.put_many("s", ["y"], [[0.0, 0.0, 0.0]])
    assert cache.verify() == 2


def test_a_text_that_is_no_unicode_is_an_error_of_its_own(cache: VectorCache) -> None:
    for wrong in (("s", "\ud800"), ("\ud800", "a")):
        with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
            cache.put_many(wrong[0], [wrong[1]], [[1.0]])
    assert cache.verify() == 0


words = st.text(st.characters(codec="utf-8"), max_size=3)
steps = st.one_of(
    st.tuples(st.just("put"), st.sampled_from("xyz"), st.lists(words, max_size=4)),
    st.tuples(st.just("get"), st.sampled_from("xyz"), st.lists(words, max_size=4)),
    st.tuples(st.sampled_from(["clear", "reopen", "older", "younger", "verify"])),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, max_size=20))
def test_it_does_what_a_dictionary_does(
    tmp_path_factory: pytest.TempPathFactory, sequence: list[Any]
) -> None:
    known: dict[tuple[str, str], bytes] = {}
    with VectorCache(tmp_path_factory.mktemp("model")) as cache:
        for number, (what, *arguments) in enumerate(sequence):
            if what == "put":
                space, texts = arguments
                vectors = np.full((len(texts), 2), number, np.float32)
                cache.put_many(space, texts, vectors)
                for text in texts:
                    known.setdefault((space, text), vectors[0].tobytes())
            elif what == "get":
                space, texts = arguments
                found = [
                    None if row is None else row.tobytes() for row in cache.get_many(*arguments)
                ]
                assert found == [known.get((space, text)) for text in texts]
            elif what == "reopen":
                cache.close()
            elif what == "verify":
                assert cache.verify() == len(known)
            elif what == "younger":
                assert cache.prune(older_than=3600) == 0
            else:
                assert (cache.clear() if what == "clear" else cache.prune(older_than=0)) == len(
                    known
                )
                known.clear()


def test_a_folder_has_one_cache(tmp_path: Path) -> None:
    assert shared_cache(tmp_path) is shared_cache(tmp_path)
    assert shared_cache(tmp_path) is not shared_cache(tmp_path / "other")


# -- upkeep -------------------------------------------------------------------------------------


def test_the_size_is_held_and_the_oldest_go_first(tmp_path: Path) -> None:
    texts = numbered(6000)
    with VectorCache(tmp_path, max_size=2 * MEGABYTE) as cache:
        for start in range(0, len(texts), 200):
            some = texts[start : start + 200]
            cache.put_many("s", some, vectors_of(some, 256))
            assert cache.path.stat().st_size <= 2 * MEGABYTE
            assert cache.stats().file_bytes <= 2 * MEGABYTE + LOG
        known = [row is not None for row in cache.get_many("s", texts)]
        assert known == sorted(known)
        assert 1000 < sum(known) == cache.verify() < 2048


def test_pruning_gives_room_back(cache: VectorCache) -> None:
    texts = numbered(4000)
    cache.put_many("s", texts, vectors_of(texts, 256))
    assert cache.stats().file_bytes > 4 * MEGABYTE
    deleted = cache.prune(max_size=MEGABYTE)
    assert cache.stats().file_bytes <= MEGABYTE
    left = cache.get_many("s", texts)
    assert [row is None for row in left] == [True] * deleted + [False] * (4000 - deleted)
    assert cache.clear() == 4000 - deleted
    assert cache.stats().file_bytes < MEGABYTE / 4


def test_pruning_by_age(cache: VectorCache) -> None:
    cache.put_many("s", ["old"], [[1.0]])
    time.sleep(0.3)
    cache.put_many("s", ["new"], [[2.0]])
    assert cache.prune(older_than=0.2) == 1
    assert [row is None for row in cache.get_many("s", ["old", "new"])] == [True, False]


def test_clearing_takes_what_a_wrong_clock_dated_to_the_future(cache: VectorCache) -> None:
    cache.put_many("s", ["a", "b"], [[1.0], [2.0]])
    cache.close()
    with sqlite3.connect(cache.path) as connection:
        connection.execute("UPDATE vectors SET stored = stored + 1e6")
    connection.close()
    assert cache.clear() == 2
    assert cache.verify() == 0


def test_stats_count(cache: VectorCache) -> None:
    before = time.time()
    cache.put_many("one", ["a", "b"], [[1.0, 2.0], [3.0, 4.0]])
    cache.put_many("two", ["a"], [np.ones((2, 3))])
    found = cache.stats()
    assert (found.path, found.vectors) == (cache.path, 3)
    assert [(s.description, s.width, s.vectors, s.bytes) for s in found.spaces] == [
        ("one", 2, 2, 16),
        ("two", 3, 1, 24),
    ]
    assert found.oldest is not None
    assert found.newest is not None
    assert before <= found.oldest <= found.newest <= time.time()
    assert found.file_bytes == sum(file.stat().st_size for file in cache.path.parent.glob("*[3l]"))


def test_the_export_holds_every_vector(cache: VectorCache, tmp_path: Path) -> None:
    cache.put_many("one", ["a", "b"], [EXTREMES, EXTREMES[::-1]])
    cache.put_many("two", ["c"], [np.array([[1, 2], [3, 4]])])
    assert cache.export(tmp_path / "vectors.parquet") == 3
    table = pq.read_table(tmp_path / "vectors.parquet")
    assert table.column("space").to_pylist() == ["one", "one", "two"]
    assert table.column("key").to_pylist() == [text_key(text) for text in "abc"]
    rows = [np.array(row, np.float32) for row in table.column("vector").to_pylist()]
    assert all(map(same_bits, rows, [EXTREMES, EXTREMES[::-1], [1, 2, 3, 4]]))
    assert abs(table.column("stored").to_pylist()[0].timestamp() - time.time()) < 60
    assert not list(tmp_path.glob("*.part"))
