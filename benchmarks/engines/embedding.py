"""A contestant as a worker uses it: loaded, with a table of its own."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from benchmarks.engines.contestants import Contestant

_TABLE = "docs"


class Loaded:
    """A contestant that is ready to embed.

    Parameters
    ----------
    contestant : Contestant
        Which.
    weights : pathlib.Path
        Folder of its weights; registered functions find theirs themselves.
    """

    def __init__(self, contestant: Contestant, weights: Path) -> None:
        self._function: Any = None
        self._registered = contestant.function
        if self._registered:
            from benchmarks.contestants import create

            # Held for as long as this lives: LanceDB's own loads its model anew otherwise.
            self._function = create(self._registered)
            self.embed: Any = self._function.compute_source_embeddings
        else:
            module = importlib.import_module(contestant.module)
            self.embed = module.load(weights, **contestant.options)

    def query(self, text: str) -> Any:
        """Embed one text as a search does."""
        if self._function is not None:
            return self._function.compute_query_embeddings(text)[0]
        return self.embed([text])[0]

    def table(self, folder: Path) -> Any:
        """Create an empty table that `add` writes to."""
        if self._registered:
            from benchmarks.contestants import create_table

            return create_table(self._registered, folder)
        import lancedb

        dims = len(self.query("a"))
        return lancedb.connect(folder).create_table(_TABLE, schema=_schema(dims))

    def add(self, table: Any, texts: list[str]) -> None:
        """Embed `texts` into the table: LanceDB does it for its functions, else by hand."""
        if self._registered:
            table.add([{"text": text} for text in texts])
            return
        import numpy
        import pyarrow

        pa: Any = pyarrow
        vectors = numpy.ascontiguousarray(self.embed(texts), dtype=numpy.float32)
        schema = _schema(vectors.shape[1])
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        table.add(pa.Table.from_arrays([pa.array(texts), column], schema=schema))

    def padding(self, texts: list[str]) -> float | None:
        """Return the share of padding among the tokens computed; None for others' functions."""
        if self._registered != "sbert":
            return None
        import numpy

        model, encoding = self._function.prepared_model("document")
        tokens = model.engine.tokenize(texts, encoding.prompt, encoding.role, encoding.max_length)
        lengths = numpy.asarray(tokens.lengths)
        computed = sum(
            len(batch) * int(lengths[batch].max()) for batch in model.plan(lengths, None)
        )
        return float(1 - lengths.sum() / computed)


def _schema(dims: int) -> Any:
    import pyarrow

    pa: Any = pyarrow
    return pa.schema([("text", pa.string()), ("vector", pa.list_(pa.float32(), dims))])
