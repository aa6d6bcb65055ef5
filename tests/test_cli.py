"""The command line, run as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pytest
import typer
from lancedb.pydantic import LanceModel

from lancedb_embedders import SbertEmbeddings, __version__
from lancedb_embedders.cli.errors import clear_errors


def run(*args: str, cwd: Path, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lancedb_embedders", *args],
        capture_output=True,
        text=True,
        input=stdin,
        cwd=cwd,
        timeout=300,
        env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1", **env},
    )


def test_list_and_version(tmp_path: Path) -> None:
    listed = run("list", cwd=tmp_path).stdout
    row = next(line for line in listed.splitlines() if "sbert" in line)
    assert "all-MiniLM-L6-v2" in row
    assert "384" in row
    assert run("--version", cwd=tmp_path).stdout.strip() == __version__


def test_embed(tmp_path: Path) -> None:
    done = run("embed", "ein Text", "two", "--truncate-dim", "64", cwd=tmp_path)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["text"] for line in lines] == ["ein Text", "two"]
    expected = SbertEmbeddings.create(truncate_dim=64).compute_source_embeddings(
        ["ein Text", "two"]
    )
    np.testing.assert_allclose([line["vector"] for line in lines], expected, atol=1e-5)


def test_embed_reads_standard_input(tmp_path: Path) -> None:
    done = run("embed", cwd=tmp_path, stdin="one\n\ntwo\n")
    vectors = [json.loads(line)["vector"] for line in done.stdout.splitlines()]
    assert [vector is None for vector in vectors] == [False, True, False]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--model", "no-such-model"), "was not found. Looked in:"),
        (("--function", "sbrt"), "there is no function 'sbrt'; there are: cached-cohere, "),
        (("--role", "answer"), 'role is "document" or "query"'),
        (("--truncate-dim", "1000"), "truncate_dim=1000 is more than the 384 dimensions"),
    ],
)
def test_errors_are_one_message_and_no_traceback(
    tmp_path: Path, args: tuple[str, ...], message: str
) -> None:
    done = run("embed", "text", *args, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
def test_demo_with_the_documentation_that_ships_with_python(tmp_path: Path) -> None:
    done = run("demo", "--rows", "40", "--data", "nowhere", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "40 paragraphs of the documentation that ships with Python" in done.stdout
    assert "rows per second" in done.stdout
    assert lancedb.connect(tmp_path / "demo-db").open_table("demo").count_rows() == 40


def test_demo_with_peps(tmp_path: Path, data: Path) -> None:
    done = run("demo", "--rows", "40", "--data", str(data.resolve()), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Python Enhancement Proposals" in done.stdout


def test_an_error_within_a_write_is_told_without_a_traceback(
    db: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    sbert = SbertEmbeddings.create(on_overflow="error", max_length=5)

    class Row(LanceModel):
        text: str = sbert.SourceField()
        vector: sbert.Vector() = sbert.VectorField()  # type: ignore[valid-type]

    table = db.create_table("t", schema=Row)
    with pytest.raises(typer.Exit), clear_errors():
        table.add([{"text": "many words are in this text, more than five"}])
    told = capsys.readouterr().err
    assert told.startswith("TextTooLongError: row 0: longer than the 5 tokens")
    assert "Traceback" not in told
    with pytest.raises(RuntimeError, match="of another kind"), clear_errors():
        raise RuntimeError("of another kind")
