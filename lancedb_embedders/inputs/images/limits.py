"""How far reading a picture may go: bytes, pixels, seconds, hosts and folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lancedb_embedders.errors import ImageError
from lancedb_embedders.settings import Settings, settings

_DEFAULTS = Settings.model_fields


@dataclass(frozen=True)
class ImageLimits:
    """Limits of this process; see the settings of these names.

    Attributes
    ----------
    max_bytes, max_pixels : int
        What a picture may have.
    timeout : float
        Seconds in which it must have come.
    max_redirects : int
        Redirects that are followed.
    roots : tuple of pathlib.Path
        Folders that local pictures must be in; none: any.
    hosts : tuple of str
        Hosts, addresses or networks that may be on this machine or its network.
    """

    max_bytes: int = _DEFAULTS["max_image_bytes"].default
    max_pixels: int = _DEFAULTS["max_image_pixels"].default
    timeout: float = _DEFAULTS["image_timeout"].default
    max_redirects: int = _DEFAULTS["max_redirects"].default
    roots: tuple[Path, ...] = ()
    hosts: tuple[str, ...] = ()

    @classmethod
    def current(cls) -> ImageLimits:
        """Return the limits as they are set now."""
        now = settings.current()
        return cls(
            max_bytes=int(now.max_image_bytes),
            max_pixels=now.max_image_pixels,
            timeout=now.image_timeout,
            max_redirects=now.max_redirects,
            roots=now.image_roots,
            hosts=now.image_hosts,
        )

    def check_bytes(self, count: int) -> None:
        """Raise `ImageError` for a file of so many bytes that is too large, or empty."""
        if count > self.max_bytes:
            raise ImageError(
                f"more than the {self.max_bytes:,} bytes that a picture may have; raise "
                "settings.max_image_bytes if it is one"
            )
        if count == 0:
            raise ImageError("an empty file")
