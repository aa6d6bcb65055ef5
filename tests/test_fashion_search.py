"""The example that trains a model of pictures finds by words what it never saw."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytest.importorskip("datasets", reason='needs pip install "sentence-transformers[train]"')
pytest.importorskip("accelerate", reason='needs pip install "sentence-transformers[train]"')
pytest.importorskip("PIL", reason='needs pip install "lancedb-embedders[clip]"')

EXAMPLE = ROOT / "examples" / "fashion_search.py"


@pytest.mark.slow
def test_words_find_pictures_and_pictures_words(data: Path, python: Callable[..., str]) -> None:
    printed = python(
        "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')",
        str(EXAMPLE),
        env={"LANCEDB_EMBEDDERS_DATA": str(data.resolve())},
    )
    precision = {
        query: float(share)
        for query, share in re.findall(r"^  (.+?)  +(\S+)$", printed, flags=re.MULTILINE)
    }
    accuracy = re.search(r"accuracy of texts by picture  (\S+), by chance 0.10$", printed)
    assert len(precision) == 10
    assert sum(precision.values()) / len(precision) > 0.65
    # Shirts, coats and pullovers are hard to tell apart in so few pixels; these are not.
    easy = ("trousers", "a sandal", "a sneaker", "a bag", "an ankle boot")
    assert min(precision[query] for query in easy) >= 0.5
    assert accuracy
    assert float(accuracy[1]) > 0.55


def test_nothing_searched_was_learned_from(data: Path) -> None:
    from examples import fashion_search as example

    learned, held_out = example.split(example.read(data))
    assert {picture for picture, _ in learned}.isdisjoint(picture for picture, _ in held_out)
    assert Counter(name for _, name in learned) == dict.fromkeys(example.NAMES, 30)
    assert Counter(name for _, name in held_out) == dict.fromkeys(example.NAMES, 15)


def test_words_are_tokens_and_no_text_ends_early() -> None:
    from examples import fashion_search as example

    tokenizer = example.tokenizer()
    assert tokenizer.tokenize("A photo of an ankle boot") == [
        f"{word}</w>" for word in ("a", "photo", "of", "an", "ankle", "boot")
    ]
    assert tokenizer.eos_token not in tokenizer.tokenize("zèbre 東京 👟 100%?")


def test_absent_data_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from examples import fashion_search as example

    monkeypatch.setenv("LANCEDB_EMBEDDERS_DATA", str(tmp_path / "absent"))
    with pytest.raises(SystemExit, match=r"no evaluation data in .*absent"):
        example.main()
