"""Vectors checked: healthy sets, faults put into them, tables, adds that are watched, metrics."""

from __future__ import annotations

import csv
import gzip
import json
import threading
import urllib.request
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from lancedb.pydantic import LanceModel
from typer.testing import CliRunner

from lancedb_embedders import (
    Batch,
    ConfigurationError,
    EmbeddingWarning,
    InputError,
    LongDocumentEmbeddings,
    SbertEmbeddings,
    observers,
)
from lancedb_embedders.cli import app
from lancedb_embedders.output import quantize
from lancedb_embedders.tools import QualityMonitor
from lancedb_embedders.tools.monitor import Limits, Quality
from lancedb_embedders.tools.watch.baseline import sentences
from tests.models import tiny_bert, tiny_static
from tests.table_function import LabelledEmbeddings, texts_table

Vectors = npt.NDArray[Any]


def codes(quality: Quality) -> list[str]:
    return [finding.code for finding in quality.findings]


@pytest.fixture(scope="module")
def sbert() -> SbertEmbeddings:
    return SbertEmbeddings.create()


@pytest.fixture(scope="module")
def intents(data: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    with (data / "intent_banking77" / "train.tsv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            found.setdefault(row["label"], []).append(row["text"])
    return found


@pytest.fixture(scope="module")
def texts(intents: dict[str, list[str]]) -> list[str]:
    return [text for several in intents.values() for text in several[:2]]


@pytest.fixture(scope="module")
def vectors(sbert: SbertEmbeddings, texts: list[str]) -> Vectors:
    return np.asarray(sbert.compute_source_embeddings(texts))


def lines(file: Path) -> list[dict[str, Any]]:
    read = file.read_bytes()
    text = (gzip.decompress(read) if file.suffix == ".gz" else read).decode("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def with_rank(vectors: Vectors, rank: int) -> Vectors:
    chance = np.random.default_rng(0)
    width = vectors.shape[1]
    return unit(vectors @ chance.normal(size=(width, rank)) @ chance.normal(size=(rank, width)))


# -- healthy ------------------------------------------------------------------------------------


def test_nothing_is_found_in_healthy_sets(
    sbert: SbertEmbeddings, data: Path, intents: dict[str, list[str]]
) -> None:
    monitor = QualityMonitor(sbert)
    stsb = (data / "stsb" / "sts-dev.tsv").read_text(encoding="utf-8").splitlines()
    pairs = list(csv.DictReader(stsb, delimiter="\t", quoting=csv.QUOTE_NONE))
    cranfield = data / "ir_classic" / "cranfield" / "queries.jsonl"
    quantized = {
        kind: QualityMonitor(SbertEmbeddings.create(quantization=kind))
        for kind in ("binary", "float16")
    }
    sets = {
        # The narrowest that there are.
        "one intent": intents["exchange_via_app"],
        "another intent": intents["exchange_rate"][:24],
        "stsb": [pair["sentence1"] for pair in pairs[:100]],
        "cranfield": [row["text"] for row in lines(cranfield)[:100]],
        "peps": [row["text"] for row in lines(data / "long_peps/a/corpus.jsonl.gz")[:16]],
    }
    for name, texts in sets.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            vectors = np.asarray(sbert.compute_source_embeddings(texts))
        found = monitor.check(vectors, texts)
        assert codes(found) == [], (name, found.figures)
        assert found.ok
        assert found.figures["truncated"] == (1 if name == "peps" else 0)
        for kind in ("binary", "float16"):
            stored = quantize(vectors, kind)
            assert codes(quantized[kind].check(stored, texts)) == [], (name, kind)


def test_texts_alike_but_for_a_number_have_not_collapsed(sbert: SbertEmbeddings) -> None:
    texts = [f"Order {i} has been shipped." for i in range(1000, 1100)]
    assert codes(QualityMonitor(sbert).check(sbert.compute_source_embeddings(texts), texts)) == []


def test_the_sentences_are_many_and_differ() -> None:
    found = sentences()
    assert len(found) > 300
    assert len({text.casefold() for text in found}) == len(found)
    assert all(text.isascii() and text == text.strip() for text in found)


# -- faults -------------------------------------------------------------------------------------


def broken(vectors: Vectors, fault: str) -> Vectors:
    chance = np.random.default_rng(1)
    damaged = vectors.copy()
    if fault == "nan":
        damaged[3, 5] = np.nan
    elif fault == "infinity":
        damaged[4] = -np.inf
    elif fault == "zeros":
        damaged[5] = 0
    elif fault == "norm":
        damaged[6] *= 2
    elif fault == "constant":
        damaged[:] = damaged[0]
    elif fault == "noise around a constant":
        damaged = unit(damaged[:1] + 1e-3 * chance.normal(size=vectors.shape))
    elif fault == "cone":
        damaged = unit(damaged + 10 * chance.normal(size=vectors.shape[1]) / 384**0.5)
    elif fault == "rank 3":
        damaged = with_rank(damaged, 3)
    elif fault == "rank 8":
        damaged = with_rank(damaged, 8)
    elif fault == "rank 3 of few":
        damaged = with_rank(damaged[:20], 3)
    elif fault == "flat":
        damaged[:, 100:150] = 0.05
        damaged = unit(damaged)
    elif fault == "one vector for several":
        damaged[10:16] = damaged[10]
    elif fault == "size":
        damaged = unit(damaged[:, :128])
    return damaged


@pytest.mark.parametrize(
    ("fault", "code", "named"),
    [
        ("nan", "non_finite", "1 of 154 vectors hold NaN or infinity (row 3)"),
        ("infinity", "non_finite", "(row 4)"),
        ("zeros", "zeros", "(row 5)"),
        ("norm", "norm", "(row 6; lengths 1 to 2)"),
        ("constant", "collapsed", "practically the same"),
        ("noise around a constant", "collapsed", "mean cosine distance"),
        ("cone", "collapsed", "mean cosine distance of 0.0"),
        ("rank 3", "collapsed", "dimensions"),
        ("rank 8", "collapsed", "dimensions"),
        ("rank 3 of few", "collapsed", "dimensions"),
        ("flat", "flat_dimensions", " of 384 dimensions hardly vary"),
        ("one vector for several", "near_identical", "(rows 10, 11, 12, 13, 14 and 1 more;"),
        ("size", "dimensions", "have 128 dimensions, and the function gives 384"),
    ],
)
def test_a_fault_is_found(
    sbert: SbertEmbeddings,
    vectors: Vectors,
    texts: list[str],
    fault: str,
    code: str,
    named: str,
) -> None:
    damaged = broken(vectors, fault)
    found = QualityMonitor(sbert).check(damaged, texts[: len(damaged)])
    assert not found.ok
    # A constant is more than one thing at once; what it is first of all comes first.
    assert found.findings[0].code == code
    assert named in found.findings[0].message
    if fault in ("nan", "zeros", "norm", "flat", "one vector for several"):
        assert codes(found) == [code]
    json.dumps(found.to_dict())
    assert code in str(found)


def test_constants_are_found_without_texts_or_function(vectors: Vectors) -> None:
    assert codes(QualityMonitor().check(np.repeat(vectors[:1], 50, axis=0))) == ["collapsed"]
    assert codes(QualityMonitor().check(vectors)) == []


def test_bits_that_collapse_are_found(vectors: Vectors, texts: list[str]) -> None:
    monitor = QualityMonitor(SbertEmbeddings.create(quantization="binary"))
    assert "collapsed" in codes(monitor.check(quantize(with_rank(vectors, 3), "binary"), texts))


def test_texts_are_compared(sbert: SbertEmbeddings, vectors: Vectors, texts: list[str]) -> None:
    monitor = QualityMonitor(sbert)
    # The same but for case and white space: neither another text nor another vector.
    again = [text.upper().replace(" ", "  ") for text in texts[:100]]
    found = monitor.check(np.concatenate([vectors, vectors[:100]]), [*texts, *again])
    assert codes(found) == ["duplicates"]
    assert found.figures["duplicates"] == pytest.approx(100 / 254)
    assert "100 of 254 rows" in found.findings[0].message
    assert "(rows 154, 155," in found.findings[0].message
    # The same text with the vector of another.
    found = monitor.check(vectors, [*texts[:-1], texts[0]])
    assert codes(found) == ["unstable"]
    assert "(row 153)" in found.findings[0].message
    # A single pair is told, and is no fault yet.
    paired = vectors.copy()
    paired[1] = paired[0]
    found = monitor.check(paired, texts)
    assert codes(found) == ["near_identical"]
    assert found.ok


def test_nulls_and_limits(sbert: SbertEmbeddings, vectors: Vectors, texts: list[str]) -> None:
    rows = [None if i in (7, 9, 11, 13) else vector for i, vector in enumerate(vectors)]
    found = QualityMonitor(sbert).check(rows, texts)
    assert codes(found) == ["nulls"]
    assert "4 of 154 rows have no vector (rows 7, 9, 11, 13)" in found.findings[0].message
    assert codes(QualityMonitor(sbert, limits=Limits(nulls=0.03)).check(rows, texts)) == []
    long = ["word " * 600, *texts[1:]]
    limits = Limits(truncated=0.001)
    assert codes(QualityMonitor(sbert, limits=limits).check(vectors, long)) == ["truncated"]
    assert QualityMonitor(sbert).check(vectors, long).figures["truncated"] == pytest.approx(1 / 154)
    with pytest.raises(ConfigurationError, match="limit nulls=-1 is negative"):
        Limits(nulls=-1)


def test_lengths_of_a_function_that_does_not_normalize(tmp_path: Path) -> None:
    static = SbertEmbeddings.create(name=tiny_static(tmp_path / "static"), normalize=False)
    texts = [f"the quick brown fox number {i} jumps over {i * 7} dogs" for i in range(60)]
    vectors = static.compute_source_embeddings(texts)
    assert "norm" not in codes(QualityMonitor(static).check(vectors, texts))
    vectors[5] *= 1000
    assert "norm" in codes(QualityMonitor(static).check(vectors, texts))


def test_a_tiny_model_is_judged_by_its_own_baseline(tmp_path: Path, texts: list[str]) -> None:
    tiny = SbertEmbeddings.create(name=tiny_bert(tmp_path / "tiny"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vectors = tiny.compute_source_embeddings(texts)
    found = QualityMonitor(tiny).check(vectors, texts)
    assert not {"collapsed", "flat_dimensions", "norm"} & set(codes(found))
    narrow = found.figures["spread_expected"]
    assert narrow is not None
    assert narrow < 0.7  # which a constant threshold could not know


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0, 3.0]], "vectors differ in size: row 2"),
        ([[1.0, 2.0], "text"], "row 1 is no vector"),
        (np.zeros((2, 2, 2, 2)), "row 0 is no vector: its shape is"),
    ],
)
def test_what_is_no_vector_is_an_error(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        QualityMonitor().check(given)
    with pytest.raises(InputError, match="there are 2 vectors and 1 texts"):
        QualityMonitor().check(np.eye(2), ["one"])


# -- tables -------------------------------------------------------------------------------------


def table_of(db: Any, function: Any, name: str = "docs") -> Any:
    class Document(LanceModel):
        text: str | None = function.SourceField()
        vector: function.Vector() = function.VectorField()  # type: ignore[valid-type]

    return db.create_table(name, schema=Document)


@pytest.mark.parametrize("quantization", [None, "float16", "binary"])
def test_table(db: Any, quantization: Any, texts: list[str]) -> None:
    table = table_of(db, SbertEmbeddings.create(quantization=quantization))
    table.add([{"text": text} for text in texts[:100]])
    monitor = QualityMonitor()
    found = monitor.check_table(table)
    assert (found.rows, codes(found), found.function) == (100, [], "sbert")
    assert found.figures["dims"] == 384
    assert monitor.check_table(table, sample=30).rows == 30


def test_rows_of_a_table_are_named_by_their_place(db: Any) -> None:
    function = LabelledEmbeddings.create(dim=32)
    table = table_of(db, function)
    table.add([{"text": f"text {i}"} for i in range(300)])
    version = table.version
    odd = pa.FixedSizeListArray.from_arrays(pa.array([np.nan] * 32, pa.float32()), 32)
    table.add(pa.table({"text": ["odd"], "vector": odd}), on_bad_vectors="fill", fill_value=0.0)
    table.add([{"text": f"later {i}"} for i in range(20)])
    found = QualityMonitor().check_table(table)
    assert codes(found) == ["zeros"]
    assert "(row 300)" in found.findings[0].message
    later = QualityMonitor().check_table(table, since_version=version)
    assert later.rows == 21
    assert "(row 300)" in later.findings[0].message
    assert QualityMonitor().check_table(table, since_version=version + 1).ok
    for wrong, message in (
        ({"vector": "text"}, "'text' is no vector column; there are: vector"),
        ({"since_version": 99}, "the table has no such version"),
        ({"since_version": table.version}, "no rows in files written after version"),
        ({"sample": 0}, "sample=0 looks at nothing"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            QualityMonitor().check_table(table, **wrong)
    with pytest.raises(ConfigurationError, match="expected a table"):
        QualityMonitor().check_table([1, 2])


def test_columns_of_several_vectors(db: Any, texts: list[str]) -> None:
    function = LongDocumentEmbeddings.create(reduce="none", max_tokens=16)
    table = table_of(db, function)
    long = [" ".join(texts[i : i + 3]) for i in range(0, 90, 3)]
    table.add([{"text": text} for text in long])
    found = QualityMonitor().check_table(table)
    assert (found.rows, codes(found)) == (30, [])
    assert found.figures["truncated"] == 0
    rows = [np.array(row) for row in function.compute_source_embeddings(long)]
    rows[3][1] = np.nan
    found = QualityMonitor(function).check(rows, long)
    assert codes(found) == ["non_finite"]
    assert "(row 3)" in found.findings[0].message


# -- watching -----------------------------------------------------------------------------------


class BrokenEmbeddings(LabelledEmbeddings, registry_name="broken"):
    """Gives one vector to all texts."""

    def embed(self, batch: Batch) -> npt.NDArray[np.float32]:
        return np.repeat(super().embed(batch)[:1], len(batch.inputs), axis=0)


def test_adds_are_watched(db: Any) -> None:
    table = table_of(db, LabelledEmbeddings.create(dim=64))
    told: list[str] = []
    monitor = QualityMonitor(on_finding=lambda finding, quality: told.append(finding.code))
    with monitor.watching(LabelledEmbeddings.create(dim=64)):
        for start in range(0, 40, 10):
            table.add([{"text": f"text {i}"} for i in range(start, start + 10)])
        table.search("text 3").limit(1).to_list()
    table.add([{"text": "no longer watched"}])
    # Gathered over adds; a search is none.
    assert [quality.rows for quality in monitor.history] == [40]
    assert told == []
    assert table.count_rows() == 41
    assert not observers.listening()

    broken = table_of(db, BrokenEmbeddings.create(dim=64), "broken")
    monitor.attach(broken)
    broken.add([{"text": f"text {i}"} for i in range(50)])
    with pytest.warns(EmbeddingWarning, match="all of 48 vectors are practically the same"):
        monitor.detach()
    assert "collapsed" in told


def test_only_the_same_configuration_is_watched(db: Any) -> None:
    monitor = QualityMonitor(LabelledEmbeddings.create(dim=64), window=5)
    with monitor.watching():
        LabelledEmbeddings.create(dim=32).compute_source_embeddings(["another"] * 9)
        LabelledEmbeddings.create(dim=64).compute_source_embeddings([f"its {i}" for i in range(9)])
    assert [quality.rows for quality in monitor.history] == [9]


def test_a_local_model_is_known_again(db: Any, tmp_path: Path) -> None:
    function = SbertEmbeddings.create(name=tiny_bert(tmp_path / "tiny"))
    table = table_of(db, function)
    monitor = QualityMonitor(function)
    with warnings.catch_warnings(), monitor.watching():
        warnings.simplefilter("ignore")
        table.add([{"text": "one"}, {"text": None}, {"text": "two"}], on_bad_vectors="null")
    (found,) = monitor.history
    assert found.figures["nulls"] == pytest.approx(1 / 3)
    assert "nulls" in codes(found)


def test_what_goes_wrong_in_a_monitor_does_not_break_an_add(db: Any) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no pager")

    table = table_of(db, BrokenEmbeddings.create(dim=64))
    monitor = QualityMonitor(on_finding=fail)
    with pytest.warns(EmbeddingWarning, match="RuntimeError: no pager"), monitor.watching(table):
        table.add([{"text": f"text {i}"} for i in range(50)])
    assert table.count_rows() == 50

    key = (LabelledEmbeddings, LabelledEmbeddings.create().identity())
    observers.add(key, fail)
    try:
        with pytest.warns(EmbeddingWarning, match="its vectors are not affected"):
            found = LabelledEmbeddings.create().compute_source_embeddings(["x"])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            again = LabelledEmbeddings.create().compute_source_embeddings(["x"])
    finally:
        observers.remove(key, fail)
    np.testing.assert_array_equal(found, again)


def test_adds_from_many_threads_are_all_seen(db: Any) -> None:
    function = LabelledEmbeddings.create(dim=64)
    monitor = QualityMonitor(function, window=50)

    def write(number: int) -> None:
        for i in range(10):
            function.compute_source_embeddings([f"{number} {i} {j}" for j in range(10)])

    with monitor.watching():
        threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    checked = sum(quality.rows for quality in monitor.history)
    assert checked == 800
    assert all(quality.ok for quality in monitor.history)


# -- metrics ------------------------------------------------------------------------------------


def damaged_check(monitor: QualityMonitor) -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(50, 16)))
    vectors[0] = np.nan
    monitor.check(vectors, [f"secret text {i}" for i in range(50)])


def test_prometheus() -> None:
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry()
    monitor = QualityMonitor(name="docs")
    monitor.export("prometheus", registry)
    QualityMonitor(name="other").export("prometheus", registry)  # shares them
    damaged_check(monitor)
    damaged_check(monitor)
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        scraped = urllib.request.urlopen(url, timeout=10).read().decode()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    labels = 'function="",model="",name="docs"'
    assert f"lancedb_embedders_quality_non_finite{{{labels}}} 0.02" in scraped
    assert f"lancedb_embedders_quality_checks_total{{{labels}}} 2.0" in scraped
    assert f"lancedb_embedders_quality_rows_total{{{labels}}} 100.0" in scraped
    assert 'lancedb_embedders_quality_findings_total{code="non_finite"' in scraped
    assert f"lancedb_embedders_quality_truncated{{{labels}}} NaN" in scraped
    assert "secret" not in scraped


def test_opentelemetry() -> None:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    monitor = QualityMonitor(name="docs")
    monitor.export("opentelemetry", provider.get_meter("test"))
    damaged_check(monitor)
    read: Any = reader.get_metrics_data()
    metrics = read.resource_metrics[0].scope_metrics[0].metrics
    points = {metric.name: metric.data.data_points[0] for metric in metrics}
    assert points["lancedb_embedders.quality.non_finite"].value == pytest.approx(0.02)
    assert points["lancedb_embedders.quality.checks"].value == 1
    found = points["lancedb_embedders.quality.findings"].attributes
    assert (found["code"], found["name"]) == ("non_finite", "docs")
    assert "secret" not in str(read)
    provider.shutdown()
    with pytest.raises(ConfigurationError, match="not 'statsd'"):
        monitor.export("statsd")  # type: ignore[arg-type]


# -- from a shell -------------------------------------------------------------------------------


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)
    return lambda *args: CliRunner().invoke(app, ["monitor", *args])


