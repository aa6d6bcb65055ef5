"""Models compared, in figures that are known by other means; and the search for the batch size."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from transformers import AutoTokenizer
from typer.testing import CliRunner

from lancedb_embedders import (
    ConfigurationError,
    CostError,
    InputError,
    SbertEmbeddings,
    benchmark_models,
    evaluate_sts,
    find_batch_size,
    settings,
)
from lancedb_embedders.cli import app
from lancedb_embedders.tools.benchmark.compare import Benchmark, ModelFigures
from lancedb_embedders.tools.benchmark.measure import Subject
from lancedb_embedders.tools.benchmark.spread import Spread
from lancedb_embedders.tools.evaluate.datasets import read_pairs
from tests.hosted import create
from tests.measured_functions import HELD, Cramped, Failing, Hungry, Logged, Stepped
from tests.models import tiny_bert
from tests.providers import ProviderServer
from tests.test_gallery import chromium, contrasts, luminance, requested, show

__all__ = ["chromium"]

EVIL = "<script>alert('x')</script> & $\\alpha$"
TEXTS = [f"Text number {i}, which says little. {'And more. ' * (i % 25)}" for i in range(60)]
REPEATS = 2


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "calls.txt"


@pytest.fixture(scope="module")
def pairs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = read_pairs(data / "stsb" / "sts-dev.tsv")[:50]
    file = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["score", "sentence1", "sentence2"])
        writer.writerows([pair.score, pair.first, pair.second] for pair in rows)
    return file


@pytest.fixture(scope="module")
def compared(tiny: Path, log: Path, pairs: Path) -> Benchmark:
    """Real weights, tiny ones, and functions whose memory and fate are known."""
    return benchmark_models(
        {
            "real": "sbert",
            EVIL: SbertEmbeddings.create(name=tiny, engine="torch", on_overflow="warn"),
            "plain": Logged.create(log=str(log)),
            "hungry": Hungry.create(name="hungry", log=str(log)),
            "failing": Failing.create(),
            "killed": Failing.create(killed=True),
            "not there": "nobody/no-such-model",
        },
        [*TEXTS, TEXTS[0], "  ", *TEXTS],
        evaluation=pairs,
        repeats=REPEATS,
        progress=False,
    )


def figures(found: Benchmark, label: str) -> ModelFigures:
    return next(model for model in found.models if model.label == label)


# -- figures ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_works_is_measured_and_what_fails_is_told(compared: Benchmark) -> None:
    assert [model.label for model in compared.models] == ["real", EVIL, "plain", "hungry"]
    reasons = {one.label: one.reason for one in compared.failed}
    assert reasons["failing"] == "ZeroDivisionError: nobody's plan"
    assert "killed" in reasons["killed"]
    assert "was not found" in reasons["not there"]
    assert compared.texts == len(TEXTS)  # equal and blank ones left out


@pytest.mark.slow
def test_sizes_and_tokens_are_what_they_are(compared: Benchmark, tiny: Path) -> None:
    dims = {"real": 384, EVIL: 32, "plain": 16, "hungry": 16}
    for label, count in dims.items():
        model = figures(compared, label)
        assert model.dims == count
        assert model.vector_bytes == 4 * count * len(TEXTS)
        assert model.bytes_per_text == 4 * count
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny)
    ids = tokenizer(TEXTS, truncation=True, max_length=64)["input_ids"]
    assert figures(compared, EVIL).tokens == sum(map(len, ids))
    assert any(len(one) == 64 for one in ids)
    assert figures(compared, "plain").tokens is None
    assert figures(compared, EVIL).engine == "torch"
    assert figures(compared, EVIL).device == "cpu"


@pytest.mark.slow
def test_figures_fit_together(compared: Benchmark) -> None:
    for model in compared.models:
        for spread in (model.texts_per_second, model.query_p50_ms, model.query_p99_ms):
            assert 0 < spread.low <= spread.median <= spread.high
        assert model.query_p50_ms.median <= model.query_p99_ms.median
        assert model.load_seconds > 0
        if model.tokens is not None:
            assert model.tokens_per_second is not None
            ratio = model.tokens_per_second.median / model.texts_per_second.median
            assert ratio == pytest.approx(model.tokens / len(TEXTS))


@pytest.mark.slow
def test_memory_is_that_of_the_model(compared: Benchmark) -> None:
    plain, hungry, real = (figures(compared, name).memory for name in ("plain", "hungry", "real"))
    assert plain is not None
    assert hungry is not None
    assert real is not None
    assert plain < 50_000_000
    assert HELD - 50_000_000 <= hungry - plain <= HELD + 50_000_000
    assert real > 22_000_000 * 4  # its weights alone


@pytest.mark.slow
def test_each_has_a_process_and_they_take_turns(compared: Benchmark, log: Path) -> None:
    calls = [line.split() for line in log.read_text().splitlines()]
    processes = {name: {int(pid) for n, pid, *_ in calls if n == name} for name, *_ in calls}
    [plain], [hungry] = processes["logged"], processes["hungry"]
    assert len({plain, hungry, os.getpid()}) == 3
    turns = [name for name, _, _, count in calls if int(count) == len(TEXTS)]
    assert turns == ["logged", "hungry"] * REPEATS
    queries = [name for name, _, role, _ in calls if role == "query"]
    assert queries.count("logged") == REPEATS * compared.queries + 1  # one before


@pytest.mark.slow
def test_quality_is_that_of_the_evaluation(compared: Benchmark, pairs: Path) -> None:
    quality = figures(compared, "real").quality
    assert quality is not None
    assert (quality.dataset, quality.metric) == ("pairs.csv", "Spearman")
    assert quality.value == pytest.approx(evaluate_sts("sbert", pairs).spearman, abs=0.1)


@pytest.mark.slow
def test_warnings_become_notes(compared: Benchmark) -> None:
    [note] = figures(compared, EVIL).notes
    assert "tokens" in note
    assert figures(compared, "real").notes == ()


def test_the_median_and_the_spread() -> None:
    assert Spread.of([3.0, 1.0, 200.0]) == Spread(3.0, 1.0, 200.0)
    assert str(Spread.of([3.0, 1.0, 200.0])) == "3\n1–200"
    assert str(Spread.of([3.25])) == "3.25"


@pytest.mark.slow
def test_retrieval_sets_are_searched(tmp_path: Path) -> None:
    words = ["cats", "taxes", "volcanoes", "trains"]
    (tmp_path / "set").mkdir()
    for name, text in (("corpus", "A text on {}."), ("queries", "What about {}?")):
        lines = [json.dumps({"_id": word, "text": text.format(word)}) for word in words]
        (tmp_path / "set" / f"{name}.jsonl").write_text("\n".join(lines))
    qrels = "".join(f"{word}\t{word}\t1\n" for word in words)
    (tmp_path / "set" / "qrels.tsv").write_text("query\tdocument\tgrade\n" + qrels)
    found = benchmark_models(["sbert"], TEXTS[:3], evaluation=tmp_path / "set", repeats=1)
    quality = found.models[0].quality
    assert quality is not None
    assert (quality.dataset, quality.metric, quality.value) == ("set", "nDCG@10", 100.0)
    assert found.queries == len(words)
    assert found.query_source == "of the retrieval set"


def test_no_vector_comes_from_a_cache(tiny: Path, tmp_path: Path) -> None:
    function = SbertEmbeddings.create(
        name=tiny, engine="torch", cache=True, cache_dir=tmp_path / "cache"
    )
    subject = Subject(lambda: function, ["one", "two"], ["three"], alone=False)
    subject.turn()
    assert list((tmp_path / "cache").rglob("*")) == []
    function.compute_source_embeddings(["one"])
    assert list((tmp_path / "cache").rglob("*")) != []


# -- functions that stay in this process --------------------------------------------------------


def test_servers_are_asked_in_every_turn(provider: ProviderServer) -> None:
    function = create(provider)
    found = benchmark_models([function], TEXTS[:20], queries=["a", "b", "a"], repeats=2)
    sent = provider.texts()
    assert all(sent.count(text) == 2 for text in TEXTS[:20])
    assert sent.count("b") == 2
    assert sent.count("a") == 3  # one before
    [model] = found.models
    assert model.memory is None
    assert "behind an API" in model.notes[0]
    assert model.device == function.endpoint()
    assert model.dims == 1536


def test_nothing_is_spent_unless_it_is_allowed(
    provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = ["sbert", "text-embedding-3-small"]
    with pytest.raises(ConfigurationError, match=r"text-embedding-3-small: .* paid for, about \$0"):
        benchmark_models(models, TEXTS)
    with pytest.raises(CostError, match=r"more than max_cost=1e-06\. Nothing was sent"):
        benchmark_models(models, TEXTS, max_cost=1e-6)
    assert provider.seen == []


@pytest.mark.slow
def test_a_class_of_a_script_is_measured_in_its_process(python: Callable[..., str]) -> None:
    code = """
