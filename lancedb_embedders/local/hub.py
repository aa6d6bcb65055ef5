"""Models on the Hugging Face hub, and the copies of them that this machine has."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from lancedb_embedders import catalog

CONFIG_FILES = ("modules.json", "config.json")
#: Without a tokenizer that Rust can read, a graph is of no use.
GRAPH_FILES = ("tokenizer.json", "openvino/openvino_model.bin", "openvino/openvino_model.xml")
# What sentence-transformers reads; a repository also holds the same weights for ONNX, TF, ...
_FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "*.jinja", "*.py")
_TORCH_WEIGHTS = "pytorch_model*.bin"
_OTHER_FORMATS = ("onnx", "openvino", "coreml", "original", "gguf")


def cached(repository: str, revision: str | None, graph: bool) -> Path | None:
    """Return the folder of a whole copy of a repository in the hub's local cache, if there is one.

    Parameters
    ----------
    repository : str
        Full name.
    revision : str, optional
        Commit, branch or tag.
    graph : bool
        Whether a graph for OpenVINO will do in place of weights.
    """
    from huggingface_hub import constants

    copies = f"models--{repository.replace('/', '--')}"
    if not (Path(cache_dir() or constants.HF_HUB_CACHE) / copies).is_dir():
        return None  # the rest of huggingface_hub takes a third of a second to import

    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        folder = Path(
            snapshot_download(
                repository,
                revision=revision,
                cache_dir=cache_dir(),
                allow_patterns=list(CONFIG_FILES),
                local_files_only=True,
            )
        )
    except (OSError, HFValidationError):
        return None
    has_config = any((folder / name).is_file() for name in CONFIG_FILES)
    return folder if has_config and _is_whole(repository, folder, graph) else None


def _is_whole(repository: str, folder: Path, graph: bool) -> bool:
    """Tell whether a snapshot has all its files: its download may have stopped or wanted few.

    The weights, or with `graph` a graph in their place.
    """
    from huggingface_hub import get_cached_repo_tree, try_to_load_from_cache
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        tree = get_cached_repo_tree(repository, revision=folder.name, cache_dir=cache_dir())
    except CachedRepoTreeNotFoundError:
        # Other tools fetch file by file and keep no list; a missing modules.json is then either
        # known to be missing on the hub, or was never asked for.
        if not any(any(folder.rglob(p)) for p in ("*.safetensors", _TORCH_WEIGHTS)):
            return False
        if (folder / "modules.json").is_file():
            return True
        known = try_to_load_from_cache(
            repository, "modules.json", cache_dir=cache_dir(), revision=folder.name
        )
        return known is not None
    paths = [file.path for file in tree]
    return any(
        all((folder / path).is_file() for path in wanted_files(paths, instead))
        for instead in {False, graph}
    )


def wanted_files(paths: Iterable[str], graph: bool = False) -> list[str]:
    """Choose the files of a repository that loading its model takes.

    Parameters
    ----------
    paths : iterable of str
        All files.
    graph : bool
        Whether a ready-made graph for OpenVINO is wanted in place of the transformer's weights,
        if there is one.

    Examples
    --------
    >>> wanted_files(["config.json", "model.safetensors", "pytorch_model.bin", "tf_model.h5",
    ...               "onnx/config.json", "2_Dense/config.json", "2_Dense/pytorch_model.bin"])
    ['config.json', 'model.safetensors', '2_Dense/config.json', '2_Dense/pytorch_model.bin']
    >>> wanted_files(["config.json", "model.safetensors", "tokenizer.json",
    ...               "openvino/openvino_model.bin", "openvino/openvino_model.xml"], graph=True)
    ['config.json', 'tokenizer.json', 'openvino/openvino_model.bin', 'openvino/openvino_model.xml']
    """
    files = [PurePosixPath(path) for path in paths]
    if graph and set(map(PurePosixPath, GRAPH_FILES)) <= set(files):
        top = PurePosixPath()
        weights = ("*.safetensors", "*.bin", "*.safetensors.index.json", "*.bin.index.json")
        files = [f for f in files if f.parent != top or not any(map(f.match, weights))]
        return [*wanted_files(map(str, files)), *GRAPH_FILES[1:]]
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


def graph_only(folder: Path) -> bool:
    """Tell whether a model's folder has a ready-made graph, and no weights beside it."""
    weights = (*folder.glob("*.safetensors"), *folder.glob(_TORCH_WEIGHTS))
    return (folder / GRAPH_FILES[-1]).is_file() and not weights


def download(repository: str, revision: str | None, graph: bool) -> Path:
    """Download what loading a model takes, and return its folder; `graph` as in `wanted_files`."""
    from huggingface_hub import HfApi, snapshot_download

    siblings = HfApi().model_info(repository, revision=revision).siblings or []
    folder = snapshot_download(
        repository,
        revision=revision,
        cache_dir=cache_dir(),
        allow_patterns=wanted_files((sibling.rfilename for sibling in siblings), graph),
    )
    return Path(folder)


def cache_dir() -> str | None:
    """Return where sentence-transformers was told to keep models; None: where the hub does."""
    return os.environ.get("SENTENCE_TRANSFORMERS_HOME")


def reason(name: str, revision: str | None, error: Exception) -> str:
    """Say in a line why nothing came from the hub."""
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
