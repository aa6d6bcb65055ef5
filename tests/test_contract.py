"""The contract: what every registered function must do, on real tables."""

from __future__ import annotations

import json
import logging
import pickle
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from lancedb.pydantic import LanceModel

from lancedb_embedders import (
    Batch,
    ConfigurationError,
    EmbeddingWarning,
    InputError,
    ModelDriftError,
    settings,
    tables,
)
from lancedb_embedders.local.store import store
from lancedb_embedders.stored import registered
from tests.contract import CASES, MODELS, TEXTS, Case, counting
from tests.image_models import tiny_clip
from tests.models import tiny_bert

#: Options of which None means that there is nothing of the kind.
LEFT_OUT = {"truncate_dim", "quantization", "revision", "template", "headers", "azure_endpoint"} | {
    "azure_deployment",
    "api_version",
    "project",
    "location",
}


@pytest.fixture(autouse=True)
def _small_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANCEDB_EMBEDDERS_MODELS", str(MODELS))


def marked(cases: Iterable[Case]) -> list[Any]:
    return [
        pytest.param(case, marks=[pytest.mark.slow] * case.slow, id=str(case)) for case in cases
    ]


@pytest.fixture(params=marked(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    chosen: Case = request.param
    return chosen


@pytest.fixture(params=marked(case for case in CASES if not case.pictures))
def text_case(request: pytest.FixtureRequest) -> Case:
    chosen: Case = request.param
    return chosen


@pytest.fixture(params=marked(case for case in CASES if case.local))
def local_case(request: pytest.FixtureRequest) -> Case:
    chosen: Case = request.param
    return chosen


def schema_of(function: Any) -> type[LanceModel]:
    class Row(LanceModel):
        id: int
        text: str | None = function.SourceField(default=None)
        vector: function.Vector() | None = function.VectorField(default=None)  # type: ignore[valid-type]

    return Row


def make_table(db: Any, case: Case, function: Any = None, name: str = "t") -> Any:
    return db.create_table(name, schema=schema_of(function or case.create()))


def rows(texts: Sequence[str | None] = TEXTS) -> list[dict[str, Any]]:
    return [{"id": i, "text": text} for i, text in enumerate(texts)]


def vectors(table: Any) -> list[Any]:
    found = table.to_arrow().sort_by("id")["vector"].to_pylist()
    return [None if v is None else np.asarray(v, dtype=np.float64) for v in found]


def flat(found: Any) -> Any:
    """Return vectors below each other, whether a row has one or several."""
    return np.concatenate([np.atleast_2d(np.asarray(v, dtype=np.float64)) for v in found])


def search(table: Any, case: Case) -> list[dict[str, Any]]:
    metric = "hamming" if case.options.get("quantization") == "binary" else "cosine"
    hits: list[dict[str, Any]] = table.search(case.query).distance_type(metric).limit(3).to_list()
    return hits


def stored_options(table: Any) -> dict[str, Any]:
    raw = json.loads(table.schema.metadata[b"embedding_functions"])
    options: dict[str, Any] = raw[0]["model"]
    return options


# -- rows in, hits out ----------------------------------------------------------------------


def test_embeds_on_add_and_on_search(db: Any, case: Case) -> None:
    table = make_table(db, case)
    table.add(rows(case.texts))
    assert search(table, case)[0]["id"] == 0
    direct = case.create().compute_source_embeddings(list(case.texts))
    np.testing.assert_allclose(flat(vectors(table)), flat(direct), atol=1e-6)


def test_attach_gives_a_table_what_add_would_have_given(db: Any, case: Case) -> None:
    function = case.create()
    added = make_table(db, case, function)
    added.add(rows(case.texts))
    table = db.create_table("bare", rows(case.texts))
    tables.attach(table, "text", "vector", function)
    np.testing.assert_allclose(flat(vectors(table)), flat(vectors(added)), atol=1e-6)
    assert table.schema.field("vector").type == added.schema.field("vector").type
    assert stored_options(table) == stored_options(added)
    assert search(table, case)[0]["id"] == 0
    assert tables.check(table).ok


def test_a_fresh_process_with_only_the_path_embeds_alike(
    db: Any, python: Callable[..., str]
) -> None:
    # One process for all tables: to start it takes longer than all that it does.
    made = [make_table(db, case, name=f"t{i}") for i, case in enumerate(CASES)]
    jobs = [
        {
            "metric": "hamming" if case.options.get("quantization") == "binary" else "cosine",
            "texts": case.texts,
            "query": str(case.query),
            "picture": case.pictures,
        }
        for case in CASES
    ]
    for table, case in zip(made, CASES, strict=True):
        table.add(rows(case.texts))
    code = """
import json, pathlib, sys, lancedb, lancedb_embedders
found = []
for i, job in enumerate(json.loads(sys.argv[2])):
    table = lancedb.connect(sys.argv[1]).open_table(f"t{i}")
    table.add([{"id": 10 + i, "text": text} for i, text in enumerate(job["texts"])])
    query = pathlib.Path(job["query"]) if job["picture"] else job["query"]
    hits = table.search(query).distance_type(job["metric"]).limit(1).to_list()
    found.append([hits[0]["id"] % 10, table.count_rows()])
print(json.dumps(found))
"""
    out = python(code, db.uri, json.dumps(jobs))
    for case, found, table in zip(CASES, json.loads(out), made, strict=True):
        assert found == [0, 2 * len(TEXTS)], case
        table.checkout_latest()
        first, second = vectors(table)[:3], vectors(table)[3:]
        np.testing.assert_allclose(flat(first), flat(second), atol=1e-5, err_msg=str(case))


def as_record_batches() -> Iterator[pa.RecordBatch]:
    for row in rows():
        yield pa.RecordBatch.from_pylist([row])


@pytest.mark.parametrize(
    "container",
    [
        lambda: rows(),
        lambda: pa.Table.from_pylist(rows()),
        lambda: pa.Table.from_pylist(rows()).to_batches()[0],
        lambda: pd.DataFrame(rows()),
        lambda: pl.DataFrame(rows()),
        lambda: as_record_batches(),
        lambda: pa.RecordBatchReader.from_batches(
            pa.schema([("id", pa.int64()), ("text", pa.string())]), as_record_batches()
        ),
    ],
    ids=["dicts", "pa.Table", "RecordBatch", "pandas", "polars", "generator", "reader"],
)
def test_takes_every_container(db: Any, container: Callable[[], Any]) -> None:
    case = CASES[0]
    table = make_table(db, case)
    table.add(container())
    expected = case.create().compute_source_embeddings(list(TEXTS))
    np.testing.assert_allclose(flat(vectors(table)), flat(expected), atol=1e-5)


def test_takes_pydantic_rows(db: Any, case: Case) -> None:
    row: Any = schema_of(case.create())
    table = db.create_table("t", schema=row)
    table.add([row(id=i, text=text) for i, text in enumerate(case.texts)])
    assert search(table, case)[0]["id"] == 0


async def test_async(tmp_path: Path, case: Case) -> None:
    db = await lancedb.connect_async(tmp_path / "db")
    table = await db.create_table("t", schema=schema_of(case.create()))
    await table.add(rows(case.texts))
    metric = "hamming" if case.options.get("quantization") == "binary" else "cosine"
    query: Any = await table.search(case.query, query_type="vector")
    hits = await query.distance_type(metric).limit(1).to_list()
    assert hits[0]["id"] == 0


def test_merge_insert(db: Any, case: Case) -> None:
    table = make_table(db, case)
    first, _, third = case.texts
    table.add(rows(case.texts))
    merge = table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
    merge.execute([{"id": 1, "text": third}, {"id": 3, "text": first}])
    expected = case.create().compute_source_embeddings([first, third, third, first])
    np.testing.assert_allclose(flat(vectors(table)), flat(expected), atol=1e-5)


def test_order_is_kept(text_case: Case) -> None:
    texts = [" ".join(["word"] * (1 + 37 * i % 90)) + f" {i}" for i in range(160)]
    function = text_case.create()
    together = function.compute_source_embeddings(texts)
    for i in (0, 7, 80, 159):
        alone = function.compute_source_embeddings([texts[i]])
        np.testing.assert_allclose(flat([together[i]]), flat(alone), atol=2e-3)


def test_equal_inputs_are_computed_once(case: Case) -> None:
    first, second, _ = case.texts
    cls, seen = counting(case)
    function = cls.create(**case.options)
    result = function.compute_source_embeddings([first, second, first] * 100)
    assert seen.inputs == [first, second]
    assert seen.batches[0].counts().tolist() == [200, 100]
    assert len(result) == 300
    np.testing.assert_array_equal(result[0], result[299])


def test_vectors_come_as_the_array_that_arrow_converts_fast(case: Case) -> None:
    function = case.create()
    kinds = {None: np.float32, "float16": np.float16, "binary": np.uint8}
    result = function.compute_source_embeddings(list(case.texts))
    for array in result if function.multivector else [result]:
        assert array.dtype == kinds[function.quantization]
        assert array.shape[1] == function.ndims()
    assert len(result) == 3


def test_roles(text_case: Case) -> None:
    function = text_case.create()
    as_query = flat(function.compute_query_embeddings(TEXTS[0])[:1])
    as_document = flat(function.compute_source_embeddings(TEXTS[0])[:1])
    has_roles = text_case.told or function.query_prompt != function.document_prompt
    same = as_query.shape == as_document.shape and np.allclose(as_query, as_document, atol=1e-5)
    assert same is not has_roles


@pytest.mark.slow
def test_memory_stays_flat_over_a_generator(db: Any, python: Callable[..., str]) -> None:
    make_table(db, CASES[0])
    code = """
import sys, lancedb, lancedb_embedders, psutil, pyarrow as pa
me, seen = psutil.Process(), []

def batches():
    for i in range(120):
        seen.append(me.memory_info().rss)
        texts = [f"text {j % 20} of many" for j in range(5_000)]
        yield pa.RecordBatch.from_pydict({"id": list(range(5_000)), "text": texts})

lancedb.connect(sys.argv[1]).open_table("t").add(batches())
print((seen[-1] - seen[30]) // 2**20)
"""
    # 90 batches more would weigh 660 MB if their vectors were kept.
    assert int(python(code, db.uri)) < 200


# -- nulls, wrong types, bad rows ---------------------------------------------------------------


def test_null_and_blank_rows_are_left_to_on_bad_vectors(db: Any, case: Case) -> None:
    texts: list[str | None] = [case.texts[0], None, "", " \t\n\u3000", case.texts[1]]
    table = make_table(db, case)
    with pytest.warns(
        EmbeddingWarning, match=r"3 of 5 rows have no (text|picture) \(rows 1, 2, 3\).*null"
    ):
        table.add(rows(texts), on_bad_vectors="null")
    assert [v is None for v in vectors(table)] == [False, True, True, True, False]


def test_drop_leaves_bad_rows_out(db: Any) -> None:
    table = make_table(db, CASES[0])
    with pytest.warns(EmbeddingWarning):
        table.add(rows([TEXTS[0], "", TEXTS[1]]), on_bad_vectors="drop")
    assert table.to_arrow()["id"].to_pylist() == [0, 2]


def test_only_nulls(db: Any, case: Case) -> None:
    table = make_table(db, case)
    with pytest.warns(EmbeddingWarning, match="2 of 2 rows"):
        table.add(rows([None, ""]), on_bad_vectors="null")
    assert vectors(table) == [None, None]


def test_one_bad_row_in_10_000(db: Any) -> None:
    table = make_table(db, CASES[0])
    table.add(rows())
    texts: list[str | None] = [f"text number {i % 50}" for i in range(10_000)]
    texts[7_777] = None
    before = table.version
    with (
        pytest.warns(EmbeddingWarning, match=r"1 of 10,000 rows have no text \(row 7777\)"),
        pytest.raises(Exception, match="on_bad_vectors"),
    ):
        table.add(rows(texts))
    assert (table.version, table.count_rows()) == (before, len(TEXTS))
    with pytest.warns(EmbeddingWarning):
        table.add(rows(texts), on_bad_vectors="null")
    assert sum(v is None for v in vectors(table)) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", 5, "b"], r"row 1: expected a string, got int \(5\)"),
        (["a", b"bytes"], r"row 1: expected a string, got bytes"),
        (["a", "b\ud800"], r"row 1: character 1 is a lone surrogate \(U\+D800\)"),
        (pa.array([1, 2]), "row 0: expected strings, got a column of Arrow type int64"),
        (pa.array([b"x"]), "Arrow type binary"),
        ({"a": 1}, "row 0: expected a string, got dict"),
        (7, "row 0: expected a string, got int"),
    ],
)
def test_wrong_types_name_row_and_type(text_case: Case, values: Any, message: str) -> None:
    cls, seen = counting(text_case)
    with pytest.raises(InputError, match=message):
        cls.create(**text_case.options).compute_source_embeddings(values)
    assert not seen.batches


