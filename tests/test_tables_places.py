"""Work on tables in an object store, and on disks that are full or may not be written."""

from __future__ import annotations

import logging
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]
import lancedb
import pytest
from botocore.exceptions import ClientError  # type: ignore[import-untyped]
from moto.server import ThreadedMotoServer

from lancedb_embedders import TableError, tables
from lancedb_embedders.tables.place import place_of
from tests.counting import (
    Counting,
    as_rows,
    assert_whole,
    embedded_texts,
    finished_texts,
    make_table,
    numbered,
)

# -- an object store ----------------------------------------------------------------------------

KEY, SECRET = "key-id-of-a-test", "secret-of-a-test"


class Bucket:
    """A bucket of a server on this machine that speaks as S3 does."""

    def __init__(self, url: str) -> None:
        keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET}
        self.client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys)
        self.client.create_bucket(Bucket="bucket")
        self.options = {"endpoint": url, "allow_http": "true", "region": "us-east-1", **keys}

    def connect(self) -> Any:
        return lancedb.connect("s3://bucket/db", storage_options=self.options)

    def read(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket="bucket", Key=key)["Body"].read())

    def there(self) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket="bucket")
        return [one["Key"] for page in pages for one in page.get("Contents", ())]

    def unfinished(self) -> list[str]:
        return [key for key in self.there() if "_embedding_" in key]


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    try:
        # All servers of a process share what is in them.
        urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST"))
        yield Bucket(url)
    finally:
        server.stop()


def test_a_table_in_an_object_store_is_worked_on_as_any_other(bucket: Bucket) -> None:
    table = make_table(bucket.connect(), 3, 20)
    texts: dict[int, str | None] = {**numbered(0, 60)}
    tables.attach(table, "text", "vector", Counting.create(), checkpoint_rows=8)
    assert_whole(table, texts)
    assert bucket.unfinished() == []
    table.add(as_rows(numbered(60, 70)))
    texts |= numbered(60, 70)
    report = tables.reembed(table, Counting.create(name="b", dim=16), checkpoint_rows=8)
    assert isinstance(report, tables.Report)
    assert report.embedded == 70
    assert_whole(table, texts, "b", 16)
    table.update(where="id = 3", values={"text": "Another text."})
    report = tables.refresh(table)
    assert isinstance(report, tables.Report)
    assert report.embedded == 1
    new: dict[int, str | None] = {3: "Another text.", 70: "A new one."}
    upserted = tables.upsert(table, as_rows(new), "id")
    assert (upserted.inserted, upserted.updated) == (1, 1)
    assert (upserted.embedded, upserted.reused) == (1, 1)
    assert_whole(bucket.connect().open_table("t"), {**texts, **new}, "b", 16)
    assert tables.check(table).ok
    assert bucket.unfinished() == []


def test_work_in_an_object_store_goes_on_where_an_error_ended_it(
    bucket: Bucket, tmp_path: Path
) -> None:
    table, log = make_table(bucket.connect(), 3, 20), tmp_path / "log"
    log.symlink_to(tmp_path / "missing" / "log")
    with pytest.raises(FileNotFoundError):  # of the function itself, so it comes as it is
        tables.attach(table, "text", "vector", Counting.create(log=str(log)), checkpoint_rows=8)
    assert [key.rpartition("/")[2] for key in bucket.unfinished()] == ["function.lance"]
    (tmp_path / "missing").mkdir()
    tables.attach(table, "text", "vector", Counting.create(log=str(log)), checkpoint_rows=8)
    assert_whole(table, numbered(0, 60))
    assert bucket.unfinished() == []


def test_writers_in_an_object_store_lose_nothing_to_a_switch(bucket: Bucket) -> None:
    once = {"Bucket": "bucket", "Key": "once", "IfNoneMatch": "*"}  # this orders commits
    bucket.client.put_object(**once)
    with pytest.raises(ClientError, match="PreconditionFailed"):
        bucket.client.put_object(**once)
    table, texts = make_table(bucket.connect(), 2, 20), numbered(0, 40)
    stop = threading.Event()

    def write() -> None:
        for start in range(1000, 1020, 2):
            if stop.wait(0.2):
                break
            bucket.connect().open_table("t").add(as_rows(numbered(start, start + 2)))
            texts.update(numbered(start, start + 2))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        tables.attach(table, "text", "vector", Counting.create(wait=0.01), checkpoint_rows=8)
    finally:
        stop.set()
        writer.join()
    tables.reembed(table, only_missing=True)
    assert len(texts) > 40
    assert_whole(table, texts)
    assert bucket.unfinished() == []


