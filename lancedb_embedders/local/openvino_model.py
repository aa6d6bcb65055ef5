"""A transformer as an OpenVINO graph, with what it takes to feed it: ids in, token vectors out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lancedb_embedders.local.heads import Mask, UnsupportedModelError
from lancedb_embedders.local.openvino_graph import Graph
from lancedb_embedders.local.openvino_source import Source
from lancedb_embedders.local.tokens import Tokenizer, padded
from lancedb_embedders.output import Float32

Result = TypeVar("Result")

_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
_OUTPUTS = ("last_hidden_state", "token_embeddings")


@dataclass(frozen=True)
class OpenVinoModel:
    """A transformer in OpenVINO's form.

    Attributes
    ----------
    source : Source
        Token ids to token vectors, of any batch and length.
    tokenizer : Tokenizer
        What makes the ids.
    pad : int
        Token that fills up shorter texts, behind them.
    max_length : int or None
        Tokens it takes.
    reference : numpy.ndarray or None
        float32 vector that torch gave for `REFERENCE_TEXT`; None where torch was never asked.
    """

    source: Source
    tokenizer: Tokenizer
    pad: int
    max_length: int | None
    reference: Float32 | None = None


#: Short, for it is embedded each time a model is loaded.
REFERENCE_TEXT = "A naïve test, no. 7."


def tokenizer_from(file: Path, left: bool) -> Tokenizer:
    """Read a tokenizer from a ``tokenizer.json``; `left` as in `Tokenizer`."""
    from tokenizers import Tokenizer as Backend

    return Tokenizer(Backend.from_file(str(file)), left=left)


class Runner:
    """Feeds token ids to a compiled transformer.

    Parameters
    ----------
    parts : OpenVinoModel
        What to run.
    hint : str
        Arithmetic, as `openvino_runtime.arithmetic` names it.
    threads : int, optional
        Cores to use; None: all.

    Raises
    ------
    UnsupportedModelError
        It takes or gives what is not known here.
    """

    def __init__(self, parts: OpenVinoModel, hint: str, threads: int | None = None) -> None:
        self._pad = parts.pad
        self._graph = Graph(parts.source, hint, threads)
        inputs, outputs = self._graph.ports
        self._inputs = {_name(port, _INPUTS): port for port in inputs}
        self._output = _output(outputs)
        #: How many batches run at once.
        self.streams = self._graph.streams

    def run(
        self, items: Sequence[Any], use: Callable[[Float32, Mask], Result], quick: bool = False
    ) -> Result:
        """Run one batch and return what `use` makes of token vectors and mask.

        The token vectors are float32, shape ``(batch, length, dim)``, and gone afterwards.
        """
        # Behind the text for all models: padding before it has nothing to attend to where a model
        # looks back only, and OpenVINO makes NaN of that.
        ids, mask = padded(items, self._pad, left=False)
        values = {
            "input_ids": ids,
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(ids) if "token_type_ids" in self._inputs else ids,
        }
        inputs = {
            name: np.ascontiguousarray(values[name], dtype=port.get_element_type().to_dtype())
            for name, port in self._inputs.items()
        }
        return self._graph.run(inputs, self._output, lambda tokens: use(tokens, mask), quick)


def _name(port: Any, known: set[str]) -> str:
    names = known & set(port.get_names())
    if not names:
        raise UnsupportedModelError(f"its graph has an input {port.get_names() or 'without name'}")
    return names.pop()


def _output(ports: Sequence[Any]) -> int:
    ranked = [i for i, port in enumerate(ports) if port.get_partial_shape().rank == 3]
    named = [i for i in ranked if set(_OUTPUTS) & set(ports[i].get_names())]
    if not ranked:
        raise UnsupportedModelError("its graph gives no token vectors")
    return (named or ranked)[0]


def cosines(a: Float32, b: Float32) -> Float32:
    """Return the cosine of each row of `a` with that of `b`; NaN where one is all zeros."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return np.asarray(found, dtype=np.float32)
