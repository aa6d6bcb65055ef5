"""`engine="ray"`: workers in other processes, which may die, as may the one that asks them."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pytest
from lancedb.embeddings import get_registry

from lancedb_embedders import (
    Embedder,
    EmbeddingError,
    EmbeddingWarning,
    InputError,
    SbertEmbeddings,
    tables,
)
from lancedb_embedders.tables import ray_engine
from lancedb_embedders.tables.job import secrets_of, spec_of
from tests.counting import (
    ROOT,
    Counting,
    as_rows,
    assert_whole,
    embedded_texts,
    finished_texts,
    leftovers,
    make_table,
    numbered,
)
from tests.ray_function import Meanwhile, NotedSbert, Risky, called, hashed, lines

ray = pytest.importorskip("ray")
if sys.platform == "win32":
    pytest.skip("Windows has no SIGKILL", allow_module_level=True)

FRAGMENTS, ROWS, CHECKPOINT = 6, 50, 20
TEXTS = numbered(0, FRAGMENTS * ROWS)
SECRET = "sk-quite-secret-0815"
RAY: dict[str, Any] = {"engine": "ray", "workers": 2, "checkpoint_rows": CHECKPOINT}


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    """Let workers import this module's functions, and end what the first test starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        yield
        ray.shutdown()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def table(db: Any) -> Any:
    return make_table(db, FRAGMENTS, ROWS)


def function(log: Path, wait: float = 0.0, **options: Any) -> Counting:
    return Counting.create(log=str(log), wait=wait, **options)


def attached(table: Any, made: Embedder) -> tables.Report:
    report = tables.attach(table, "text", "vector", made, **RAY)
    assert isinstance(report, tables.Report)
    return report


def risky(db: Any, unusual: str) -> Any:
    """Return a table with an unusual text in the last of five fragments."""
    table = make_table(db, 5, CHECKPOINT)
    table.add(as_rows({999: unusual}))
    return table


# -- what becomes of the table ------------------------------------------------------------------


def test_two_workers_fill_a_column(table: Any, log: Path) -> None:
    report = attached(table, function(log, 0.005))
    assert (report.rows, report.embedded, report.resumed) == (300, 300, 0)
    assert report.version == table.version == 8
    assert_whole(table, TEXTS)
    found = embedded_texts(log)
    assert len(found) == 2
    assert os.getpid() not in found
    assert lines(log) == 300
    assert leftovers(Path(table.to_lance().uri)) == []
    table.add(as_rows({1000: "Added later."}))
    assert_whole(table, {**TEXTS, 1000: "Added later."})


@pytest.mark.slow
def test_rows_that_others_append_meanwhile_are_covered(table: Any, log: Path) -> None:
    texts = dict(TEXTS)
    other = lancedb.connect(Path(table.to_lance().uri).parent).open_table("t")

    def append() -> None:
        for start in range(1000, 1100, 10):
            other.add(as_rows(numbered(start, start + 10)))
            texts.update(numbered(start, start + 10))
            time.sleep(0.2)

    with Meanwhile(log, 20, append):
        attached(table, function(log, 0.02))
    tables.reembed(table, only_missing=True)
    assert_whole(table, texts)


@pytest.mark.slow
def test_another_model_and_changed_texts_go_through_workers_as_well(table: Any, log: Path) -> None:
    tables.attach(table, "text", "vector", function(log))
    report = tables.reembed(table, function(log, 0.005, name="b", dim=16), **RAY)
    assert isinstance(report, tables.Report)
    assert report.embedded == 300
    assert len(embedded_texts(log)) == 1 + 2
    assert_whole(table, TEXTS, "b", 16)
    table.update(where="id % 30 = 0", values_sql={"text": "concat('Changed ', id)"})
    changed = {one: text if one % 30 else f"Changed {one}" for one, text in TEXTS.items()}
    embedded = lines(log)
    tables.refresh(table, **RAY)
    assert lines(log) == embedded + 10
    assert_whole(table, changed, "b", 16)


@pytest.mark.slow
def test_files_are_loaded_first_and_embedded_by_workers(db: Any, tmp_path: Path, log: Path) -> None:
    file = tmp_path / "rows.jsonl"

    def ingested(stop: int) -> tables.IngestReport:
        rows = [{"id": one, "text": text} for one, text in numbered(0, stop).items()]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tables.ingest(
            db, "t", [file], key="id", function=function(log), engine="ray", workers=2
        )

    assert ingested(100).added == 100
    assert_whole(db.open_table("t"), numbered(0, 100))
    assert ingested(150).added == 50
    assert_whole(db.open_table("t"), numbered(0, 150))
    assert os.getpid() not in embedded_texts(log)
    assert lines(log) == 150


