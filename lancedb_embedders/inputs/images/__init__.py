"""Pictures from anywhere: what a value is, its bytes, and its pixels, within limits."""

from lancedb_embedders.inputs.images.image import Image

__all__ = ["Image"]