@pytest.mark.parametrize(
    "values",
    [
        pa.array(TEXTS, pa.large_string()),
        pa.array(TEXTS, pa.string_view()),
        pa.array(TEXTS).dictionary_encode(),
        pa.chunked_array([list(TEXTS[:1]), list(TEXTS[1:])]),
        np.array(TEXTS),
        np.array(TEXTS, dtype=object),
        TEXTS,
        pd.Series(TEXTS),
        pl.Series(TEXTS),
    ],
    ids=lambda value: f"{type(value).__name__}",
)
def test_takes_every_array_of_text(values: Any) -> None:
    function = CASES[0].create()
    expected = function.compute_source_embeddings(list(TEXTS))
    np.testing.assert_allclose(function.compute_source_embeddings(values), expected, atol=1e-6)


def test_empty_query_is_an_error(db: Any, case: Case) -> None:
    table = make_table(db, case)
    table.add(rows(case.texts))
    with pytest.raises(InputError, match="the query is empty"):
        table.search("  ").limit(1).to_list()


def test_an_error_comes_at_once_and_leaves_the_table_as_it_was(db: Any, text_case: Case) -> None:
    base: Any = text_case.cls
    calls: list[int] = []

    class FailingEmbeddings(base, registry_name="failing"):  # type: ignore[call-arg]
        def embed(self, batch: Batch) -> Any:
            calls.append(len(batch.inputs))
            if "poison" in batch.inputs:
                raise TypeError("the poisoned text cannot be embedded")
            return super().embed(batch)

    table = make_table(db, text_case, FailingEmbeddings.create(**text_case.options))
    table.add(rows())
    before, calls[:] = table.version, []
    batches = iter([pa.RecordBatch.from_pylist(rows([text])) for text in [*TEXTS, "poison"]])
    with pytest.raises(RuntimeError, match="the poisoned text cannot be embedded"):
        table.add(batches)
    assert len(calls) == 4, "no batch is tried twice"
    assert (table.version, table.count_rows()) == (before, len(TEXTS))


