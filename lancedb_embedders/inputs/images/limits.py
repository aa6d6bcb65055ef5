"""How far reading a picture may go: bytes, pixels, seconds, hosts and folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lancedb_embedders.settings import settings


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

    max_bytes: int = 50_000_000
    max_pixels: int = 89_478_485
    timeout: float = 30.0
    max_redirects: int = 5
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
