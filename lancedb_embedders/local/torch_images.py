"""The picture side of a torch model: pictures to arrays in any thread, arrays to vectors in one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lancedb_embedders.errors import ConfigurationError
from lancedb_embedders.local.pixels import probes, transform_of
from lancedb_embedders.local.torch_dual import is_dual
from lancedb_embedders.local.torch_tensors import as_array, on_device
from lancedb_embedders.output import Float32

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image as Picture
    from sentence_transformers import SentenceTransformer

# Of a model that does not tell how it cuts a picture up; ViT-B/16 has as many.
_UNKNOWN_TOKENS = 197
# Of arrays for twice as many, the system takes back the memory after each use: a seventh of the
# time went into getting it again. Fewer make nothing faster.
_CPU_TOKENS = 1024


class TorchImages:
    """Pictures through a loaded model.

    Parameters
    ----------
    model : SentenceTransformer
        The model.
    device : torch.device
        Where it is.
    dim : int
        Dimensions that it gives texts.
    batch_tokens : int
        Tokens that it runs best on at once.

    Raises
    ------
    ConfigurationError
        The model takes no pictures, or gives them vectors of another size than texts.

    Attributes
    ----------
    at_least : (int, int) or None
        Width and height that pictures are used in; None: it depends on the picture.
    tokens : int
        What a picture costs, in tokens of text.
    """

    def __init__(
        self, model: SentenceTransformer, device: torch.device, dim: int, batch_tokens: int
    ) -> None:
        self._model = model
        self._device = device
        self._lock = threading.Lock()  # nobody promises that a model's own processor has no state
        first: Any = model[0]
        # Code of a repository's own may be older than the way to say that it takes pictures.
        is_old = not hasattr(first, "modalities") and hasattr(first, "tokenize")
        self._preprocess = first.tokenize if is_old else model.preprocess
        dual = is_dual(first)
        self._transform = transform_of(first.processor.image_processor) if dual else None
        self._dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
        self.at_least = None if self._transform is None else self._transform.at_least
        self.tokens = self._count_tokens(first) if dual else _UNKNOWN_TOKENS
        on_cpu = device.type == "cpu"
        self.batch_tokens = min(batch_tokens, _CPU_TOKENS) if on_cpu else batch_tokens
        self._try_out(dim)

    def prepare(self, picture: Picture) -> Any:
        """Return what `forward` takes for a picture in mode RGB; safe in many threads."""
        if self._transform is not None:
            return self._transform.pixels(picture)
        with self._lock:
            return self._preprocess([picture])

    def forward(self, items: Sequence[Any]) -> Float32:
        """Run pictures together; returns float32, shape ``(len(items), dim)``."""
        import torch

        if self._transform is None:
            return self._forward_apart(items)
        with torch.inference_mode():
            pixels = torch.from_numpy(np.stack(items)).to(self._device, non_blocking=True)
            scale, shift = (
                torch.from_numpy(values).to(self._device).view(3, 1, 1)
                for values in (self._transform.scale, self._transform.shift)
            )
            # Channels to the front as the numbers become floats: no second array of these.
            values = pixels.permute(0, 3, 1, 2).to(
                torch.float32, memory_format=torch.contiguous_format
            )
            values = values.mul_(scale).sub_(shift).to(self._dtype)
            return self._vectors({"pixel_values": values, "modality": "image"})

    def _forward_apart(self, items: Sequence[dict[str, Any]]) -> Float32:
        import torch

        shapes = [
            {name: value.shape for name, value in item.items() if torch.is_tensor(value)}
            for item in items
        ]
        with torch.inference_mode():
            if any(shape != shapes[0] for shape in shapes):
                alone = (on_device(item, self._device) for item in items)
                return np.concatenate([self._vectors(item) for item in alone])
            joined = {
                name: torch.cat([item[name] for item in items]) if torch.is_tensor(value) else value
                for name, value in items[0].items()
            }
            return self._vectors(on_device(joined, self._device))

    def _vectors(self, features: dict[str, Any]) -> Float32:
        return as_array(self._model(features)["sentence_embedding"])

    def _count_tokens(self, first: Any) -> int:
        patch = getattr(getattr(first.model.config, "vision_config", None), "patch_size", None)
        if self._transform is None:  # patches are counted by the processor, if it makes any
            values = self.prepare(next(probes())).get("pixel_values")
            return values.shape[1] if getattr(values, "ndim", 0) == 3 else _UNKNOWN_TOKENS
        if not isinstance(patch, int):
            return _UNKNOWN_TOKENS
        height, width = self._transform.size
        return (height // patch) * (width // patch) + 1

    def _try_out(self, dim: int) -> None:
        try:
            vectors = self.forward([self.prepare(next(probes()))])
        except Exception as error:
            raise ConfigurationError(
                f"the model takes no pictures ({type(error).__name__}: "
                f"{str(error).splitlines()[0] if str(error) else ''})"
            ) from None
        if vectors.shape != (1, dim):
            raise ConfigurationError(
                f"the model gives pictures {vectors.shape[-1]} dimensions and texts {dim}: they "
                "are not in one space"
            )
