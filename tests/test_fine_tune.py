"""Fine-tuning: what is trained on, what comes out, and that a killed run goes on."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel
from typer.testing import CliRunner

from lancedb_embedders import settings, tables
from lancedb_embedders.cli import app
from lancedb_embedders.errors import ConfigurationError, EmbeddingWarning, InputError
from lancedb_embedders.local.store import store
from lancedb_embedders.tools import evaluate_sts, fine_tune
from lancedb_embedders.tools.evaluate.datasets import Labelled, RetrievalSet, ScoredPair
from lancedb_embedders.tools.fine_tuning.data import TrainingPair, pairs_from_labels, training_set
from lancedb_embedders.tools.fine_tuning.tuning import FineTuneResult
from tests import models
from tests.conftest import ROOT
from tests.table_function import texts_table

pytest.importorskip("datasets", reason='needs pip install "lancedb-embedders[train]"')
pytest.importorskip("accelerate", reason='needs pip install "lancedb-embedders[train]"')

WORDS = ["quick", "brown", "fox", "lazy", "dog", "near", "old", "river", "bank", "vector"]
WORDS += ["search", "finds", "documents", "meaning"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with models.one_thread(), settings.override(engine="torch"):
        yield


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    prompts = {"query": "query: ", "document": "passage: "}
    return models.tiny_bert(folder, prompts=prompts, pooling="cls", max_seq_length=40)


def overlap_pairs(count: int, seed: int) -> list[ScoredPair]:
    """Return pairs that are the more alike the more words they share, which can be learned."""
    chance = random.Random(seed)
    pairs = []
    for number in range(count):
        shared = number % 5
        words = chance.sample(WORDS, 8 - shared)
        first, second = words[:4], words[:shared] + words[4:]
        pairs.append(ScoredPair(shared / 4, " ".join(first), " ".join(chance.sample(second, 4))))
    return pairs


def ranking_pairs(count: int, seed: int, negatives: int = 0) -> list[TrainingPair]:
    chance = random.Random(seed)
    rows = []
    for _ in range(count):
        words = chance.sample(WORDS, 4)
        wrong = tuple(" ".join(chance.sample(WORDS, 4)) for _ in range(negatives))
        rows.append(TrainingPair(" ".join(words), " ".join(words[1:]), wrong))
    return rows


TRAIN = overlap_pairs(120, seed=1)
LEARNED = {text for pair in TRAIN for text in (pair.first, pair.second)}
FEW = TRAIN[:64]
HELD_OUT = [p for p in overlap_pairs(80, seed=2) if not {p.first, p.second} & LEARNED]
QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 16, "learning_rate": 1e-3}
LEARNING: dict[str, Any] = {**QUICK, "epochs": 12, "learning_rate": 3e-3, "matryoshka_dims": [16]}


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    found: dict[str, Any] = load_file(folder / "model.safetensors")
    return found


def same(first: Path, second: Path) -> bool:
    one, other = weights(first), weights(second)
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


# -- what comes out -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> FineTuneResult:
    with models.one_thread(), settings.override(engine="torch"):
        return fine_tune(
            tiny,
            FEW,
            output=tmp_path_factory.mktemp("out") / "tuned",
            evaluation=FEW,  # so small a model learns by heart, and little beyond
            **LEARNING,
        )


def test_scored_pairs_are_learned(trained: FineTuneResult, tiny: Path) -> None:
    assert (trained.metric, trained.loss, trained.rows) == ("spearman", "cosent", 64)
    assert trained.before is not None
    assert trained.after is not None
    assert trained.improved
    assert trained.after > trained.before + 5
    assert trained.steps == 12 * 4
    assert [step for step, _ in trained.scores] == [4 * epoch for epoch in range(1, 13)]
    assert trained.losses[0][1] > trained.losses[-1][1]
    # The weights that are kept are those of the best evaluation, not of the last.
    best = max(trained.scores, key=lambda one: one[1])
    assert trained.best_step == best[0]
    assert trained.after == pytest.approx(best[1], abs=0.01)
    assert trained.before == pytest.approx(evaluate_sts(tiny, FEW).spearman)
    before, after = trained.by_dims[16]
    assert after > before
    assert json.loads(json.dumps(trained.to_dict()))["best_step"] == best[0]
    assert "spearman, 16 dims" in str(trained)


def test_the_model_is_one_for_sbert_by_name_and_by_path(
    trained: FineTuneResult, tiny: Path, db: Any
) -> None:
    sbert = get_registry().get("sbert")
    base, by_path = sbert.create(name=str(tiny)), sbert.create(name=str(trained.folder))
    facts = ("query_prompt", "document_prompt", "pooling", "max_length", "dim", "normalize")
    assert {f: getattr(by_path, f) for f in facts} == {f: getattr(base, f) for f in facts}
    assert (by_path.query_prompt, by_path.pooling, by_path.max_length) == ("query: ", "cls", 40)
    with settings.override(models=(trained.folder.parent,)):
        by_name = sbert.create(name="tuned")
        assert evaluate_sts(by_name, FEW).spearman == pytest.approx(trained.after)

        class Row(LanceModel):
            text: str = by_name.SourceField()
            vector: by_name.Vector() = by_name.VectorField()  # type: ignore[valid-type]

        table = db.create_table("rows", schema=Row)
        table.add([{"text": "quick brown fox"}, {"text": "old river bank"}])
        assert table.search("brown fox quick").limit(1).to_list()[0]["text"] == "quick brown fox"
    assert not np.allclose(
        by_path.compute_source_embeddings(["old river"]),
        base.compute_source_embeddings(["old river"]),
        atol=1e-3,
    )


def test_a_table_finds_the_model_by_name_right_after_the_training(
    tiny: Path, tmp_path: Path, db: Any
) -> None:
    result = fine_tune(tiny, FEW, output=tmp_path / "fresh", evaluation=HELD_OUT[:20], **QUICK)
    table = texts_table(db, ["quick brown fox", "old river bank"])
    tables.attach(table, "text", "vector", get_registry().get("sbert").create(name=str(tiny)))
    with settings.override(models=(tmp_path,)):
        tables.reembed(table, get_registry().get("sbert").create(name="fresh"))
        assert table.search("bank river old").limit(1).to_list()[0]["text"] == "old river bank"
    assert result.folder == tmp_path / "fresh"


def test_the_card_tells_what_was_done(trained: FineTuneResult) -> None:
    card = (trained.folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: sentence-transformers\n")
    assert "tiny, fine-tuned on 64 rows" in card
    assert f"| all dimensions | {trained.before:.2f} | {trained.after:.2f} |" in card
    assert "| learning_rate | 0.003 |" in card
    assert not trained.folder.with_name("tuned.training").exists()


def test_a_call_that_was_done_returns_its_result_again(trained: FineTuneResult, tiny: Path) -> None:
    again = fine_tune(tiny, FEW, output=trained.folder, evaluation=FEW, **LEARNING)
    assert again == trained
    with pytest.raises(ConfigurationError, match=r"other arguments \(seed\)"):
        fine_tune(tiny, FEW, output=trained.folder, evaluation=FEW, **LEARNING, seed=1)


def test_the_same_seed_gives_the_same_weights(tiny: Path, tmp_path: Path) -> None:
    rows = ranking_pairs(40, seed=3)
    state = random.getstate()
    folders = [
        fine_tune(tiny, rows, output=tmp_path / f"{n}", seed=seed, **QUICK).folder
        for n, seed in enumerate([7, 7, 8])
    ]
    assert same(folders[0], folders[1])
    assert not same(folders[0], folders[2])
    assert not same(folders[0], tiny)
    assert random.getstate() == state  # the caller's own chance is not touched


def test_pairs_and_negatives_are_learned_by_ranking(tiny: Path, tmp_path: Path) -> None:
    rows = ranking_pairs(60, seed=4, negatives=2) + ranking_pairs(30, seed=5)
    held_out = ranking_pairs(40, seed=6)
    options: dict[str, Any] = {**QUICK, "epochs": 3}
    result = fine_tune(tiny, rows, output=tmp_path / "out", evaluation=held_out, **options)
    assert (result.metric, result.loss) == ("ndcg_at_10", "multiple-negatives-ranking")
    assert result.improved
    assert result.steps == 3 * (4 + 2)  # rows with and without negatives go in batches of their own


def test_retrieval_sets_and_labelled_texts_evaluate(tiny: Path, tmp_path: Path) -> None:
    rows = ranking_pairs(40, seed=7)
    documents = {f"d{n}": row.positive for n, row in enumerate(ranking_pairs(30, seed=8))}
    queries = {f"q{n}": row.query for n, row in enumerate(ranking_pairs(30, seed=8))}
    found = RetrievalSet(documents, queries, {f"q{n}": {f"d{n}": 1} for n in range(30)}, "words")
    result = fine_tune(tiny, rows, output=tmp_path / "a", evaluation=found, **QUICK)
    assert result.metric == "ndcg_at_10"
    # A table and a matrix product rank alike.
    assert result.after == pytest.approx(result.scores[-1][1], abs=0.05)
    labelled = [Labelled(WORDS[n % 2], f"{WORDS[n % 2]} {WORDS[2 + n % 9]}") for n in range(40)]
    result = fine_tune(tiny, rows, output=tmp_path / "b", evaluation=labelled, **QUICK)
    assert result.metric == "accuracy"
    assert result.after == pytest.approx(result.scores[-1][1], abs=0.01)


def test_a_figure_that_fell_is_said(tiny: Path, tmp_path: Path) -> None:
    opposite = [ScoredPair(1 - pair.score, pair.first, pair.second) for pair in TRAIN]
    options: dict[str, Any] = {**QUICK, "epochs": 4, "learning_rate": 1e-2}
    with pytest.warns(EmbeddingWarning, match=r"spearman fell from .* is worse than tiny"):
        result = fine_tune(tiny, opposite, output=tmp_path / "out", evaluation=HELD_OUT, **options)
    assert result.improved is False


@pytest.mark.filterwarnings("ignore:spearman fell")
def test_early_stopping_stops(tiny: Path, tmp_path: Path) -> None:
    opposite = [ScoredPair(1 - pair.score, pair.first, pair.second) for pair in TRAIN]
    result = fine_tune(
        tiny,
        opposite,
        output=tmp_path / "out",
        evaluation=HELD_OUT,
        early_stopping=2,
        checkpoint_steps=2,
        **{**QUICK, "epochs": 20},
    )
    assert result.steps < 20 * 8 / 2
    assert result.steps == result.best_step + 2 * 2


def test_a_shorter_length_is_for_the_training_alone(tiny: Path, tmp_path: Path) -> None:
    result = fine_tune(
        tiny, ranking_pairs(20, 9), output=tmp_path / "out", max_length=8, **{**QUICK, "epochs": 1}
    )
    assert result.metric is None
    assert result.improved is None
    assert get_registry().get("sbert").create(name=str(result.folder)).max_length == 40


@pytest.mark.parametrize("kind", ["tiny_static", "tiny_roberta", "tiny_qwen", "tiny_router"])
def test_other_architectures_are_trained(kind: str, tmp_path: Path) -> None:
    base = getattr(models, kind)(tmp_path / kind)
    rows = ranking_pairs(20, seed=10, negatives=1)
    result = fine_tune(base, rows, output=tmp_path / "out", **QUICK)
    sbert = get_registry().get("sbert")
    before, after = (sbert.create(name=str(f)) for f in (base, result.folder))
    text = ["quick brown fox"]
    ours, theirs = before.compute_source_embeddings(text), after.compute_source_embeddings(text)
    assert not np.allclose(ours, theirs, atol=1e-4)
    assert after.pooling == before.pooling


def test_options_of_a_function_become_the_model_s_own(tiny: Path, tmp_path: Path) -> None:
    base = (
        get_registry()
        .get("sbert")
        .create(
            name=str(tiny), pooling="mean", query_prompt="ask: ", document_prompt="", max_length=30
        )
    )
    result = fine_tune(base, ranking_pairs(20, 11), output=tmp_path / "out", **QUICK)
    found = get_registry().get("sbert").create(name=str(result.folder))
    assert (found.pooling, found.query_prompt, found.max_length) == ("mean", "ask: ", 30)
    assert found.document_prompt in ("", None)


# -- a run that was killed ------------------------------------------------------------------------

CHILD = """
import sys, time
from pathlib import Path
if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    import torch
    torch.set_num_threads(1)
    from lancedb_embedders import settings, tables
    from lancedb_embedders.tools import fine_tune
    from tests.test_fine_tune import HELD_OUT, LONG, TRAIN
    settings.engine = "torch"
    fine_tune(sys.argv[2], TRAIN, output=sys.argv[3], evaluation=HELD_OUT, **LONG)
