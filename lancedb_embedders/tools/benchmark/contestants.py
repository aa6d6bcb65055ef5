"""Models as they were named, each with a label of its own."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from lancedb_embedders.embedder import Embedder
from lancedb_embedders.errors import ConfigurationError, EmbeddingError
from lancedb_embedders.tools.given import function_of

Given = Embedder | str | os.PathLike[str]


def labelled(
    models: Mapping[str, Given] | Iterable[Given],
) -> list[tuple[str, Embedder | EmbeddingError]]:
    """Return functions by label; one that cannot be made is the error that says why.

    Parameters
    ----------
    models : mapping or iterable
        Functions, registry names, names or folders of models. Without labels of the user's, the
        label is the model's name, and what makes the difference where several have the same.

    Raises
    ------
    ConfigurationError
        There are none, or a single name where a list is expected.

    Examples
    --------
    >>> import lancedb_embedders
    >>> short = lancedb_embedders.SbertEmbeddings.create(truncate_dim=64)
    >>> [label for label, _ in labelled(["sbert", short])]
    ['all-MiniLM-L6-v2', 'all-MiniLM-L6-v2 (truncate_dim=64)']
    """
    if isinstance(models, (str, os.PathLike, Embedder)):
        raise ConfigurationError("models is a list, or a mapping of labels; got a single one")
    if isinstance(models, Mapping):
        found = [(str(label), _made(given)) for label, given in models.items()]
    else:
        made = [(given, _made(given)) for given in models]
        found = list(zip(_labels(made), (function for _, function in made), strict=True))
    if not found:
        raise ConfigurationError("there are no models to measure")
    return found


def _made(given: Given) -> Embedder | EmbeddingError:
    try:
        return function_of(given)
    except EmbeddingError as error:
        return error


def _labels(made: list[tuple[Given, Embedder | EmbeddingError]]) -> list[str]:
    names = [
        str(getattr(function, "name", function.registry_name))
        if isinstance(function, Embedder)
        else str(given)
        for given, function in made
    ]
    options = [_options(function) for _, function in made]
    labels = []
    for name, own in zip(names, options, strict=True):
        others = [other for n, other in zip(names, options, strict=True) if n == name]
        differing = [
            f"{key}={value}"
            for key, value in own.items()
            if value is not None and any(other.get(key) != value for other in others)
        ]
        labels.append(f"{name} ({', '.join(differing)})" if differing else name)
    seen: Counter[str] = Counter()
    for i, label in enumerate(labels):
        seen[label] += 1
        if seen[label] > 1:
            labels[i] = f"{label} #{seen[label]}"
    return labels


def _options(function: Embedder | EmbeddingError) -> dict[str, Any]:
    if not isinstance(function, Embedder):
        return {}
    options = {**json.loads(function.identity()), **function.given_options()}
    return {"function": function.registry_name, **options}
