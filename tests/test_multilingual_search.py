"""A model of many languages, trained by the example, and used as any user would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

EXAMPLE = ROOT / "examples" / "multilingual_search.py"


def run(data: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLE)],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=cwd,
        env={**os.environ, "LANCEDB_EMBEDDERS_DATA": str(data)},
    )


def test_english_is_found_by_other_languages(data: Path, tmp_path: Path) -> None:
    done = run(data, tmp_path)
    assert done.returncode == 0, done.stderr
    shares = {
        language: int(percent)
        for language, percent in re.findall(r"^(\w\w): (\d+)% of first", done.stdout, re.MULTILINE)
    }
    assert len(shares) == 12
    # By chance it were one of more than a thousand.
    assert min(shares.values()) > 30, shares
    assert sum(shares.values()) / 12 > 55, shares
    assert "Austrian German: True - Korean: False" in done.stdout


def test_without_data_it_says_so(tmp_path: Path) -> None:
    done = run(tmp_path / "nowhere", tmp_path)
    assert done.returncode == 1
    assert "set LANCEDB_EMBEDDERS_DATA" in done.stderr


@pytest.fixture(autouse=True)
def _needs_the_training_libraries() -> None:
    pytest.importorskip("datasets", reason='needs "sentence-transformers[train]"')
