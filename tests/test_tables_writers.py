"""Others write to a table, and search it, while its vectors are made or replaced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pytest

from lancedb_embedders import tables
from tests.counting import (
    ROOT,
    Child,
    Counting,
    as_rows,
    assert_whole,
    leftovers,
    make_table,
    numbered,
    vectors_for,
)

if sys.platform == "win32":
    pytest.skip("Windows has no forkserver", allow_module_level=True)

FRAGMENTS, ROWS, CHECKPOINT = 6, 40, 20
TEXTS = numbered(0, FRAGMENTS * ROWS)


def opened(path: Path) -> Any:
    return lancedb.connect(path).open_table("t")


def attach_slowly(path: Path, wait: float) -> int:
    function = Counting.create(log=str(path / "log"), wait=wait)
    return attached(path, function)


def attached(path: Path, function: Counting) -> int:
    report = tables.attach(opened(path), "text", "vector", function, checkpoint_rows=CHECKPOINT)
    assert isinstance(report, tables.Report)
    return report.version


def reembed_slowly(path: Path, names: str, wait: float) -> None:
    for name in names:
        function = Counting.create(name=name, wait=wait)
        tables.reembed(opened(path), function, checkpoint_rows=CHECKPOINT)


def begun(path: Path) -> None:
    """Wait until a child has embedded something."""
    while not (path / "log").exists():
        time.sleep(0.005)


# -- writers ------------------------------------------------------------------------------------


class Writer:
    """Does what others do to a table, and knows what it must hold afterwards."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.texts: dict[int, str | None] = dict(TEXTS)
        self.next = len(TEXTS)

    def append(self) -> None:
        new = numbered(self.next, self.next + 5)
        opened(self.path).add(as_rows(new))
        self.texts |= new
        self.next += 5

    def update(self) -> None:
        one = min(key for key, text in self.texts.items() if text == f"Text number {key}.")
        opened(self.path).update(where=f"id = {one}", values={"text": f"Updated {one}."})
        self.texts[one] = f"Updated {one}."

    def empty(self) -> None:
        one = max(key for key, text in self.texts.items() if text is not None)
        opened(self.path).update(where=f"id = {one}", values={"text": None})
        self.texts[one] = None

    def delete(self) -> None:
        gone = sorted(self.texts)[10::50]
        opened(self.path).delete(f"id in ({', '.join(map(str, gone))})")
        for one in gone:
            del self.texts[one]

    def compact(self) -> None:
        opened(self.path).optimize()

    def steps(self) -> list[Callable[[], None]]:
        return [self.append, self.update, self.delete, self.compact, self.empty]


@pytest.mark.filterwarnings("ignore:.*get no vector")
@pytest.mark.parametrize("rounds", [3, pytest.param(25, marks=pytest.mark.slow)])
def test_what_others_write_meanwhile_is_neither_lost_nor_left_without_its_vector(
    tmp_path: Path, rounds: int
) -> None:
    make_table(lancedb.connect(tmp_path), FRAGMENTS, ROWS)
    child, writer, during = Child(attach_slowly, tmp_path, 0.004), Writer(tmp_path), 0
    begun(tmp_path)
    for number in range(rounds):
        for step in writer.steps():
            step()
            during += child.running
            if number < rounds - 1:
                assert_rows(tmp_path, writer.texts)
            time.sleep(0.02)
    child.end()
    assert during > len(writer.steps())
    table = opened(tmp_path)
    if "vector" in table.schema.names:
        assert_rows(tmp_path, writer.texts)
    # Rows that were written after the switch, by those who had opened the table before it, and
    # texts that were updated after it, are found by the look over and by refresh.
    found = tables.check(table).columns[0]
    report = tables.refresh(table)
    assert isinstance(report, tables.Report)
    assert report.embedded <= found.missing + (found.stale or 0)
    assert_whole(opened(tmp_path), writer.texts)
    assert tables.check(opened(tmp_path)).ok
    assert leftovers(tmp_path / "t.lance") == []


def assert_rows(path: Path, texts: dict[int, str | None]) -> None:
    rows = opened(path).to_arrow().sort_by("id")
    assert dict(zip(rows["id"].to_pylist(), rows["text"].to_pylist(), strict=True)) == texts
    assert len(rows) == len(texts)


def test_rows_of_one_who_knows_nothing_of_the_new_column_get_their_vectors_later(
    tmp_path: Path,
) -> None:
    unaware = make_table(lancedb.connect(tmp_path), FRAGMENTS, ROWS)
    attached(tmp_path, Counting.create())
    new = numbered(1000, 1010)
    unaware.add(as_rows(new))
    assert_rows(tmp_path, {**TEXTS, **new})
    found = tables.check(opened(tmp_path))
    assert (found.ok, found.columns[0].missing) == (False, len(new))
    report = tables.reembed(opened(tmp_path), only_missing=True)
    assert isinstance(report, tables.Report)
    assert report.embedded == len(new)
    assert_whole(opened(tmp_path), {**TEXTS, **new})


