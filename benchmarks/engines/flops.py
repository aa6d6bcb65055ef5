"""How much a model has to compute for a text, by its length."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Shape:
    """The numbers of a BERT-like model that its matrix products follow from.

    Attributes
    ----------
    layers, hidden, intermediate : int
        Layers, size of a token's state, size between the two products of a layer's end.
    max_length : int
        Tokens that are computed of a longer text.
    """

    layers: int
    hidden: int
    intermediate: int
    max_length: int

    @classmethod
    def of(cls, model: Path) -> Shape:
        """Read it from the model's folder."""
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
        own = json.loads((model / "sentence_bert_config.json").read_text(encoding="utf-8"))
        return cls(
            layers=config["num_hidden_layers"],
            hidden=config["hidden_size"],
            intermediate=config["intermediate_size"],
            max_length=own["max_seq_length"],
        )


def flops(tokens: int, shape: Shape) -> int:
    """Return the floating-point operations of the matrix products for one text, uncut.

    With n tokens, hidden size h and intermediate size i, each layer takes::

        2 n (4 h h + 2 h i)    query, key, value, output; up and down
        4 n n h                scores of attention, and their product with the values

    A multiplication and an addition count as two. Everything else (softmax, GELU, norms, sums)
    is left out: it is below one part in fifty, and no matrix product.

    Examples
    --------
    >>> flops(10, Shape(layers=1, hidden=2, intermediate=4, max_length=512))
    1440
    """
    n, h, i = tokens, shape.hidden, shape.intermediate
    return shape.layers * (2 * n * (4 * h * h + 2 * h * i) + 4 * n * n * h)


def total_flops(lengths: Iterable[int], shape: Shape) -> int:
    """Return the operations for texts of so many tokens, each cut to what the model takes."""
    return sum(flops(min(length, shape.max_length), shape) for length in lengths)