# -- what a table remembers -----------------------------------------------------------------------


def test_a_table_stores_all_that_makes_vectors_and_nothing_of_the_process(
    db: Any, case: Case
) -> None:
    stored = stored_options(make_table(db, case, case.create(**case.process)))
    open_options = {
        name
        for name, field in case.cls.model_fields.items()
        if not field.exclude and name not in LEFT_OUT
    }
    if case.function == "clip":  # its towers pool as they do
        open_options.discard("pooling")
    if not case.local:  # nothing is asked of a provider only to make a table
        open_options.discard("signature")
    assert set(stored) >= open_options
    assert not set(stored) & {*case.process, "max_retries", "folder"}
    assert stored.items() >= dict(case.options).items()


def test_process_options_hold_for_the_function_that_lancedb_rebuilds(db: Any, case: Case) -> None:
    table = make_table(db, case, case.create(**case.process))
    rebuilt = table.embedding_functions["vector"].function
    assert rebuilt.process_options().items() >= dict(case.process).items()


def test_equality_hash_pickle_repr(db: Any, case: Case) -> None:
    one, two, other = case.create(), case.create(**case.process), case.create(**case.changed)
    table = make_table(db, case, one)
    rebuilt = table.embedding_functions["vector"].function
    copied = pickle.loads(pickle.dumps(rebuilt))
    assert one == two == rebuilt == copied
    assert len({one, two, rebuilt, copied}) == 1
    assert one != other
    assert one != "something else"
    assert copied.signature == rebuilt.signature
    assert case.cls.__name__ in repr(one)


