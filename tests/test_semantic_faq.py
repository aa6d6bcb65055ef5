"""The example that answers questions: right, sure for a reason, and safe against what is asked."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pytest

from examples.semantic_faq import (
    Calibration,
    Entry,
    Outcome,
    SemanticFaq,
    calibration_error,
)
from examples.semantic_faq import (
    __main__ as script,
)
from examples.semantic_faq.calibration import fitted
from examples.semantic_faq.faq import Asked
from examples.semantic_faq.reading import rows
from lancedb_embedders import ConfigurationError, InputError

SHOP = [
    Entry("1", "When are you open?", "From nine to six, Monday to Friday.", "shop"),
    Entry("2", "How do I return a parcel?", "Send it back within 30 days.", "orders"),
    Entry("3", "Can I pay by card?", "Yes, by any card.", "payment"),
]
HOSTILE = (
    "' OR 1=1 --",
    "x'; DROP TABLE faq; --",
    "shop' OR category = 'orders",
    "\\' OR 1=1",
    'a"b`c',
    "%",
    "é\n\t'",
)


@pytest.fixture
def faq(db: Any) -> SemanticFaq:
    made = SemanticFaq(db)
    made.add(SHOP)
    return made


@pytest.fixture(scope="module")
def covid(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[SemanticFaq, Asked]:
    made = SemanticFaq(lancedb.connect(tmp_path_factory.mktemp("covid")))
    folder = data / "faq_covid"
    assert made.load(folder, category="link") == 131
    texts = {row["_id"]: row["text"] for row in rows(folder / "queries.jsonl")}
    qrels = rows(folder / "qrels.tsv")
    return made, [(texts[row["query-id"]], row["corpus-id"]) for row in qrels]


def test_real_questions_are_answered_as_measured(covid: tuple[SemanticFaq, Asked]) -> None:
    faq, asked = covid
    measured = script.cross_validated(faq, asked, 0.8, 0.5)
    # Of all questions, 75.0 % find their entry by its question alone.
    assert measured["recall@1"] >= 0.75
    # 0.786: 244 questions in two halves, so some per cent are chance.
    assert measured["precision of answers"] > 0.7
    assert measured["answered, of what has an entry"] > 0.3
    assert measured["answered, of what has none"] < 0.15
    before = measured["calibration error of the cosine"]
    after = measured["calibration error once fitted"]
    assert after < 0.1 < 0.2 < before


def test_an_answer_counts_for_something_too(covid: tuple[SemanticFaq, Asked]) -> None:
    faq, asked = covid

    def recall(weight: float) -> float:
        faq.calibration = Calibration(answer_weight=weight)
        right = [outcome.right for outcome in faq.outcomes(asked) if outcome.answerable]
        return sum(right) / len(right)

    assert recall(0.0) == pytest.approx(0.750, abs=0.005)
    assert recall(0.2) > recall(0.0) > recall(1.0)


def test_halves_have_no_entry_in_common(covid: tuple[SemanticFaq, Asked]) -> None:
    _, asked = covid
    first, second = script.halves(asked)
    assert {key for _, key in first}.isdisjoint(key for _, key in second)
    assert sorted([*first, *second]) == sorted(asked)


def test_other_subjects_are_not_known(covid: tuple[SemanticFaq, Asked]) -> None:
    faq, asked = covid
    faq.fit(asked[:100])
    for question in ("How do I bake bread?", "Who won the world cup?", "Is my parcel on its way?"):
        reply = faq.ask(question)
        assert reply.entry is None
        assert reply.confidence < 0.3
    same = faq.ask("What is community spread?")
    assert same.entry is not None
    assert same.entry.question == "What is community spread?"


def test_what_was_learned_is_there_when_it_is_opened_again(
    covid: tuple[SemanticFaq, Asked],
) -> None:
    faq, asked = covid
    asked = asked[:80]
    learned = faq.fit(asked, precision=None)
    again = SemanticFaq(lancedb.connect(faq.db.uri))
    assert again.calibration == learned
    assert again.ask(asked[0][0]) == faq.ask(asked[0][0])
    # A higher precision is only had by answering less.
    careful = [faq.fit(asked, precision=share).threshold for share in (0.6, 0.75, 0.9)]
    assert careful == sorted(careful)


@pytest.mark.parametrize("value", HOSTILE)
def test_a_category_is_a_value_and_no_sql(faq: SemanticFaq, value: str) -> None:
    with pytest.raises(ConfigurationError, match="there are: 'orders', 'payment', 'shop'"):
        faq.ask("When are you open?", category=value)
    faq.add([Entry("4", "When do you close?", "At six.", value)])
    assert [entry.id for entry, _ in faq.ask("When are you open?", value).nearest] == ["4"]
    assert [entry.id for entry, _ in faq.ask("When are you open?", "shop").nearest] == ["1"]
    assert faq.table.count_rows() == 4


@pytest.mark.parametrize("value", HOSTILE)
def test_an_id_is_a_value_and_no_sql(faq: SemanticFaq, value: str) -> None:
    for refused in (
        lambda: faq.delete(value),
        lambda: faq.correct(value, answer="Changed."),
        lambda: faq.fit([("When?", value)]),
    ):
        with pytest.raises(InputError, match="there is no entry"):
            refused()
    faq.add([Entry(value, "When do you close?", "At six.")])
    faq.delete(value)
    assert sorted(faq.table.to_arrow()["id"].to_pylist()) == ["1", "2", "3"]


def test_a_correction_makes_the_vectors_anew(faq: SemanticFaq) -> None:
    def vectors() -> dict[str, Any]:
        return {row["id"]: row for row in faq.table.to_arrow().to_pylist()}

    before = vectors()
    faq.correct("3", question="Do you take bitcoin?")
    after = vectors()
    assert after["3"]["question"] == "Do you take bitcoin?"
    assert after["3"]["answer"] == "Yes, by any card."
    expected = faq._function.compute_query_embeddings("Do you take bitcoin?")[0]
    np.testing.assert_allclose(after["3"]["vector"], expected, atol=1e-5)
    # Nothing is left where the old question was.
    old = np.array(before["3"]["vector"])
    assert all(np.dot(old, row["vector"]) < 0.9 for row in after.values())
    assert after["3"]["answer_vector"] == before["3"]["answer_vector"]
    assert {key: after[key] for key in "12"} == {key: before[key] for key in "12"}

    faq.correct("3", answer="No, by card only.", category="money")
    assert vectors()["3"]["answer_vector"] != before["3"]["answer_vector"]
    assert faq.ask("Do you take bitcoin?", "money").nearest[0][0].answer == "No, by card only."


def test_a_removed_entry_answers_nothing(faq: SemanticFaq) -> None:
    assert faq.ask("Can I pay by card?").nearest[0][0].id == "3"
    faq.delete("3")
    assert {entry.id for entry, _ in faq.ask("Can I pay by card?").nearest} == {"1", "2"}


def test_an_empty_faq_knows_nothing(db: Any) -> None:
    reply = SemanticFaq(db).ask("When are you open?")
    assert (reply.entry, reply.confidence, reply.nearest) == (None, 0.0, [])


def test_files_of_each_kind_are_read(db: Any, tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "answer", "category"])
        writer.writerow(['What is "tea"?', "Leaves, in\nhot water.", "drinks"])
    (tmp_path / "b.jsonl").write_text('{"_id": "b", "title": "Ice?", "text": "Cold water."}\n\n')
    with gzip.open(tmp_path / "c.tsv.gz", "wt") as zipped:
        zipped.write('id\tquestion\tanswer\nc\tAn inch (")?\t2.54 cm\n')
    faq = SemanticFaq(db)
    assert [faq.load(tmp_path / name) for name in ("a.csv", "b.jsonl", "c.tsv.gz")] == [1, 1, 1]
    found = {row["id"]: row for row in faq.table.to_arrow().to_pylist()}
    assert found["a.csv:0"]["question"] == 'What is "tea"?'
    assert found["a.csv:0"]["category"] == "drinks"
    assert found["b"]["answer"] == "Cold water."
    assert found["c"]["question"] == 'An inch (")?'


def test_bad_entries_are_refused_and_none_of_them_is_kept(faq: SemanticFaq, tmp_path: Path) -> None:
    good = Entry("4", "Where are you?", "In Oslo.")
    with pytest.raises(InputError, match="row 1: there is an entry '1'") as error:
        faq.add([good, SHOP[0]])
    assert error.value.rows == (1,)
    with pytest.raises(InputError, match="row 1: there is an entry '4'"):
        faq.add([good, good])
    with pytest.raises(InputError, match="row 1: answer is to be a text, not ' '"):
        faq.add([good, Entry("5", "Why?", " ")])
    file = tmp_path / "bad.jsonl"
    file.write_text(json.dumps({"question": "Why?"}))
    with pytest.raises(InputError, match="row 0: answer is to be a text, not None"):
        faq.load(file)
    file.write_text('{"question"')
    with pytest.raises(InputError, match="row 0 is no JSON"):
        faq.load(file)
    with pytest.raises(ConfigurationError, match="there is no file"):
        faq.load(tmp_path / "absent.csv")
    assert faq.table.count_rows() == 3


def test_bad_questions_and_options_are_said_at_once(faq: SemanticFaq) -> None:
    for question in ("", " \n", None):
        with pytest.raises(InputError, match="expected a question"):
            faq.ask(question)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="expected some of question, answer, category"):
        faq.correct("1", vector="no")
    with pytest.raises(ConfigurationError, match="expected some of"):
        faq.correct("1")
    with pytest.raises(ConfigurationError, match="precision is a share"):
        faq.fit([("When?", "1")], precision=90)
    with pytest.raises(ConfigurationError, match="no questions"):
        faq.fit([])


def test_a_confidence_is_the_share_that_is_right() -> None:
    rng = np.random.default_rng(0)
    outcomes = []
    for similarity in rng.uniform(0.3, 1.0, 4000):
        right = bool(rng.random() < 1 / (1 + np.exp(-12 * (similarity - 0.7))))
        outcomes.append(Outcome(float(similarity), 0.0, right, answerable=bool(rng.random() < 0.5)))
    learned = fitted({0.2: outcomes}, 0.9, 0.5)
    assert learned.similarity == pytest.approx(12, rel=0.15)
    sure = [learned.confidence(o.similarity, o.lead) for o in outcomes]
    assert calibration_error(sure, [o.right for o in outcomes]) < 0.03
    answered = [
        o.right for o, share in zip(outcomes, sure, strict=True) if share >= learned.threshold
    ]
    assert np.mean(answered) == pytest.approx(0.9, abs=0.03)


def test_calibration_error_is_the_distance_between_confidence_and_truth() -> None:
    assert calibration_error([0.75] * 4, [True, True, True, False]) == pytest.approx(0)
    assert calibration_error([0.95] * 4, [True, True, False, False]) == pytest.approx(0.45)
    # Too sure here and not enough there does not cancel out.
    assert calibration_error([0.9, 0.1], [False, True]) == pytest.approx(0.9)
    weighed = calibration_error([0.9, 0.1], [True, True], np.array([0.75, 0.25]))
    assert weighed == pytest.approx(0.75 * 0.1 + 0.25 * 0.9)


def test_nothing_to_tell_apart_is_said() -> None:
    with pytest.raises(ConfigurationError, match="some questions must find their entry"):
        fitted({0.0: [Outcome(0.9, 0.1, right=True, answerable=True)] * 3}, 0.9, 0.5)
    mixed = [Outcome(0.5, 0.0, right, answerable=True) for right in (True, False)] * 20
    with pytest.raises(ConfigurationError, match=r"no threshold has a precision of 0\.99"):
        fitted({0.0: mixed}, 0.99, 0.5)


def test_the_script_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LANCEDB_EMBEDDERS_DATA", str(tmp_path / "absent"))
    monkeypatch.setattr("sys.argv", ["semantic_faq"])
    script.main()
    assert capsys.readouterr().out.startswith("skipped: no evaluation data in ")


@pytest.mark.slow
def test_the_script_measures_and_answers(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script.run(tmp_path, data, 40)
    printed = capsys.readouterr().out
    assert "131 entries, 244 questions" in printed
    assert printed.count("average precision of the pairs in") == 3
    assert "How do I bake bread?" in printed
    assert printed.rstrip().endswith("I don't know")
