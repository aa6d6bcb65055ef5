"""Work on a table is killed at any moment: readers see all of it or nothing, and none is lost."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lancedb
import pytest
from lancedb.index import IvfFlat

from lancedb_embedders import tables
from lancedb_embedders.tables.recorded import embedded_columns
from tests.counting import (
    Child,
    Counting,
    as_rows,
    assert_whole,
    embedded_texts,
    finished_texts,
    leftovers,
    make_table,
    numbered,
)

if sys.platform == "win32":
    pytest.skip("Windows has no SIGKILL", allow_module_level=True)

KILLS, MANY_KILLS = 12, 150
FRAGMENTS, ROWS, CHECKPOINT = 6, 50, 20
#: Longer than a call takes when all is embedded, so that kills hit every moment of it.
SECONDS = 0.4

TEXTS = numbered(0, FRAGMENTS * ROWS)
#: What some texts are changed to.
CHANGED = {one: f"Changed text {one}." if one % 3 == 0 else text for one, text in TEXTS.items()}

Check = Callable[[Any], bool]


def opened(path: Path) -> Any:
    return lancedb.connect(path).open_table("t")


def options(log: Path | None) -> dict[str, Any]:
    return {"log": None if log is None else str(log), "wait": 0.001}


# -- what is killed -----------------------------------------------------------------------------


def attach_all(path: Path, log: Path | None = None) -> None:
    function = Counting.create(name="a", **options(log))
    tables.attach(opened(path), "text", "vector", function, checkpoint_rows=CHECKPOINT)


def reembed_all(path: Path, log: Path) -> None:
    function = Counting.create(name="b", dim=16, **options(log))
    tables.reembed(opened(path), function, checkpoint_rows=CHECKPOINT)


def refresh_all(path: Path, log: Path) -> None:
    function = Counting.create(name="a", **options(log))
    assert function is not None  # its log and wait are for the one that the table has
    tables.refresh(opened(path), checkpoint_rows=CHECKPOINT)


def hash_all(path: Path, log: Path) -> None:
    tables.refresh(opened(path), unknown="trust", checkpoint_rows=CHECKPOINT)


def ingest_all(path: Path, log: Path) -> None:
    function = Counting.create(name="a", **options(log))
    tables.ingest(
        lancedb.connect(path), "t", [path / "rows.jsonl"], key="id", function=function, batch_rows=7
    )


# -- what is seen -------------------------------------------------------------------------------


def attached(table: Any) -> bool:
    if "vector" in table.schema.names:
        assert_whole(table, TEXTS)
        return True
    assert table.schema.names == ["id", "text"]
    assert table.to_arrow().sort_by("id").equals(as_rows(TEXTS))
    return False


def reembedded(table: Any) -> bool:
    options = embedded_columns(table.schema)["vector"].options
    assert_whole(table, TEXTS, options["name"], options["dim"])
    return bool(options["name"] == "b")


def refreshed(table: Any) -> bool:
    vectors = table.search().where("id = 0").limit(1).to_list()[0]["vector"]
    done = vectors == pytest.approx(Counting.create().compute_source_embeddings([CHANGED[0]])[0])
    assert_whole(table, CHANGED, made_from=None if done else TEXTS)
    return bool(done)


def hashed(table: Any) -> bool:
    assert_whole(table, TEXTS)
    return "vector_hash" in table.schema.names


def prepared(path: Path, work: Callable[..., None]) -> int:
    """Make the table that work is to be done on, and return how many rows that will embed."""
    table = make_table(lancedb.connect(path), FRAGMENTS, ROWS)
    if work is attach_all:
        return len(TEXTS)
    tables.attach(table, "text", "vector", Counting.create(), content_hash=work is not hash_all)
    if work is hash_all:
        return 0
    if work is reembed_all:
        table.create_index("vector", config=IvfFlat(num_partitions=2), name="near")
        return len(TEXTS)
    table.update(where="id % 3 = 0", values_sql={"text": "concat('Changed text ', id, '.')"})
    return sum(CHANGED[one] != text for one, text in TEXTS.items())


def killed_and_resumed(
    path: Path, work: Callable[..., None], seen: Check, kills: int, chance: random.Random
) -> int:
    """Call again and again until a call is done; the first ones are killed, and return how many."""
    to_embed = prepared(path, work)
    killed, done, switched = 0, False, False
    while not done:
        finished = finished_texts(path / "t.lance")
        child = Child(work, path, path / "log")
        if killed < kills:
            done = not child.killed_after(chance.uniform(0, SECONDS))
            killed += not done
        else:
            done, _ = True, child.end()
        embedded = set(embedded_texts(path / "log").get(child.pid, ()))
        assert not finished & embedded, "what was finished was embedded again"
        before, switched = switched, seen(opened(path))
        assert switched >= before
    assert switched
    assert leftovers(path / "t.lance") == []
    total = sum(count.total() for count in embedded_texts(path / "log").values())
    assert to_embed <= total <= to_embed + killed * CHECKPOINT
    found = tables.check(opened(path))
    assert found.ok, str(found)
    return killed


def all_killed(
    tmp_path: Path, work: Callable[..., None], seen: Check, kills: int, seed: int
) -> None:
    chance, left = random.Random(seed), kills
    for number in range(10 * kills):
        print(f"seed {seed}, table {number}, {left} kills are left")  # noqa: T201
        left -= killed_and_resumed(tmp_path / str(number), work, seen, left, chance)
        if not left:
            break
    assert not left


SCENARIOS = {
    "attach": (attach_all, attached),
    "reembed": (reembed_all, reembedded),
    "refresh": (refresh_all, refreshed),
    "hashes": (hash_all, hashed),
}
_QUICK = {"attach", "reembed"}


@pytest.mark.parametrize(
    "scenario",
    [pytest.param(one, marks=[] if one in _QUICK else pytest.mark.slow) for one in SCENARIOS],
)
def test_killed_work_goes_on_and_is_seen_whole_or_not_at_all(tmp_path: Path, scenario: str) -> None:
    work, seen = SCENARIOS[scenario]
    all_killed(tmp_path, work, seen, KILLS, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 5))
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_work_that_is_killed_very_often_goes_on_as_well(
    tmp_path: Path, scenario: str, seed: int
) -> None:
    work, seen = SCENARIOS[scenario]
    all_killed(tmp_path, work, seen, MANY_KILLS, seed)


# -- ingest -------------------------------------------------------------------------------------


def ingested(path: Path) -> None:
    if (path / "t.lance").is_dir():
        there = opened(path)
        ids = there.to_arrow()["id"].to_pylist()
        assert_whole(there, {one: TEXTS[one] for one in ids})
        assert sorted(ids) == list(range(len(ids)))


@pytest.mark.parametrize("kills", [KILLS, pytest.param(MANY_KILLS, marks=pytest.mark.slow)])
def test_an_ingest_that_is_killed_adds_each_row_once(tmp_path: Path, kills: int) -> None:
    chance, killed = random.Random(kills), 0
    print(f"seed {kills}")  # noqa: T201
    for number in range(10 * kills):
        path = tmp_path / str(number)
        path.mkdir()
        lines = [json.dumps({"id": one, "text": text}) + "\n" for one, text in TEXTS.items()]
        (path / "rows.jsonl").write_text("".join(lines))
        done = False
        while not done:
            child = Child(ingest_all, path, path / "log")
            if killed < kills:
                done = not child.killed_after(chance.uniform(0, SECONDS))
                killed += not done
            else:
                done, _ = True, child.end()
            ingested(path)
        assert_whole(opened(path), TEXTS)
        if killed == kills:
            break
    assert killed == kills