def test_a_changed_option_changes_the_vectors(text_case: Case) -> None:
    long_text = " ".join(TEXTS)
    one = flat(text_case.create().compute_source_embeddings([long_text]))
    other = flat(text_case.create(**text_case.changed).compute_source_embeddings([long_text]))
    assert one.shape != other.shape or not np.allclose(one, other, atol=1e-3)


def test_options_are_frozen(case: Case) -> None:
    with pytest.raises(ValueError, match="frozen"):
        case.create().normalize = False


def test_unknown_options_are_an_error_that_names_them(case: Case) -> None:
    with pytest.raises(ConfigurationError, match=r"'normalise' \(did you mean 'normalize'\?\)"):
        case.create(normalise=True)


def test_a_table_of_a_newer_version_says_so(db: Any, case: Case) -> None:
    stored = stored_options(make_table(db, case))
    with pytest.raises(ConfigurationError, match=r"written by lancedb-embedders 99\.0.*shiny"):
        case.cls.create(**{**stored, "written_by": "99.0", "shiny": 1})


def test_remote_code_is_no_option(case: Case) -> None:
    with pytest.raises(ConfigurationError, match="LANCEDB_EMBEDDERS_TRUST_REMOTE_CODE"):
        case.create(trust_remote_code=True)


def test_a_subclass_without_a_name_of_its_own_is_an_error(case: Case) -> None:
    base: Any = case.cls
    with pytest.raises(TypeError, match="needs a name of its own"):

        class Nameless(base):
            pass

    with pytest.raises(TypeError, match="is taken by"):

        class Thief(base, registry_name="openai"):  # type: ignore[call-arg]
            pass


