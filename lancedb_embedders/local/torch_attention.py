"""Which kernel computes attention: flash attention without padding where it can run, else SDPA."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from lancedb_embedders.output import Float32

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

_logger = logging.getLogger(__name__)

# Two kernels in 16 bits differ by less; positions or borders that are off, by much more.
_ALIKE = 0.99


def use_sdpa(model: SentenceTransformer) -> None:
    """Ask for SDPA where the architecture has it; a model's folder may name another kernel."""
    for module in _transformers(model):
        if module.model._supports_sdpa and module.model.config._attn_implementation != "sdpa":
            _switch(module, "sdpa")


def use_flash(
    model: SentenceTransformer, device: torch.device, dtype: torch.dtype, sample: Callable[[], Any]
) -> bool:
    """Switch to flash attention without padding if it runs here and gives the same vectors.

    Parameters
    ----------
    model : SentenceTransformer
        A model that uses SDPA, and still does if this returns False.
    device, dtype
        Where it is and what it computes in.
    sample : callable
        Returns vectors of some texts of unlike lengths, as the model now makes them.
    """
    modules = list(_transformers(model))
    if not modules or not _may_run(device, dtype):
        return False
    expected = sample()
    try:
        for module in modules:
            _switch(module, "flash_attention_2")
        alike = all(module.can_flatten_inputs for module in modules) and _alike(expected, sample())
        reason = "it gives other vectors, or none of them without padding"
    except Exception as error:  # kernels come from many places and fail in as many ways
        alike, reason = False, f"{type(error).__name__}: {error}"
    if not alike:
        _logger.info("flash attention is not used, SDPA is: %s", reason)
        for module in modules:
            _switch(module, "sdpa")
    return alike


def masks_itself(module: Any) -> bool:
    """Tell whether a transformer runs without a mask as with one that hides nothing.

    Then a batch without padding needs none: the model would look through it, and a GPU would wait.
    """
    model = module.model
    return _is_known(model) and bool(getattr(model, "is_backend_compatible", lambda: False)())


def has_known_code(model: SentenceTransformer) -> bool:
    """Tell whether no part of a model is code that a repository brought along.

    Such code may keep state while it runs, which threads at the same time would spoil.
    """
    return all(map(_is_known, model.modules()))


def _transformers(model: SentenceTransformer) -> Iterator[Any]:
    from sentence_transformers.base.modules import Transformer

    for module in model.modules():
        if isinstance(module, Transformer) and masks_itself(module):
            yield module


def _is_known(module: Any) -> bool:
    known = {"torch", "transformers", "sentence_transformers", "peft"}
    return type(module).__module__.split(".")[0] in known


def _may_run(device: torch.device, dtype: torch.dtype) -> bool:
    import torch

    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return False
    if torch.version.hip is None and torch.cuda.get_device_capability(device) < (8, 0):
        return False
    # Not by `kernels`, which fetches code from the hub.
    return find_spec("flash_attn") is not None


def _switch(module: Any, kernel: str) -> None:
    module.model.set_attn_implementation(kernel)
    module.unpad_inputs = module.unpad_inputs  # it decides anew whether it needs padding


def _alike(expected: Float32, found: Float32) -> bool:
    lengths = np.linalg.norm(expected, axis=1) * np.linalg.norm(found, axis=1)
    return bool(((expected * found).sum(axis=1) >= _ALIKE * lengths).all())
