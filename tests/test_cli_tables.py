"""The commands attach, reembed, refresh, check and ingest, from a shell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lancedb
import pytest
from typer.testing import CliRunner

from lancedb_embedders.cli import app

TEXTS = ["Tea is hot.", "Snow is cold.", "Bread is baked."]


@pytest.fixture
def table(db: Any) -> Any:
    return db.create_table("docs", [{"id": i, "text": text} for i, text in enumerate(TEXTS)])


def run(*arguments: str, status: int = 0) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == status, done.output
    return done.output


def test_a_table_s_life_from_a_shell(db: Any, table: Any) -> None:
    where = ["--db", str(db.uri), "--table", "docs"]
    estimate = run("attach", *where, "--source", "text", "--dry-run")
    assert "rows 3; tokens about" in estimate
    assert "vector" not in lancedb.connect(db.uri).open_table("docs").schema.names
    assert "3 rows embedded" in run("attach", *where, "--source", "text")
    assert "sbert of 'text', all-MiniLM-L6-v2" in run("check", *where)
    table.checkout_latest()
    table.update(where="id = 0", values={"text": "Fire is hot."})
    assert "1 stale" in run("check", *where, status=1)
    assert "1 rows embedded" in run("refresh", *where)
    assert "0 unfinished works deleted" in run("discard", *where)
    run("check", *where)
    moved = run("reembed", *where, "--function", "sbert", "-o", "truncate_dim=64")
    assert "3 rows embedded" in moved
    again = lancedb.connect(db.uri).open_table("docs")
    assert again.schema.field("vector").type.list_size == 64
    assert "1 rows embedded" in run("reembed", *where, "--where", "id = 1")
    assert "unchanged" in run("reembed", *where, "--only-missing")
    assert "unchanged" in run("reembed", *where, "--changed-since", "2999-01-01")
    assert again.search("ice").limit(1).to_list()[0]["text"] == "Snow is cold."


def test_files_are_ingested_and_skipped_the_second_time(db: Any, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"id": i, "body": t}) + "\n" for i, t in enumerate(TEXTS)))
    arguments = ["ingest", str(file), "--db", str(db.uri), "--table", "new", "--text", "body"]
    assert "3 rows added" in run(*arguments, "--function", "sbert")
    assert "0 rows added" in run(*arguments)
    found = db.open_table("new").search("ice").limit(1).to_list()
    assert found[0]["body"] == "Snow is cold."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "--table", "nobody"], "has no table 'nobody'; it has: docs"),
        (["attach", "--table", "docs", "--source", "body"], "no column 'body'"),
        (["attach", "--table", "docs", "--source", "text", "-o", "x"], "write it like name=value"),
        (["attach", "--table", "docs", "--source", "text", "-o", "x=1"], "no option 'x'"),
        (["attach", "--table", "docs", "--source", "text", "--function", "y"], "no function 'y'"),
        (["reembed", "--table", "docs", "--engine", "x"], "engine 'x' is not known"),
        (["reembed", "--table", "docs", "-o", "a=1"], "name that by --function"),
        (["reembed", "--table", "docs", "--changed-since", "x"], "neither a version nor a time"),
        (["refresh", "--table", "docs", "--unknown", "x"], "unknown='x' is not known"),
        (["ingest", "nothing.csv", "--table", "docs"], "nothing.csv"),
    ],
)
def test_bad_input_is_one_message_and_status_1(
    db: Any, table: Any, arguments: list[str], message: str
) -> None:
    done = CliRunner().invoke(app, [*arguments, "--db", str(db.uri)])
    assert done.exit_code == 1
    assert message in done.output
    assert "Traceback" not in done.output


def test_the_program_has_the_commands(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lancedb_embedders", "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
        check=True,
    )
    for command in ("attach", "reembed", "refresh", "check", "ingest", "discard", "autoload"):
        assert command in done.stdout