def test_keys_of_an_object_store_are_shown_nowhere(bucket: Bucket) -> None:
    table = make_table(bucket.connect(), 1, 20)
    found = tables.attach(table, "text", "vector", Counting.create())
    place = place_of(table)
    assert place.storage_options is not None
    assert SECRET in place.storage_options.values()
    said = [repr(place), str(place), repr(found), repr(tables.check(table))]
    said += [repr(table.schema.metadata), repr(place.dataset().schema.metadata)]
    with pytest.raises(TableError) as caught, place.storage_errors("reading"):
        raise OSError("no route to host")
    said.append(str(caught.value))
    stored = [bucket.read(key) for key in bucket.there()]
    for secret in (KEY, SECRET):
        assert not any(secret in one for one in said)
        assert not any(secret.encode() in one for one in stored)


# -- a disk that is full ------------------------------------------------------------------------

ROWS, WIDTH, CHECKPOINT = 2000, 1024, 100  # 8 MB of vectors
TEXTS = numbered(0, ROWS)


class Disk:
    """A disk of some megabytes, in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def mount(self, options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.path)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no small disk can be mounted here: {error}")

    def used(self) -> int:
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    def table(self) -> Any:
        return lancedb.connect(self.path / "db").open_table("t")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    disk = Disk(path)
    disk.mount("size=64m")
    try:
        make_table(lancedb.connect(path / "db"), 4, ROWS // 4)
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.mark.parametrize(
    ("megabytes", "doing"),
    [(6, "keeping vectors"), (12, "putting vectors into the table")],
    ids=["what is finished", "the table's files"],
)
def test_on_a_full_disk_work_stops_clearly_and_goes_on_with_space(
    disk: Disk, tmp_path: Path, megabytes: int, doing: str
) -> None:
    log = tmp_path / "log"

    def attach() -> Any:
        function = Counting.create(dim=WIDTH, log=str(log))
        return tables.attach(disk.table(), "text", "vector", function, checkpoint_rows=CHECKPOINT)

    disk.mount(f"remount,size={megabytes}m")
    before, used = disk.table().version, []
    for _ in range(3):
        with pytest.raises(TableError, match=rf"{doing} failed in .*No space left.*Make space"):
            attach()
        used.append(disk.used())
        table = disk.table()
        assert (table.version, table.schema.names) == (before, ["id", "text"])
        assert table.to_arrow().sort_by("id").equals(as_rows(TEXTS))
    assert max(used) - min(used) < 100_000, "each attempt left something behind"
    finished = finished_texts(disk.path / "db" / "t.lance")
    assert len(finished) >= CHECKPOINT

    disk.mount("remount,size=24m")
    report = attach()
    assert report.resumed == len(finished)
    assert report.embedded == ROWS - len(finished)
    assert_whole(disk.table(), TEXTS, dim=WIDTH)
    total = sum(count.total() for count in embedded_texts(log).values())
    assert total <= ROWS + 3 * CHECKPOINT
    assert tables.check(disk.table()).ok


def reembedded(table: Any) -> Any:
    return tables.reembed(table, Counting.create(name="b"))


def refreshed(table: Any) -> Any:
    return tables.refresh(table)


@pytest.mark.parametrize("work", [reembedded, refreshed])
def test_a_disk_that_may_not_be_written_is_named_with_what_to_do(
    disk: Disk, work: Callable[[Any], Any]
) -> None:
    tables.attach(disk.table(), "text", "vector", Counting.create())
    disk.table().update(where="id = 0", values={"text": "Another text."})
    disk.mount("remount,ro")
    with pytest.raises(TableError, match=r"failed in .*Read-only.*Give this process leave"):
        work(disk.table())
    disk.mount("remount,rw")
    work(disk.table())
    name = "b" if work is reembedded else "a"
    assert_whole(disk.table(), {**TEXTS, 0: "Another text."}, name)
