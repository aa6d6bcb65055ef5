"""The cache from a shell."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from lancedb_embedders import VectorCache, settings
from lancedb_embedders.cache import shared_cache
from lancedb_embedders.cli import app

runner = CliRunner()


@pytest.fixture
def filled() -> VectorCache:
    cache = shared_cache(settings.cache_dir)
    cache.put_many(
        '{"provider":"openai","model":"m","kind":null}', ["a", "b"], np.eye(2, dtype=np.float32)
    )
    return cache


def test_cache_stats(filled: VectorCache) -> None:
    result = runner.invoke(app, ["cache", "stats"])
    assert result.exit_code == 0
    assert "openai m" in result.output
    assert "2 vectors" in result.output


def test_cache_verify_prune_and_export(filled: VectorCache, tmp_path: Path) -> None:
    assert "2 vectors, all sound" in runner.invoke(app, ["cache", "verify"]).output
    kept = runner.invoke(app, ["cache", "prune", "--older-than", "1d", "--max-size", "1GB"])
    assert "0 vectors deleted" in kept.output
    target = tmp_path / "vectors.parquet"
    assert "2 vectors written" in runner.invoke(app, ["cache", "export", str(target)]).output
    assert pq.read_table(target).num_rows == 2
    gone = runner.invoke(app, ["cache", "prune", "--older-than", "0s"])
    assert "2 vectors deleted" in gone.output


def test_cache_clear_asks_first_on_a_terminal(filled: VectorCache) -> None:
    code = "from lancedb_embedders.cli import app; app(['cache', 'clear'])"
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", code], stdin=theirs)
    os.write(ours, b"n\n")
    assert process.wait(60) == 1
    assert filled.stats().vectors == 2


def test_cache_clear(filled: VectorCache) -> None:
    assert "2 vectors deleted" in runner.invoke(app, ["cache", "clear", "--yes"]).output
    assert "0 vectors deleted" in runner.invoke(app, ["cache", "clear"]).output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prune"], "say what may stay"),
        (["prune", "--max-size", "much"], "'much' is no size"),
        (["prune", "--older-than", "90"], "'90' is no age"),
    ],
)
def test_cache_arguments_that_do_not_fit(arguments: list[str], message: str) -> None:
    result = runner.invoke(app, ["cache", *arguments])
    assert result.exit_code == 1
    assert message in result.output


def test_cache_of_another_folder_that_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "vectors.sqlite3").write_bytes(b"no database at all" * 1000)
    result = runner.invoke(app, ["cache", "verify", "--dir", str(tmp_path)])
    assert result.exit_code == 1
    assert "set aside" in " ".join(result.output.split())
