"""``lancedb-embedders demo``: real documents into a table, and a few searches."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import lancedb
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel
from rich.console import Console
from rich.table import Table

QUERIES = (
    "how do I catch an exception and clean up afterwards",
    "annotating the types of function arguments",
    "comparing strings that contain accents",
)


def run_demo(db: Path, data: Path, rows: int, console: Console) -> None:
    """Embed about `rows` paragraphs into a table under `db`, and search it.

    Parameters
    ----------
    db : pathlib.Path
        Folder of the database; its table ``demo`` is replaced.
    data : pathlib.Path
        Folder with evaluation data; if it has no PEPs, Python's own documentation is used.
    rows : int
        How many paragraphs.
    console : rich.console.Console
        Where the report goes.
    """
    source, paragraphs = corpus(data)
    chosen = _spread(paragraphs, rows)
    console.print(f"Corpus: {len(chosen):,} paragraphs of {source}")

    sbert: Any = get_registry().get("sbert").create()

    class Paragraph(LanceModel):
        title: str
        text: str = sbert.SourceField()
        vector: sbert.Vector() = sbert.VectorField()  # type: ignore[valid-type]

    start = time.perf_counter()
    mode = "overwrite" if (db / "demo.lance").exists() else "create"
    table: Any = lancedb.connect(db).create_table("demo", schema=Paragraph, mode=mode)
    console.print(f"Model:  {sbert.name}, ready after {time.perf_counter() - start:.1f} s")

    start = time.perf_counter()
    table.add(chosen)
    seconds = time.perf_counter() - start
    console.print(f"Added:  {seconds:.1f} s, {len(chosen) / seconds:,.0f} rows per second\n")

    for query in QUERIES:
        hits = table.search(query).distance_type("cosine").limit(3).to_list()
        console.print(_hits(query, hits))
    console.print(f"The table: {(db / 'demo.lance').resolve()}  ({table.count_rows():,} rows)")


def corpus(data: Path) -> tuple[str, list[dict[str, str]]]:
    """Return the name of a real corpus and its paragraphs, as rows of ``title`` and ``text``."""
    peps = data / "long_peps" / "a" / "corpus.jsonl.gz"
    if peps.is_file():
        return "Python Enhancement Proposals (public domain)", list(_paragraphs(_read_peps(peps)))
    return "the documentation that ships with Python", list(_paragraphs(_python_topics()))


def _read_peps(file: Path) -> Iterator[tuple[str, str]]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            pep = json.loads(line)
            yield f"PEP {int(pep['_id'])}", str(pep["text"])


def _python_topics() -> Iterator[tuple[str, str]]:
    from pydoc_data.topics import topics

    yield from topics.items()


def _paragraphs(documents: Iterable[tuple[str, str]]) -> Iterator[dict[str, str]]:
    for title, text in documents:
        for paragraph in re.split(r"\n\s*\n", text):
            squeezed = " ".join(paragraph.split())
            # Headings and rulers are no prose, tables and long listings are no paragraphs.
            if 80 <= len(squeezed) <= 500 and squeezed.count(" ") > 10:
                yield {"title": title, "text": squeezed}


def _spread(rows: list[dict[str, str]], count: int) -> list[dict[str, str]]:
    """Return `count` rows taken evenly, so that every document has its share."""
    if len(rows) <= count:
        return rows
    return [rows[i * len(rows) // count] for i in range(count)]


def _hits(query: str, hits: list[dict[str, Any]]) -> Table:
    table = Table(title=f"“{query}”", title_justify="left", show_lines=False, expand=False)
    table.add_column("cosine", justify="right")
    table.add_column("from", max_width=24)
    table.add_column("text", max_width=70)
    for hit in hits:
        text = hit["text"] if len(hit["text"]) <= 160 else hit["text"][:159] + "…"
        table.add_row(f"{1 - hit['_distance']:.3f}", hit["title"], text)
    return table
