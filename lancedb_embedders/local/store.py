"""The models that are loaded in this process: each once, whoever asks, and not too many."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lancedb_embedders.local.engine import (
    EngineOptions,
    WeightsWantedError,
    load_engine,
    openvino_is_to_run,
)
from lancedb_embedders.local.locate import locate
from lancedb_embedders.local.model import LoadedModel
from lancedb_embedders.settings import settings

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelKey:
    """What tells one loaded model from another.

    Attributes
    ----------
    name : str
        Name on the hub, or of a folder.
    revision : str or None
        Commit, branch or tag.
    folder : pathlib.Path or None
        Explicit folder.
    models : tuple of pathlib.Path
        Folders that hold models by name.
    pooling : str or None
        Pooling in place of the model's own.
    options : EngineOptions
        How it runs.
    """

    name: str
    revision: str | None
    folder: Path | None
    models: tuple[Path, ...]
    pooling: str | None
    options: EngineOptions


def model_key(
    name: str, revision: str | None, pooling: str | None, options: Mapping[str, Any]
) -> ModelKey:
    """Return the key of a model under a function's options of this process."""
    current = settings.current()
    return ModelKey(
        name=name,
        revision=revision,
        folder=options["folder"],
        models=current.models,
        pooling=pooling,
        options=EngineOptions(
            engine=options["engine"],
            device=options["device"],
            precision=options["precision"],
            trust_remote_code=current.trust_remote_code,
            threads=current.threads,
            cache_dir=options["cache_dir"],
        ),
    )


class ModelStore:
    """Loads models once and keeps the most recently used ones.

    Parameters
    ----------
    load : callable
        Makes a model of its key.
    """

    def __init__(self, load: Callable[[ModelKey], LoadedModel]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._models: OrderedDict[ModelKey, LoadedModel] = OrderedDict()
        self._loading: dict[ModelKey, threading.Lock] = {}

    def get(self, key: ModelKey) -> LoadedModel:
        """Return a model; many threads that ask at once cause one load.

        Raises
        ------
        EmbeddingError
            Whatever loading raised; a failure is not remembered, the next call tries again.
        """
        with self._lock:
            if key in self._models:
                self._models.move_to_end(key)
                return self._models[key]
            loading = self._loading.setdefault(key, threading.Lock())
        # Outside the store's own lock: other models stay available meanwhile.
        with loading:
            with self._lock:
                if key in self._models:
                    return self._models[key]
            model = self._load(key)
            with self._lock:
                self._models[key] = model
                self._loading.pop(key, None)
                while len(self._models) > settings.max_models:
                    self._models.popitem(last=False)
            return model

    def preload(self, key: ModelKey) -> None:
        """Load a model in the background, unless it is there or on its way.

        What fails is said by whoever needs the model, who tries again.
        """
        with self._lock:
            if key in self._models or key in self._loading:
                return
            self._loading[key] = threading.Lock()

        def load() -> None:
            try:
                self.get(key)
            except Exception as error:
                _logger.debug("%s could not be loaded ahead of time: %s", key.name, error)

        # A program that ends before it has used the model does not wait for it.
        threading.Thread(target=load, name="preload", daemon=True).start()

    def clear(self) -> None:
        """Let go of all models."""
        with self._lock:
            self._models.clear()

    def __len__(self) -> int:
        return len(self._models)


def _load(key: ModelKey) -> LoadedModel:
    start = time.perf_counter()
    model = _loaded(key, key.options)
    location = model.location
    _logger.info(
        "loaded %s from %s (%s) in %.1f s",
        key.name,
        location.folder,
        location.origin,
        time.perf_counter() - start,
    )
    return model


def _loaded(key: ModelKey, options: EngineOptions) -> LoadedModel:
    openvino = openvino_is_to_run(options)
    location = locate(key.name, key.revision, key.folder, key.models, graph=openvino)
    try:
        engine = load_engine(location.folder, key.pooling, options, openvino)
        return LoadedModel(location, engine)
    except WeightsWantedError:  # a graph was downloaded in place of them, and is of no use
        return _loaded(key, replace(options, engine="torch"))


store = ModelStore(_load)