import numpy as np
from lancedb_embedders import Embedder, benchmark_models
class Mine(Embedder, registry_name="mine"):
    def ndims(self): return 4
    def embed(self, batch): return np.ones((len(batch.inputs), 4), dtype=np.float32)
print(benchmark_models([Mine.create()], ["one", "two"], repeats=1))
"""
    found = python(code)
    assert "mine" in found
    assert "measured in this process, for its class is defined in it" in found
    assert found.count("unknown") == 2  # tokens and memory


# -- what is wrong ------------------------------------------------------------------------------


def test_when_all_fail_it_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r"no model could be measured.*a: .*not found"):
        benchmark_models({"a": "nobody/a"}, ["text"])


@pytest.mark.parametrize(
    ("models", "texts", "options", "message"),
    [
        ("sbert", ["a"], {}, "models is a list"),
        ([], ["a"], {}, "no models"),
        (["sbert"], [], {}, "no texts"),
        (["sbert"], ["a"], {"repeats": 0}, "repeats=0"),
        (["sbert"], ["a"], {"evaluation": "no-such-set"}, "no file no-such-set|end in"),
        (["sbert"], ["a"], {"evaluation": 3}, "evaluation is .* got int"),
        (["sbert"], ["a"], {"queries": [" "]}, "no queries"),
    ],
)
def test_what_is_wrong_is_told_at_once(
    models: Any, texts: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        benchmark_models(models, texts, **options)
    with pytest.raises(InputError, match="row 1"):
        benchmark_models(["sbert"], ["a", 3])


# -- table, plots, page -------------------------------------------------------------------------


@pytest.mark.slow
def test_table_and_dict(compared: Benchmark) -> None:
    printed = str(compared)
    assert max(map(len, printed.splitlines())) <= 100
    assert EVIL in " ".join(printed.split())
    assert "failing failed: ZeroDivisionError" in printed
    again = json.loads(json.dumps(compared.to_dict()))
    assert [model["label"] for model in again["models"]] == [m.label for m in compared.models]
    assert again["models"][0]["texts_per_second"]["median"] > 0


@pytest.mark.slow
def test_plots(compared: Benchmark, tmp_path: Path) -> None:
    compared.plot(tmp_path / "plot.png")
    with PIL.Image.open(tmp_path / "plot.png") as picture:
        assert min(picture.size) > 500
        assert len(set(picture.convert("L").resize((200, 200)).tobytes())) > 20
    root = ET.parse(compared.plot(tmp_path / "plot.svg")).getroot()
    assert len(root.findall(".//{*}g[@id]")) > 5
    with pytest.raises(ConfigurationError, match=r"must end in \.png or"):
        compared.plot(tmp_path / "plot.gif")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        compared.html(tmp_path / "none" / "page.html")


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.slow
def test_page_in_a_browser(
    compared: Benchmark,
    tmp_path: Path,
    chromium: webdriver.Chrome,
    width: int,
) -> None:
    page = compared.html(tmp_path / "page.html")
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert " style=" not in text
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    brightness = {}
    for scheme in ("light", "dark"):
        show(chromium, page, width, scheme)
        shown = chromium.find_element(By.TAG_NAME, "body").text
        for model in compared.models:
            assert model.label in shown
            assert str(model.texts_per_second).splitlines()[0] in shown
        assert "ZeroDivisionError: nobody's plan" in shown
        plots = chromium.find_elements(By.TAG_NAME, "svg")
        assert len(plots) == 5
        for plot in plots:
            assert plot.is_displayed()
            assert 250 < plot.size["width"] <= width
            assert plot.get_attribute("aria-label")
        right = "return Math.max(...[...document.querySelectorAll('body, body *')].map(%s))"
        assert chromium.execute_script(right % "e => e.getBoundingClientRect().right") <= width
        assert min(contrasts(chromium)) >= 4.5
        drawn = chromium.execute_script("""
            const shape = document.querySelector("svg text");
            const paths = [...document.querySelectorAll("svg path")];
            const fills = paths.map(e => getComputedStyle(e).fill);
            return [getComputedStyle(shape).fill, getComputedStyle(shape).color, fills];
        """)
        assert drawn[0] == drawn[1]
        assert ("rgb(127, 176, 230)" if scheme == "dark" else "rgb(59, 110, 168)") in drawn[2]
        body = chromium.find_element(By.TAG_NAME, "body")
        brightness[scheme] = luminance(body.value_of_css_property("background-color"))
    assert brightness["dark"] < 0.1 < 0.8 < brightness["light"]
    assert chromium.get_log("browser") == []
    assert requested(chromium) == [page.as_uri()] * 2


# -- the batch size -----------------------------------------------------------------------------


@pytest.fixture
def _setting() -> Iterator[None]:
    yield
    del settings.batch_tokens


@pytest.mark.usefixtures("_setting")
@pytest.mark.parametrize("fate", ["array", "killed"])
@pytest.mark.slow
def test_the_smallest_fast_budget_below_what_memory_allows(fate: str) -> None:
    found = find_batch_size(
        Stepped.create(fate=fate), TEXTS, repeats=2, tolerance=0.6, write=fate == "array"
    )
    assert found.batch_tokens == 512
    assert found.end == "memory runs out at 2,048"
    ran_out = [one.batch_tokens for one in found.budgets if one.out_of_memory]
    assert ran_out == [2048]
    assert found.budgets[-1].texts_per_second is None
    assert found.budgets[0].batch_tokens == 256
    assert found.environment == "LANCEDB_EMBEDDERS_BATCH_TOKENS=512"
    assert settings.batch_tokens == (512 if fate == "array" else None)
    assert found.written is (fate == "array")
    printed = str(found)
    assert "out of memory" in printed
    assert found.environment in printed
    json.dumps(found.to_dict())


@pytest.mark.slow
def test_batches_that_an_engine_makes_smaller_are_noticed(tmp_path: Path) -> None:
    wide = tiny_bert(tmp_path / "wide", dim=128, positions=512)
    texts = [f"Text {i}. " + "The fox jumps over the lazy dog. " * 60 for i in range(64)]
    function = Cramped.create(name=wide, engine="torch", on_overflow="truncate")
    found = find_batch_size(function, texts, repeats=1, smallest=8192)
    end = re.fullmatch("memory runs out at ([0-9,]+)", found.end)
    assert end is not None
    most = int(end[1].replace(",", ""))
    assert next(one for one in found.budgets if one.batch_tokens == most).out_of_memory
    assert 8192 <= found.batch_tokens < most
    assert "batch_tokens" not in function.given_options()


@pytest.mark.slow
def test_the_search_ends_where_texts_end(tiny: Path) -> None:
    texts = TEXTS[:40]
    function = SbertEmbeddings.create(name=tiny, engine="torch", on_overflow="truncate")
    found = find_batch_size(function, texts, repeats=1, smallest=1024)
    tokens = re.fullmatch(r"the texts have ([\d,]+) tokens in all; .*", found.end)
    if tokens is not None:
        most = max(one.batch_tokens for one in found.budgets)
        assert most / 2 < int(tokens[1].replace(",", "")) <= most
    else:
        assert found.end == "they only get slower"
    assert all(math.isfinite(one.texts_per_second.median) for one in found.budgets
               if one.texts_per_second)  # fmt: skip
    assert (found.engine, found.device) == ("torch", "cpu")


@pytest.mark.slow
def test_what_has_no_batch_size(provider: ProviderServer) -> None:
    with pytest.raises(ConfigurationError, match="hosted"):
        find_batch_size(create(provider), TEXTS)
    with pytest.raises(ConfigurationError, match="logged has no option batch_tokens"):
        find_batch_size(Logged.create(), TEXTS)
    with pytest.raises(ConfigurationError, match="smallest"):
        find_batch_size("sbert", TEXTS, smallest=512, largest=256)
    with pytest.raises(ConfigurationError, match=r"no-such-model.*not found"):
        find_batch_size("nobody/no-such-model", TEXTS)
    with pytest.raises(ConfigurationError, match="2,048 tokens a batch: ZeroDivisionError"):
        find_batch_size(Stepped.create(fate="defect"), TEXTS, smallest=2048)
    assert provider.seen == []


# -- the command line ---------------------------------------------------------------------------


def test_from_a_shell(tiny: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": TEXTS[:30]}), tmp_path / "texts.parquet")
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join(["", *TEXTS[:10]]))
    shell = CliRunner()
    plot, page = tmp_path / "plot.svg", tmp_path / "page.html"
    options = ["--plot", str(plot), "--html", str(page), "--repeats", "1"]
    rows = ["--texts", str(tmp_path / "texts.parquet"), "--column", "body"]
    done = shell.invoke(app, ["benchmark", str(tiny), *rows, *options, "--json"])
    assert done.exit_code == 0, done.output
    [model] = json.loads(done.stdout)["models"]
    assert (model["label"], model["dims"], model["vector_bytes"]) == ("tiny", 32, 30 * 32 * 4)
    assert plot.exists()
    assert page.exists()
    done = shell.invoke(app, ["batch-size", str(tiny), "--texts", str(lines), "--repeats", "1"])
    assert done.exit_code == 0, done.output
    assert "10 different texts" in done.stdout
    assert re.search(r"^LANCEDB_EMBEDDERS_BATCH_TOKENS=\d+$", done.stdout, re.MULTILINE)
    done = shell.invoke(
        app, ["benchmark", str(tiny), "--texts", str(lines), "--plot", str(tmp_path / "a.gif")]
    )
    assert done.exit_code == 1
    assert "must end in .png" in done.stderr