@pytest.mark.slow
def test_the_bundled_model_gives_the_vectors_of_one_process(db: Any, log: Path) -> None:
    table = make_table(db, 8, 16)
    assert attached(table, NotedSbert.create(log=str(log))).embedded == 128
    rows = table.to_arrow()
    found = np.stack(rows["vector"].to_numpy(zero_copy_only=False))
    here = SbertEmbeddings.create().compute_source_embeddings(rows["text"])
    assert (found * np.stack(here)).sum(axis=1).min() >= 0.999
    said = embedded_texts(log)
    assert len(said) == 2
    cores = len(os.sched_getaffinity(0)) // 2
    assert {text for texts in said.values() for text in texts} == {f"{cores} threads"}


# -- workers and callers that die ---------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_worker_costs_its_own_unit(table: Any, log: Path) -> None:
    def kill() -> None:
        os.kill(random.choice(list(embedded_texts(log))), signal.SIGKILL)

    with Meanwhile(log, 60, kill):
        report = attached(table, function(log, 0.02))
    assert (report.rows, report.embedded) == (300, 300)
    assert_whole(table, TEXTS)
    assert 300 <= lines(log) <= 300 + CHECKPOINT


@pytest.mark.slow
def test_rows_that_no_worker_survives_end_in_an_error(db: Any, log: Path) -> None:
    table = risky(db, "deadly")
    made = Risky.create(log=str(log))
    with pytest.raises(EmbeddingError, match=r"3 workers died .* \(of fragment 5, rows 0 to 0\)"):
        attached(table, made)
    assert len(finished_texts(Path(table.to_lance().uri))) == 100
    assert table.schema.names == ["id", "text"]


@pytest.mark.slow
def test_an_error_of_a_worker_is_the_callers(db: Any, log: Path) -> None:
    table = risky(db, "refused")
    made = Risky.create(log=str(log))
    with pytest.raises(InputError, match=r"take_row_ids\(\[21474836480\]\)") as caught:
        attached(table, made)
    assert type(caught.value) is InputError
    assert caught.value.rows == (0,)
    assert "refused" in table.take_row_ids([5 << 32]).to_list()[0]["text"]
    assert len(finished_texts(Path(table.to_lance().uri))) == 100


@pytest.mark.slow
def test_a_cluster_started_for_a_call_says_nothing(db: Any, table: Any, log: Path) -> None:
    call = called(db, log, 0)
    said, _ = call.communicate(timeout=240)
    assert (call.returncode, said) == (0, "300 0\n")
    assert_whole(db.open_table("t"), TEXTS)


@pytest.mark.slow
@pytest.mark.parametrize("running", [False, True], ids=["own cluster", "one that runs"])
def test_a_killed_caller_loses_no_finished_unit(
    db: Any, table: Any, log: Path, tmp_path: Path, running: bool
) -> None:
    env = {}
    if running:
        tables.attach(make_table(db, 1, 2, "u"), "text", "vector", Counting.create(), **RAY)
        env["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    finished, total = 0, 0
    for number in range(3):
        before = lines(log)
        call = called(db, log, 0.02, **env)
        until = before + random.randint(1, 90)
        deadline = time.monotonic() + 120
        while lines(log) < until and call.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        call.kill()
        said, _ = call.communicate(timeout=60)
        assert call.returncode == -signal.SIGKILL, said
        time.sleep(3)  # its workers end a moment after it
        assert db.open_table("t").schema.names == ["id", "text"]
        kept = len(finished_texts(Path(table.to_lance().uri)))
        assert kept >= finished
        finished = kept
        total = lines(log)
        assert total <= finished + (number + 1) * 2 * CHECKPOINT
    said, _ = called(db, log, 0.0, **env).communicate(timeout=240)
    assert said == f"{300 - finished} {finished}\n"
    assert lines(log) == total + 300 - finished
    assert_whole(db.open_table("t"), TEXTS)


# -- what else a cluster is told and tells -------------------------------------------------------


@pytest.mark.slow
def test_a_cluster_that_is_in_use_is_told(
    table: Any, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray_engine._connected()
    monkeypatch.setattr(ray_engine, "_PATIENCE", 2.0)
    others = ray.remote(num_cpus=ray.cluster_resources()["CPU"])(ray_engine.RayWorker).remote()
    freed = threading.Timer(8, ray.kill, [others])
    freed.start()
    with pytest.warns(EmbeddingWarning, match="no worker has begun for 2 s"):
        attached(table, function(log))
    freed.join()
    assert_whole(table, TEXTS)


def test_a_secret_reaches_workers_and_nothing_else(db: Any, log: Path) -> None:
    get_registry().set_var("key_for_workers", SECRET)
    table = make_table(db, 2, CHECKPOINT)
    made = Risky.create(log=str(log), api_key="$var:key_for_workers")
    spec = spec_of(made)
    assert list(secrets_of(spec).values()) == [SECRET]
    attached(table, made)
    noted = {text for texts in embedded_texts(log).values() for text in texts}
    assert hashed(SECRET) in noted
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    places = [*session.rglob("*"), *Path(db.uri).rglob("*")]
    files = [place for place in places if place.is_file() and not place.is_socket()]
    assert len([file for file in files if "/logs/" in str(file)]) > 5
    assert [file for file in files if SECRET.encode() in file.read_bytes()] == []
    assert SECRET not in repr(spec)