def test_monitor_from_a_shell(shell: Callable[..., Any]) -> None:
    db = lancedb.connect("db")
    fine = table_of(db, LabelledEmbeddings.create(dim=64), "fine")
    fine.add([{"text": f"text {i}"} for i in range(200)])
    done = shell("fine", "--db", "db", "--json", "--history", "kept")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["quality"]["figures"]["rows"] == 200
    assert found["drift"] is None
    done = shell("fine", "--db", "db", "--history", "kept", "--html", "page.html")
    assert done.exit_code == 0, done.output
    assert "No findings" in done.stdout
    assert "Drift between 200 vectors before and 200 after" in done.stdout
    assert "2 checks" in Path("page.html").read_text(encoding="utf-8")

    bad = table_of(db, BrokenEmbeddings.create(dim=64), "bad")
    bad.add([{"text": f"text {i}"} for i in range(200)])
    done = shell("bad", "--db", "db")
    assert done.exit_code == 1
    assert "collapsed" in done.stdout


def test_errors_of_monitor_are_one_message(shell: Callable[..., Any]) -> None:
    db = lancedb.connect("db")
    texts_table(db, ["a", "b"], name="plain")
    for args, message, status in (
        (("none", "--db", "db"), "db has no table 'none'; it has: plain", 1),
        (("plain", "--db", "db"), "table 'plain' has no vectors", 1),
        (("plain",), "Missing option", 2),
        (("plain", "--db", "db", "--sample", "0"), "Invalid value", 2),
    ):
        done = shell(*args)
        assert done.exit_code == status
        assert message in done.stderr
        assert done.stdout == ""
