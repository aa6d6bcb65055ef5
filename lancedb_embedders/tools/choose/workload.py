"""How much computing a model is, as far as its card tells; stands for time, which no card tells."""

from __future__ import annotations

import math
import re

from lancedb_embedders.catalog import ModelCard
from lancedb_embedders.extras import installed

# A query with all-MiniLM-L6-v2 in float32 on two cores, by the engine, as in the README's table of
# times. Other models are taken to need time in proportion to their weights.
_REFERENCE_MS = {"openvino": 8.0, "torch": 23.0}
_REFERENCE_WEIGHTS = 22_713_216

# A picture becomes (side / patch)**2 tokens: https://arxiv.org/abs/2010.11929, section 3.1. Names
# of models say the patch, and the side where it is not 224.
_PATCH = re.compile(r"(?:vit-[a-z]+-|patch)(\d+)(?:-(\d+))?$")
_SIDE = 224
_TEXT_TOKENS = 196  # what a picture of 16-pixel patches comes to, so that both kinds compare


def is_static(card: ModelCard) -> bool:
    """Tell whether a local model is a table of token vectors: it takes any number of tokens."""
    return card.provider == "local" and card.context is None and card.modality == ("text",)


def work(card: ModelCard) -> float:
    """Return the weights that an input goes through, for comparison; infinity: not known.

    Of a static model it is one row of its table. A model for pictures is weighed by the tokens
    that a picture becomes.
    """
    if is_static(card):
        return float(card.dims)
    if card.parameters is None or card.provider != "local":
        return math.inf
    found = _PATCH.search(card.name.lower())
    if "image" not in card.modality or found is None:
        return float(card.parameters)
    tokens = (int(found[2] or _SIDE) / int(found[1])) ** 2
    return card.parameters * tokens / _TEXT_TOKENS


def query_milliseconds(card: ModelCard) -> float | None:
    """Return about how long embedding a short query takes on two cores; None: not known."""
    engine = "openvino" if installed("openvino") else "torch"
    if is_static(card):
        return 1.0
    if card.parameters is None or card.provider != "local":
        return None
    return _REFERENCE_MS[engine] * card.parameters / _REFERENCE_WEIGHTS
