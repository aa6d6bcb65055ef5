"""Places where a cache cannot be: not ours, not writable, full, on a network; each says so."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lancedb_embedders import CacheError, VectorCache
from lancedb_embedders.cache.filesystems import network_filesystem
from tests.test_cache import numbered, same_bits, vectors_of

TEXTS = numbered(1010)
VECTORS = vectors_of(TEXTS, 64)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[VectorCache]:
    with VectorCache(tmp_path) as opened:
        opened.put_many("s", TEXTS, VECTORS)
        opened.close()
        yield opened


def read(cache: VectorCache) -> None:
    cache.get_many("s", TEXTS)


def verify(cache: VectorCache) -> None:
    cache.verify()


# -- not ours -----------------------------------------------------------------------------------


def refuses(cache: VectorCache, reason: str) -> None:
    for use in (read, verify, lambda cache: cache.check()):
        with pytest.raises(CacheError, match=reason) as refusal:
            use(cache)
        assert str(cache.path) in str(refusal.value)
        assert "LANCEDB_EMBEDDERS_CACHE_DIR" in str(refusal.value)


def test_a_database_of_something_else_is_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "theirs.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE vectors (a)")
    connection.close()
    before = file.read_bytes()
    refuses(VectorCache(file), "SQLite file of something else")
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == {"theirs.db": before}


def test_a_file_of_a_newer_version_is_not_touched(cache: VectorCache) -> None:
    with sqlite3.connect(cache.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = cache.path.read_bytes()
    refuses(cache, "newer version of lancedb-embedders")
    assert cache.path.read_bytes() == before


# -- places that cannot be written --------------------------------------------------------------


def run(*command: str | Path) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"not permitted here: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_place_under_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refuses(VectorCache(tmp_path / "file" / "folder" / "vectors"), "file")


def test_a_place_in_proc() -> None:
    refuses(VectorCache("/proc/cache/vectors.sqlite3"), "cannot be used")


def test_a_read_only_disk(small_disk: Path) -> None:
    run("mount", "-o", "remount,ro", small_disk)
    refuses(VectorCache(small_disk), "unable to open database file")


def test_a_file_that_may_not_be_changed(cache: VectorCache) -> None:
    run("chattr", "+i", cache.path)
    try:
        with pytest.raises(CacheError, match=r"readonly database.*LANCEDB_EMBEDDERS_CACHE_DIR"):
            cache.check()
        assert same_bits(cache.get_many("s", TEXTS[:1])[0], VECTORS[0])
    finally:
        run("chattr", "-i", cache.path)


def test_a_damaged_file_that_cannot_be_moved(cache: VectorCache) -> None:
    cache.path.write_bytes(b"garbage" * 100)
    run("chattr", "+i", cache.path.parent)
    try:
        with pytest.raises(CacheError, match=r"is damaged.*cannot be set aside"):
            cache.verify()
    finally:
        run("chattr", "-i", cache.path.parent)


def test_a_full_disk(small_disk: Path) -> None:
    with VectorCache(small_disk) as cache:
        cache.put_many("s", TEXTS[:1000], VECTORS[:1000])
        for _ in range(2):
            with pytest.raises(CacheError, match=r"full.*LANCEDB_EMBEDDERS_CACHE_DIR"):
                cache.put_many("big", numbered(50_000), np.ones((50_000, 64), np.float32))
        assert all(map(same_bits, cache.get_many("s", TEXTS[:1000]), VECTORS[:1000]))
        cache.put_many("s", TEXTS[1000:1010], VECTORS[1000:1010])
        assert cache.verify() == 1010


# -- network -------------------------------------------------------------------------------------

MOUNTS = b"""\
/dev/sda / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb /home/local ext4 rw 0 0
//server/c /mnt/my\\040big\\011\\134share cifs rw 0 0
automount /auto autofs rw 0 0
server:/auto /auto nfs rw 0 0
sshfs /mnt/\xc3\xa9t\xc3\xa9\xc2\x85 fuse.sshfs rw 0 0

"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/x", None),
        ("/home/me", "nfs4"),
        ("/homely", None),
        ("/home/local/me", None),
        ("/mnt/my big\t\\share/x", "cifs"),
        ("/auto", "nfs"),
        ("/mnt/été\x85/x", "fuse.sshfs"),
    ],
)
def test_network_drives_are_known(tmp_path: Path, folder: str, kind: str | None) -> None:
    (tmp_path / "mounts").write_bytes(MOUNTS)
    assert network_filesystem(Path(folder), tmp_path / "mounts") == kind


def test_no_list_of_mounts_is_no_network(tmp_path: Path) -> None:
    assert network_filesystem(tmp_path, tmp_path / "none") is None
