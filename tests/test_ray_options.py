"""What a cluster is asked for, and what its workers are told; none is started here."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from lancedb_embedders import CachedOpenAIEmbeddings, ConfigurationError, settings, tables
from lancedb_embedders.tables import ray_engine
from lancedb_embedders.tables.job import FunctionSpec, Job, column_type, spec_of
from lancedb_embedders.tables.place import place_of
from tests.conftest import HIDE
from tests.counting import Counting, make_table


@pytest.fixture
def table(db: Any) -> Any:
    return make_table(db, 1, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers=0"),
        ({"gpus": -1}, "gpus=-1"),
        ({"gpus": 1.5}, r"gpus=1.5: .* whole number"),
    ],
)
def test_options_that_cannot_work_are_refused(
    table: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        tables.attach(table, "text", "vector", Counting.create(), engine="ray", **options)


def node(cpus: int, gpus: int = 0, alive: bool = True) -> dict[str, Any]:
    return {"Resources": {"CPU": cpus, "GPU": gpus} if cpus else {}, "Alive": alive}


@pytest.mark.parametrize(
    ("nodes", "workers", "gpus", "shares"),
    [
        ([node(2)], None, None, (2, 1, 0)),
        ([node(8)], 2, None, (2, 4, 0)),
        ([node(8)], 16, None, (16, 1, 0)),
        ([node(0), node(8), node(8), node(8, alive=False)], 4, None, (4, 4, 0)),
        ([node(4), node(32, 4), node(32, 4)], None, None, (8, 8, 1)),
        ([node(4), node(32, 4)], None, 0.5, (8, 4, 0.5)),
        ([node(32, 4)], None, 0, (32, 1, 0)),
    ],
)
def test_workers_share_machines(
    nodes: Any, workers: int | None, gpus: float | None, shares: tuple[int, int, float]
) -> None:
    assert ray_engine._shares(nodes, workers, gpus) == shares


@pytest.mark.parametrize(
    ("nodes", "gpus", "message"),
    [
        ([node(8, 2), node(8, 2)], 4, "gpus=4 .* more than 2"),
        ([node(8)], 1, "gpus=1 .* more than 0"),
        ([node(0)], None, "no machine of the cluster has a CPU"),
    ],
)
def test_workers_that_fit_on_no_machine_are_refused(
    nodes: Any, gpus: float | None, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ray_engine._shares(nodes, None, gpus)


def test_workers_share_limits_and_have_gpus_of_their_own(table: Any) -> None:
    options = {"requests_per_minute": 300, "max_cost": 1.0}
    made = CachedOpenAIEmbeddings.create(name="text-embedding-3-small", **options)
    job = Job(place_of(table), "text", "vector", None, spec_of(made), column_type(made))
    with settings.override(device="cuda:1", tokens_per_minute=1000):
        told, given, _ = pickle.loads(ray_engine._order(job, 4, 2, 1))
    assert told.function.process == {"requests_per_minute": 75, "max_cost": 0.25}
    assert (given["tokens_per_minute"], given["device"], given["threads"]) == (250, "cuda:*", 2)


def test_a_function_of_the_script_itself_is_refused(table: Any) -> None:
    spec = FunctionSpec("counting", {}, {}, "__main__")
    job = Job(place_of(table), "text", "vector", None, spec, column_type(Counting.create()))
    with pytest.raises(ConfigurationError, match="put its class into a module of its own"):
        next(ray_engine.ray_run(None, None)(job, []))


def test_without_the_extra_it_is_named(python: Callable[..., str], db: Any, table: Any) -> None:
    said = python(
        HIDE
        + """
hide({"ray"})
import lancedb
from lancedb_embedders import tables, MissingExtraError
try:
    tables.attach(lancedb.connect(sys.argv[1]).open_table("t"), "text", engine="ray")
except MissingExtraError as error:
    print(error)
""",
        db.uri,
    )
    assert 'pip install "lancedb-embedders[ray]"' in said
