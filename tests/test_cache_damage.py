"""A cache that is damaged, or cannot be written, says so; nothing is lost or silently wrong."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lancedb_embedders import CacheError, VectorCache
from tests.test_cache import MEGABYTE, numbered, same_bits, vectors_of

TEXTS = numbered(2000)
VECTORS = vectors_of(TEXTS, 64)
PAGE = 16384

Damage = Callable[[bytearray], None]


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    with VectorCache(tmp_path_factory.mktemp("sound")) as cache:
        cache.put_many("s", TEXTS, VECTORS)
        cache.close()
        return cache.path.read_bytes()


@pytest.fixture
def cache(tmp_path: Path, content: bytes) -> Iterator[VectorCache]:
    (tmp_path / "vectors.sqlite3").write_bytes(content)
    with VectorCache(tmp_path) as opened:
        yield opened


def rewrite(path: Path, damage: Damage) -> bytes:
    content = bytearray(path.read_bytes())
    damage(content)
    path.write_bytes(content)
    return bytes(content)


def overwrite(start: int, count: int) -> Damage:
    def damage(content: bytearray) -> None:
        content[start : start + count] = random.Random(start).randbytes(count)

    return damage


def truncate(size: int) -> Damage:
    def damage(content: bytearray) -> None:
        del content[size:]

    return damage


def flip_a_bit_of(text: str) -> Damage:
    def damage(content: bytearray) -> None:
        at = content.index(vectors_of([text], 64).tobytes())
        content[at + 100] ^= 4

    return damage


def rename_table(content: bytearray) -> None:
    content[:] = content.replace(b"vectors (\n", b"vektors (\n")


def file_named_in(error: CacheError, folder: Path) -> Path:
    found = re.search(r"set aside as (\S+) in the same folder", str(error))
    assert found is not None, error
    return folder / found[1]


def read(cache: VectorCache) -> None:
    cache.get_many("s", TEXTS)


def verify(cache: VectorCache) -> None:
    cache.verify()


@pytest.mark.parametrize("use", [read, verify], ids=["get", "verify"])
@pytest.mark.parametrize(
    "damage",
    [
        overwrite(0, 100),
        overwrite(0, PAGE),
        truncate(300),
        truncate(5 * PAGE + 77),
        flip_a_bit_of("text 1234"),
        overwrite(20 * PAGE, PAGE),
        rename_table,
    ],
    ids=["header", "page 1", "300 bytes", "half", "vector", "page 21", "schema"],
)
def test_a_damaged_file_is_set_aside(
    cache: VectorCache, damage: Damage, use: Callable[[VectorCache], None]
) -> None:
    damaged = rewrite(cache.path, damage)
    with pytest.raises(CacheError, match="is damaged") as refusal:
        use(cache)
    aside = file_named_in(refusal.value, cache.path.parent)
    assert str(cache.path) in str(refusal.value)
    assert aside.read_bytes() == damaged
    assert cache.get_many("s", TEXTS[:2]) == [None, None]
    cache.put_many("s", TEXTS, VECTORS)
    assert cache.verify() == len(TEXTS)


def test_no_damage_gives_a_wrong_vector(tmp_path: Path, content: bytes) -> None:
    chance = random.Random(5)
    for number in range(60):
        folder = tmp_path / str(number)
        folder.mkdir()
        spoilt = bytearray(content)
        for _ in range(chance.choice([1, 5, 50])):
            spoilt[chance.randrange(len(spoilt))] ^= 1 << chance.randrange(8)
        (folder / "vectors.sqlite3").write_bytes(spoilt)
        with VectorCache(folder) as cache:
            try:
                found = cache.get_many("s", TEXTS)
                wrong = [
                    text
                    for text, row, vector in zip(TEXTS, found, VECTORS, strict=True)
                    if row is not None and not same_bits(row, vector)
                ]
                assert wrong == []
                cache.prune(max_size=MEGABYTE // 8)
                cache.export(folder / "vectors.parquet")
            except CacheError:
                assert not (folder / "vectors.parquet").exists()


def test_what_is_damaged_twice_is_kept_twice(cache: VectorCache, content: bytes) -> None:
    for number in range(3):
        cache.path.write_bytes(b"garbage %d" % number * 100)
        with pytest.raises(CacheError, match="set aside"):
            cache.verify()
    aside = sorted(cache.path.parent.glob("*.damaged-*"))
    assert [file.read_bytes()[:9] for file in aside] == [b"garbage 0", b"garbage 1", b"garbage 2"]


def test_threads_that_find_damage_at_once_set_aside_once(cache: VectorCache) -> None:
    damaged = rewrite(cache.path, flip_a_bit_of("text 7"))
    errors: list[str] = []
    start = threading.Barrier(6)

    def use() -> None:
        start.wait()
        try:
            cache.get_many("s", ["text 7"])
        except CacheError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    aside = list(cache.path.parent.glob("*.damaged-*[0-9]"))
    assert [file.read_bytes() for file in aside] == [damaged]
    assert errors
    assert [error for error in errors if aside[0].name not in error] == []


def test_a_file_that_another_process_set_aside_is_left(tmp_path: Path) -> None:
    with VectorCache(tmp_path) as ours, VectorCache(tmp_path) as theirs:
        ours.put_many("s", TEXTS, VECTORS)
        theirs.get_many("s", TEXTS[:1])
        ours.close()
        theirs.path.rename(tmp_path / "elsewhere")
        ours.put_many("other", ["b"], [[1.0, 2.0]])
        theirs.put_many("new", ["c"], [[3.0]])
        assert theirs.get_many("s", TEXTS[:1]) == [None]
        assert same_bits(ours.get_many("new", ["c"])[0], [3])
        assert ours.verify() == theirs.verify() == 2


def test_a_deleted_cache_is_made_anew(tmp_path: Path) -> None:
    with VectorCache(tmp_path / "folder" / "file") as cache:
        cache.put_many("s", TEXTS, VECTORS)
        shutil.rmtree(tmp_path / "folder")
        cache.put_many("s", ["a"], [[1.0]])
        cache.close()
        assert cache.verify() == 1


def test_an_empty_file_is_a_new_cache(cache: VectorCache) -> None:
    cache.path.write_bytes(b"")
    assert cache.verify() == 0


def test_without_its_log_a_file_is_older_but_sound(cache: VectorCache) -> None:
    kill = f"""
import os
from lancedb_embedders import VectorCache
cache = VectorCache({str(cache.path)!r})
cache.put_many("s", ["new"], [[1.0] * 64])
os._exit(9)
"""
    subprocess.run([sys.executable, "-c", kill], check=False)
    cache.path.with_name("vectors.sqlite3-wal").unlink()
    assert cache.verify() == len(TEXTS)
    assert cache.get_many("s", ["new"]) == [None]