def test_every_function_is_under_contract() -> None:
    ours = {
        name
        for name, cls in registered().items()
        if cls.__module__.startswith("lancedb_embedders.functions")
    }
    assert ours == {case.function for case in CASES}


# -- models on this machine


def test_eight_threads_cause_one_load(local_case: Case, caplog: pytest.LogCaptureFixture) -> None:
    store.clear()
    results: list[Any] = [None] * 8
    barrier = threading.Barrier(8)

    def work(i: int) -> None:
        barrier.wait()
        results[i] = local_case.create().compute_source_embeddings(list(local_case.texts))

    with caplog.at_level(logging.INFO, logger="lancedb_embedders"):
        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum("loaded" in record.message for record in caplog.records) == 1
    for result in results:
        np.testing.assert_allclose(flat(result), flat(results[0]), atol=1e-3)


def test_no_write_or_search_loads_the_model_again(
    db: Any, local_case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    make_table(db, local_case).add(rows(local_case.texts))
    with caplog.at_level(logging.INFO, logger="lancedb_embedders"):
        for _ in range(2):
            table = db.open_table("t")
            table.add(rows(local_case.texts))
            search(table, local_case)
    assert not [record for record in caplog.records if "loaded" in record.message]


@pytest.mark.parametrize(
    ("positions", "reason"),
    [(512, r"cosine -?0\.\d+"), (64, r"the 64 tokens that|cosine -?0\.\d+")],
)
def test_the_drift_guard_trips_on_another_model_of_the_same_dims(
    db: Any, local_case: Case, tmp_path: Path, positions: int, reason: str
) -> None:
    table = make_table(db, local_case)
    table.add(rows(local_case.texts))
    before = table.version
    name = local_case.create().name
    folder, dim = tmp_path / "models" / name, local_case.create().dim
    if local_case.function == "clip":
        tiny_clip(folder, dim=dim, context=min(positions, 77), seed=1)
    else:
        tiny_bert(folder, dim=dim, positions=positions)
    with settings.override(models=(tmp_path / "models",)):
        with pytest.raises(RuntimeError, match=r"ModelDriftError: .* is not the model"):
            table.add(rows(local_case.texts))
        with pytest.raises(ModelDriftError, match=reason):
            search(table, local_case)
    assert table.version == before
    search(table, local_case)


def test_the_drift_guard_lets_another_precision_pass(db: Any, local_case: Case) -> None:
    table = make_table(db, local_case)
    table.add(rows(local_case.texts))
    with settings.override(precision="bfloat16"):
        assert search(table, local_case)[0]["id"] == 0
        table.add(rows(local_case.texts))
