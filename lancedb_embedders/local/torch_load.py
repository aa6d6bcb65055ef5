"""A model's folder to a model of sentence-transformers, on its device and in its arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lancedb_embedders.errors import ConfigurationError, ModelLoadError
from lancedb_embedders.local.torch_check import check_loaded
from lancedb_embedders.local.torch_memory import is_out_of_memory

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer


def load_model(
    folder: Path, device: torch.device, dtype: torch.dtype, trust_remote_code: bool
) -> SentenceTransformer:
    """Load the model in `folder`, and nothing from elsewhere.

    Raises
    ------
    ModelLoadError
        The folder is damaged or incomplete, or needs code that is not trusted.
    """
    from sentence_transformers import SentenceTransformer

    try:
        with _without_progress_bars():
            model = SentenceTransformer(
                str(folder),
                device=str(device),
                trust_remote_code=trust_remote_code,
                local_files_only=True,
                model_kwargs={"dtype": dtype},
            )
    except Exception as error:
        hint = (
            "The folder is damaged or incomplete, or made for another version of "
            "sentence-transformers: fetch the model again"
        )
        if "trust_remote_code" in str(error):
            hint = (
                "It brings Python code of its own. If you have read and trust that code, set "
                "LANCEDB_EMBEDDERS_TRUST_REMOTE_CODE=1"
            )
        elif isinstance(error, RuntimeError) and is_out_of_memory(error):
            hint = (
                f"It does not fit into the memory of {device}: take a smaller model, 16 bits by "
                'precision="bfloat16", or another device'
            )
        elif isinstance(error, ModuleNotFoundError):
            hint = f"It needs the package {error.name}: install that, or fetch the model again"
        # The cause is in the message: LanceDB would put its whole traceback there as well.
        raise ModelLoadError(
            f"the model in {folder} cannot be loaded. {hint}. ({type(error).__name__}: {error})"
        ) from None
    check_loaded(model, folder)
    return model


def find_device(name: str) -> torch.device:
    """Return the device of that name; ``"auto"`` is the fastest that is there.

    Raises
    ------
    ConfigurationError
        It cannot be used here.
    """
    import torch

    if name == "auto":
        there = torch.cuda.is_available(), torch.backends.mps.is_available()
        name = "cuda" if there[0] else "mps" if there[1] else "cpu"
    try:
        # A tensor tells which one "cuda" is: another thread may take another for it.
        device = torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigurationError(f"device={name!r} cannot be used here: {reason}") from None
    return device


def find_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return what a model computes in; ``"auto"`` is 16 bits on a GPU.

    Raises
    ------
    ConfigurationError
        torch does not compute so.
    """
    import torch

    if precision == "int8":
        raise ConfigurationError(
            'precision="int8" is for the OpenVINO engine on a CPU, and torch is to run this model; '
            'take precision="auto", "float32", "bfloat16" or "float16"'
        )
    if precision != "auto":
        return {
            "float32": torch.float32,
            "bfloat16": torch.bfloat16,
            "float16": torch.float16,
        }[precision]
    if device.type == "cuda":
        return torch.bfloat16 if _has_bfloat16(device) else torch.float16
    return torch.float16 if device.type == "mps" else torch.float32


def _has_bfloat16(device: torch.device) -> bool:
    import torch

    # torch itself says yes where older cards only emulate it, at a fraction of the speed.
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
