"""Model cards: what is known about a model before a byte of it is loaded.

The facts are data, in ``catalog.toml``, each card with its source and the day it was checked.
"""

from __future__ import annotations

import difflib
import sys
from datetime import date
from functools import lru_cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict, PositiveInt

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: Where the hub keeps the models that sentence-transformers knows by a bare name.
DEFAULT_ORGANIZATION = "sentence-transformers"


class _Facts(BaseModel):
    # Built when first used: importing the package reads no card.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Score(_Facts):
    """A published result on a benchmark, on a scale of 0 to 100."""

    benchmark: str
    metric: str
    value: float
    source: str
    date: date


class Price(_Facts):
    """What a hosted model costs, in US dollars."""

    usd_per_million_tokens: float
    batch_usd_per_million_tokens: float | None = None
    usd_per_million_image_tokens: float | None = None
    usd_per_image: float | None = None
    source: str
    date: date


class ModelCard(_Facts):
    """What is known about one model.

    Attributes
    ----------
    name : str
        Identifier on the hub or at the provider.
    provider : str
        ``"local"`` or who hosts it.
    function : str
        Registry name of the function that serves it.
    modality : tuple of str
        ``"text"``, ``"image"``.
    dims : int
        Dimensions of its vectors, uncut.
    truncate_dims : tuple of int
        Sizes it was trained or is offered to be cut to (Matryoshka).
    context : int or None
        Tokens it takes, special tokens included; None: any number.
    pooling : str or None
        How token vectors become one; None where there is nothing to pool or it is not known.
    query_prompt, document_prompt : str
        Text it expects before each input.
    prompts : str
        ``"required"``, ``"optional"``, ``"none"`` (trained without) or ``"forbidden"``.
    languages : tuple of str
        BCP 47 codes; ``("mul",)`` for many that are not listed.
    languages_count : int or None
        How many, where they are not listed.
    licence : str
        SPDX identifier or the licence's short name.
    parameters : int or None
        Number of weights.
    trust_remote_code : bool
        Whether its repository brings Python code that loading it would run.
    encoding : str or None
        OpenAI's name of the encoding that it tokenizes with.
    tokenizer : str or None
        Repository on the hub that has its tokenizer.
    request_inputs, request_tokens : int or None
        Texts, and tokens of all of them, that its provider takes in one request.
    price : Price or None
        Of a hosted model.
    scores : tuple of Score
        Published results.
    source : str
        Where the facts were taken from.
    date : datetime.date
        The day they were checked.
    """

    name: str
    provider: Literal["local", "openai", "cohere", "voyage", "google", "huggingface"]
    function: str
    modality: tuple[Literal["text", "image"], ...]
    dims: PositiveInt
    truncate_dims: tuple[PositiveInt, ...] = ()
    context: PositiveInt | None = None
    pooling: Literal["mean", "cls", "max", "lasttoken", "weightedmean"] | None = None
    query_prompt: str = ""
    document_prompt: str = ""
    prompts: Literal["required", "optional", "none", "forbidden"] = "none"
    languages: tuple[str, ...]
    languages_count: PositiveInt | None = None
    licence: str
    parameters: PositiveInt | None = None
    trust_remote_code: bool = False
    encoding: str | None = None
    tokenizer: str | None = None
    request_inputs: PositiveInt | None = None
    request_tokens: PositiveInt | None = None
    price: Price | None = None
    scores: tuple[Score, ...] = ()
    source: str
    date: date


@lru_cache(maxsize=1)
def cards() -> dict[str, ModelCard]:
    """Return every card, by the model's full name."""
    text = files("lancedb_embedders").joinpath("catalog.toml").read_text(encoding="utf-8")
    found = [ModelCard(**entry) for entry in tomllib.loads(text)["model"]]
    return {card.name: card for card in found}


def find(name: str) -> ModelCard | None:
    """Return the card of a model, or None.

    Parameters
    ----------
    name : str
        Full name, in any case; for models of sentence-transformers the bare name will do.
    """
    wanted = full_name(name).lower()
    return _by_lower_name().get(wanted) or _by_lower_name().get(name.lower())


def full_name(name: str) -> str:
    """Return `name` with the organization that a bare name stands for.

    Examples
    --------
    >>> full_name("all-MiniLM-L6-v2")
    'sentence-transformers/all-MiniLM-L6-v2'
    """
    return name if "/" in name else f"{DEFAULT_ORGANIZATION}/{name}"


def similar(name: str, limit: int = 3) -> list[str]:
    """Return names in the catalogue that resemble `name`, for error messages."""
    known = {known.rsplit("/", 1)[-1].lower(): known for known in cards()}
    close = difflib.get_close_matches(name.rsplit("/", 1)[-1].lower(), known, limit)
    return [known[match] for match in close]


@lru_cache(maxsize=1)
def _by_lower_name() -> dict[str, ModelCard]:
    return {name.lower(): card for name, card in cards().items()}
