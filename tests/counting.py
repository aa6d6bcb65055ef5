"""A function that notes each text that it embeds, and tables and processes to try it on."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lance
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lancedb_embedders import Batch, Embedder
from lancedb_embedders.functions.content_hash import hashes
from lancedb_embedders.stored import process_option
from lancedb_embedders.tables.parts import PREFIX
from lancedb_embedders.tables.recorded import embedded_columns, hash_column
from lancedb_embedders.tables.slices import parse

#: The repository, for processes that are to import this module.
ROOT = Path(__file__).parent.parent

SCHEMA = pa.schema([pa.field("id", pa.int64()), pa.field("text", pa.string())])


def vectors_for(texts: list[str], name: str = "a", dim: int = 8) -> npt.NDArray[np.float32]:
    """Return what the function of a name gives for texts, of length 1."""
    found = np.array([list(_bytes(text, name, dim)) for text in texts]).reshape(len(texts), dim)
    found = found.astype(np.float32) - 127.5  # never a zero
    unit: npt.NDArray[np.float32] = found / np.linalg.norm(found, axis=1, keepdims=True)
    return unit


def _bytes(text: str, name: str, dim: int) -> bytes:
    return hashlib.shake_128(f"{name}\0{text}".encode()).digest(dim)


class Counting(Embedder, registry_name="counting"):
    """Gives vectors that depend on the text and the function's name, at once or after a wait.

    Parameters
    ----------
    name : str
        Name of the model.
    dim : int
        Size of its vectors.
    log : str, optional
        File that gets a line for each text that is embedded: the process, and the text.
    wait : float, optional
        Seconds that a text takes.
    """

    name: str = "a"
    dim: int = 8
    log: str | None = process_option()
    wait: float | None = process_option()

    def ndims(self) -> int:
        return self.column_dims(self.dim)

    def embed(self, batch: Batch) -> npt.NDArray[np.float32]:
        options, texts = self.process_options(), [str(text) for text in batch.inputs]
        if options["log"]:
            lines = "".join(f"{os.getpid()}\t{text}\n" for text in texts)
            log = os.open(options["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            assert os.write(log, lines.encode()) == len(lines.encode())
            os.close(log)
        time.sleep((options["wait"] or 0.0) * len(texts))
        return vectors_for(texts, self.name, self.dim)


def embedded_texts(log: Path) -> dict[int, Counter[str]]:
    """Return how often each process embedded each text, as a log has it."""
    found: dict[int, Counter[str]] = {}
    for line in log.read_text().splitlines() if log.exists() else ():
        process, _, text = line.partition("\t")
        found.setdefault(int(process), Counter())[text] += 1
    return found


# -- tables -------------------------------------------------------------------------------------


def numbered(start: int, stop: int) -> dict[int, str]:
    """Return texts that are all different, by id."""
    return {number: f"Text number {number}." for number in range(start, stop)}


def as_rows(texts: Mapping[int, str | None]) -> pa.Table:
    """Return texts by id as rows of a table."""
    return pa.table({"id": list(texts), "text": list(texts.values())}, schema=SCHEMA)


def make_table(db: Any, fragments: int, rows_per_fragment: int, name: str = "t") -> Any:
    """Make a table of texts without vectors; row `i` of fragment `f` has id `f * rows + i`."""
    table = db.create_table(name, schema=SCHEMA)
    for number in range(fragments):
        start = number * rows_per_fragment
        table.add(as_rows(numbered(start, start + rows_per_fragment)))
    return table


def assert_whole(
    table: Any,
    texts: Mapping[int, str | None],
    name: str = "a",
    dim: int = 8,
    made_from: Mapping[int, str | None] | None = None,
) -> None:
    """See that each row is there once, with the vector for its text by the recorded function.

    Vectors and hashes may be those of other texts, `made_from`.
    """
    rows = table.to_arrow().sort_by("id")
    ids = rows["id"].to_pylist()
    assert ids == sorted(texts)
    assert rows["text"].to_pylist() == [texts[one] for one in ids]
    known = embedded_columns(rows.schema)["vector"]
    assert (known.name, known.source) == ("counting", "text")
    assert (known.options["name"], known.options["dim"]) == (name, dim)
    embedded = [(made_from or texts)[one] for one in ids]
    vectors = rows["vector"].to_pylist()
    wrong = [
        one
        for one, text, vector in zip(ids, embedded, vectors, strict=True)
        if (text is None) != (vector is None)
        or (text is not None and not np.allclose(vector, vectors_for([text], name, dim), atol=1e-6))
    ]
    assert not wrong, f"{len(wrong)} of {len(ids)} rows have a wrong vector: {wrong[:10]}"
    hashed = hash_column(rows.schema, "vector")
    if hashed is not None:
        assert rows[hashed].to_pylist() == hashes(pa.array(embedded, pa.string())).to_pylist()


def leftovers(place: Path) -> list[str]:
    """Return the folders of unfinished work in a table's folder."""
    return [folder.name for folder in place.iterdir() if folder.name.startswith(PREFIX)]


def finished_texts(place: Path) -> set[str]:
    """Return the texts in finished slices of a table, if its fragments are as they were."""
    names = [file.name for folder in place.glob(f"{PREFIX}*/parts") for file in folder.iterdir()]
    dataset: Any = lance.dataset(str(place))
    found: set[str] = set()
    for one in filter(None, map(parse, names)):
        scanner = dataset.get_fragment(one.fragment).scanner(
            columns=["text"],
            offset=one.start,
            limit=one.rows,
            include_deleted_rows=True,
            with_row_id=True,
        )
        rows = scanner.to_table()
        found |= set(rows.filter(pc.is_valid(rows["_rowid"]))["text"].to_pylist())
    return found


# -- processes ----------------------------------------------------------------------------------


def processes() -> Any:
    """Return what starts processes that begin with LanceDB loaded, each new in all else."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([__name__, "tests.test_cache_processes", "lance"])
    return server


class Child:
    """A process that does some work, and may be killed.

    Parameters
    ----------
    work : callable
        Function of a module.
    args : object
        What it is given.
    """

    def __init__(self, work: Callable[..., Any], *args: Any) -> None:
        here, there = multiprocessing.Pipe()
        self.process = processes().Process(target=_report, args=(there, work, args))
        self.process.start()
        there.close()
        assert here.recv() == "begun"
        self._here = here

    @property
    def pid(self) -> int:
        return int(self.process.pid)

    @property
    def running(self) -> bool:
        return bool(self.process.is_alive())

    def killed_after(self, seconds: float) -> bool:
        """Kill it so many seconds after it began; False: it was done before."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        if self.process.exitcode == -9:
            return True
        self.end()
        return False

    def end(self, seconds: float = 120) -> Any:
        """Wait until it is done, and return what its work did."""
        assert self._here.poll(seconds), "the process is not done"
        kind, found = self._here.recv()
        self.process.join(seconds)
        assert kind == "done", found
        return found


def _report(there: Any, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    there.send("begun")
    try:
        there.send(("done", work(*args)))
    except BaseException as error:
        there.send(("failed", f"{type(error).__name__}: {error}"))
        raise