@pytest.mark.parametrize("dim", [8, 16], ids=["same size", "another size"])
def test_one_who_still_embeds_by_the_old_model_puts_none_of_its_vectors_into_the_table(
    tmp_path: Path, dim: int
) -> None:
    make_table(lancedb.connect(tmp_path), FRAGMENTS, ROWS)
    attached(tmp_path, Counting.create())
    unaware = opened(tmp_path)
    assert unaware.search("a").limit(1).to_list()
    tables.reembed(opened(tmp_path), Counting.create(name="b", dim=dim))
    new = numbered(1000, 1010)
    unaware.add(as_rows(new))
    rows = opened(tmp_path).to_arrow().sort_by("id")
    assert rows["id"].to_pylist() == [*TEXTS, *new]
    for vector, text in zip(rows["vector"].to_pylist(), rows["text"].to_pylist(), strict=True):
        by_new = vectors_for([text], "b", dim)[0]
        assert vector is None or np.allclose(vector, by_new, atol=1e-6)
    tables.reembed(opened(tmp_path), only_missing=True)
    assert_whole(opened(tmp_path), {**TEXTS, **new}, "b", dim)
    assert tables.check(opened(tmp_path)).ok


def test_two_who_do_the_same_work_at_once_end_with_one_whole_column(tmp_path: Path) -> None:
    make_table(lancedb.connect(tmp_path), FRAGMENTS, ROWS)
    children = [Child(attach_slowly, tmp_path, 0.002) for _ in range(2)]
    for child in children:
        child.end()
    assert_whole(opened(tmp_path), TEXTS)
    assert leftovers(tmp_path / "t.lance") == []


# -- readers ------------------------------------------------------------------------------------


@contextmanager
def searching(search: Callable[[str], float]) -> Iterator[list[float]]:
    """Search for texts of the table over and over; gives the distances of what is nearest."""
    found: list[float] = []
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            for text in list(TEXTS.values())[len(found) % 7 :: 31]:
                found.append(search(text))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("kept", [True, False], ids=["a kept handle", "a new handle each time"])
@pytest.mark.parametrize("names", ["baba", pytest.param("ba" * 30, marks=pytest.mark.slow)])
def test_a_search_never_compares_a_query_of_one_model_with_rows_of_another(
    tmp_path: Path, kept: bool, names: str
) -> None:
    make_table(lancedb.connect(tmp_path), FRAGMENTS, ROWS)
    attached(tmp_path, Counting.create())
    held = opened(tmp_path)
    models = set()

    def distance(text: str) -> float:
        table = held if kept else opened(tmp_path)
        if kept:
            table.checkout_latest()
        models.add(table.embedding_functions["vector"].function.name)
        hit = table.search(text).limit(1).to_list()[0]
        return float(hit["_distance"]) if hit["text"] == text else 9.0

    with searching(distance) as found:
        for _ in range(20):  # a slow machine searches less often
            Child(reembed_slowly, tmp_path, names, 0.001).end()
            if len(found) > 100:
                break
    assert len(found) > 100
    assert max(found) < 1e-6
    assert models == {"a", "b"}


# -- Ctrl-C -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_ctrl_c_ends_the_command_with_a_message_and_the_next_one_goes_on(tmp_path: Path) -> None:
    # Equal texts are embedded once: what is kept first takes no time, and the rest takes seconds.
    texts = [f"Text number {i % 20}." for i in range(2048)]
    texts += [f"Text number {i} is longer than the others, and tells of {i}." for i in range(300)]
    table = lancedb.connect(tmp_path).create_table("t", as_rows(dict(enumerate(texts))))
    command = [sys.executable, "-m", "lancedb_embedders", "attach", "--db", str(tmp_path)]
    command += ["--table", "t", "--source", "text"]
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    while not list((tmp_path / "t.lance").glob("_embedding_*/parts/*.lance")):
        assert running.poll() is None
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "What was finished is kept; the same command again goes on." in said
    assert "Traceback" not in said
    table.checkout_latest()
    assert table.schema.names == ["id", "text"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "300 rows embedded" in done.stdout
    assert "2,048 were finished before" in done.stdout
    table.checkout_latest()
    assert table.count_rows("vector IS NOT NULL") == 2348
    assert leftovers(tmp_path / "t.lance") == []