"""
LONG: dict[str, Any] = {**QUICK, "epochs": 20, "checkpoint_steps": 20}


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_last_checkpoint(tiny: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(ROOT), str(tiny), str(output)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    working = tmp_path / "out.training"
    deadline = time.monotonic() + 900
    while not list(working.glob("checkpoint-*/complete")):
        assert child.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not output.exists()
    # What was being written is no checkpoint.
    (working / "checkpoint-9999").mkdir()

    resumed = fine_tune(tiny, TRAIN, output=output, evaluation=HELD_OUT, **LONG)
    assert resumed.resumed_at >= 20
    assert resumed.steps == 20 * 8
    whole = fine_tune(tiny, TRAIN, output=tmp_path / "whole", evaluation=HELD_OUT, **LONG)
    assert whole.resumed_at == 0
    assert same(resumed.folder, whole.folder)
    assert [step for step, _ in resumed.scores] == [step for step, _ in whole.scores]
    assert [v for _, v in resumed.scores] == pytest.approx([v for _, v in whole.scores])
    assert not working.exists()


def test_checkpoints_of_other_arguments_are_not_gone_on_with(tiny: Path, tmp_path: Path) -> None:
    rows = ranking_pairs(20, 12)
    output = tmp_path / "out"
    result = fine_tune(tiny, rows, output=output, **QUICK)
    sbert = get_registry().get("sbert").create(name=str(output))
    first = sbert.compute_source_embeddings(["old river"])
    with pytest.raises(ConfigurationError, match=r"\(learning_rate\).*resume=False"):
        fine_tune(tiny, rows, output=output, **{**QUICK, "learning_rate": 1e-4})
    other = fine_tune(tiny, rows, output=output, resume=False, **{**QUICK, "learning_rate": 1e-2})
    assert other.folder == result.folder
    # The model in memory is not the one that was replaced.
    assert not np.allclose(sbert.compute_source_embeddings(["old river"]), first, atol=1e-3)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="was not trained here"):
        fine_tune(tiny, rows, output=foreign, resume=False, **QUICK)
    assert (foreign / "notes.txt").read_text() == "mine"
    store.clear()


# -- what is trained on ---------------------------------------------------------------------------


@dataclass
class Question:
    question: str
    answer: str
    negative: str


@pytest.mark.parametrize("form", ["tuples", "dataclasses", "dicts", "pandas", "arrow", "lancedb"])
def test_rows_come_in_any_form(form: str, db: Any) -> None:
    rows = [("a b", "a c", "d"), ("e f", "e g", "h")]
    dicts = [dict(zip(("query", "positive", "negative"), row, strict=True)) for row in rows]
    given: Any = {
        "tuples": rows,
        "dataclasses": [Question(*row) for row in rows],
        "dicts": dicts,
        "pandas": pd.DataFrame(dicts),
        "arrow": pa.Table.from_pylist(dicts),
        "lancedb": db.create_table("rows", pa.Table.from_pylist(dicts)),
    }[form]
    found = training_set(given)
    assert found.kind == "ranking"
    assert found.rows == (TrainingPair("a b", "a c", ("d",)), TrainingPair("e f", "e g", ("h",)))


@pytest.mark.parametrize("ending", ["tsv", "csv", "jsonl"])
def test_files_are_read(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"rows.{ending}"
    rows = [{"sentence1": "a b", "sentence2": "a c", "score": 4.5}]
    if ending == "jsonl":
        file.write_text("\n".join(map(json.dumps, rows)))
    else:
        pd.DataFrame(rows).to_csv(file, sep="\t" if ending == "tsv" else ",", index=False)
    assert training_set(file).rows == (ScoredPair(4.5, "a b", "a c"),)
    assert training_set(str(file)).kind == "scored"


def test_missing_negatives_are_none() -> None:
    rows = [
        {"query": "a", "positive": "b", "negative_1": "c", "negative_2": None},
        {"query": "a", "positive": "b", "negatives": ["c", "d"]},
        {"query": "a", "positive": "b", "negative": float("nan")},
    ]
    counts = [len(row.negatives) for row in training_set(rows).rows]
    assert counts == [1, 2, 0]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("a", ""), "expected a text for 'positive', got a blank one"),
        (("a", None), "got NoneType"),
        (("a",), "expected two texts or more, got 1"),
        ("a b", "expected two texts or more, got str"),
        (("a", "b", float("nan")), "nan is no score"),
        (("a", "b", 0.5), "of the other kind"),
        (("a", "b", "b"), "the positive is among its own negatives"),
    ],
)
def test_a_row_that_cannot_be_trained_on_is_named(row: Any, said: str) -> None:
    with pytest.raises(InputError, match=rf"row 1: .*{said}") as caught:
        training_set([("a", "b"), row])
    assert caught.value.rows == (1,)


def test_columns_that_are_not_there_are_told() -> None:
    with pytest.raises(ConfigurationError, match=r"there are: label, text; .*pairs_from_labels"):
        training_set([{"label": "x", "text": "y"}])
    with pytest.raises(ConfigurationError, match="no rows"):
        training_set([])
    with pytest.raises(ConfigurationError, match="no file"):
        training_set("absent.tsv")


def test_labels_make_pairs() -> None:
    rows = [Labelled("x", "a"), Labelled("x", "b"), Labelled("x", "c"), Labelled("y", "d")]
    pairs = pairs_from_labels(rows, per_text=2)
    assert len(pairs) == 6
    assert {text for pair in pairs for text in (pair.query, pair.positive)} == {"a", "b", "c"}
    assert all(pair.query != pair.positive for pair in pairs)
    assert pairs == pairs_from_labels(rows, per_text=2)


# -- what is refused, and what is warned of -------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"loss": "cosent"}, "not for rows of query and positive"),
        ({"loss": "magic"}, "not known; .*multiple-negatives-ranking"),
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": 1}, "batch_size=1 must be 2"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"warmup": 1}, "warmup=1"),
        ({"early_stopping": 2}, "needs an evaluation"),
        ({"matryoshka_dims": [16, 99]}, "99 is not among the 32 dimensions"),
        ({"evaluation": 7}, "evaluation is scored pairs"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    options: Any, said: str, tiny: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        fine_tune(tiny, ranking_pairs(9, 0), output=tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_models_that_are_not_here_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cached-openai cannot be trained here"):
        fine_tune("cached-openai", ranking_pairs(9, 0), output=tmp_path / "out")


def test_texts_of_the_evaluation_that_are_trained_on_are_told(tiny: Path, tmp_path: Path) -> None:
    with pytest.warns(EmbeddingWarning, match=r"2 of \d+ texts of the evaluation are trained on"):
        fine_tune(
            tiny,
            [*TRAIN, HELD_OUT[3]],
            output=tmp_path / "out",
            evaluation=HELD_OUT,
            **QUICK,
        )


def test_two_processes_do_not_train_into_one_folder(tiny: Path, tmp_path: Path) -> None:
    from filelock import FileLock

    working = tmp_path / "out.training"
    working.mkdir()
    with (
        FileLock(working / "lock"),
        pytest.raises(ConfigurationError, match="another process is training"),
    ):
        fine_tune(tiny, ranking_pairs(9, 0), output=tmp_path / "out", **QUICK)


# -- from a shell ---------------------------------------------------------------------------------


def test_the_command_trains_and_prints(tiny: Path, tmp_path: Path) -> None:
    train, held_out = tmp_path / "train.tsv", tmp_path / "held_out.jsonl"
    pd.DataFrame([vars(pair) for pair in FEW]).to_csv(train, sep="\t", index=False)
    held_out.write_text("\n".join(json.dumps(vars(pair)) for pair in FEW))
    arguments = ["fine-tune", str(tiny), "--train", str(train), "--evaluate", str(held_out)]
    arguments += ["--output", str(tmp_path / "out"), "--epochs", "12", "--learning-rate", "0.003"]
    arguments += ["--batch-size", "16"]
    done = CliRunner().invoke(app, [*arguments, "--matryoshka", "16", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["after"] > found["before"]
    assert (tmp_path / "out" / "README.md").is_file()
    again = CliRunner().invoke(app, [*arguments, "--matryoshka", "16"])
    assert "Fine-tuning" in again.stdout
    wrong = CliRunner().invoke(app, [*arguments, "--matryoshka", "many"])
    assert wrong.exit_code == 1
    assert "is no list of numbers" in wrong.output


# -- the example ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_example_makes_real_intents_easier_to_tell(data: Path, tmp_path: Path) -> None:
    from examples import fine_tuning

    with settings.override(engine="auto"):
        figures = fine_tuning.run(tmp_path, data, seed=0)
    for before, after in figures.values():
        assert after > before + 1.5


def test_the_example_holds_texts_out(data: Path) -> None:
    from examples import fine_tuning
    from lancedb_embedders.tools.evaluate.datasets import read_labelled

    rows = read_labelled(data / "intent_banking77" / "train.tsv")
    learned, held_out = fine_tuning.split(rows, seed=0)
    assert len(learned) == 77 * 10
    assert not {one.text for one in learned} & {one.text for one in held_out}
    assert fine_tuning.split(rows, seed=0) == (learned, held_out)
    assert fine_tuning.split(rows, seed=1) != (learned, held_out)
