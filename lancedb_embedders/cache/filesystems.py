"""What kind of file system a folder is on."""

from __future__ import annotations

import sys
from pathlib import Path

_MOUNTS = Path("/proc/self/mounts")
#: Types of file systems that are shared by several machines, by the kernel's names.
_NETWORK = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"}
    | {"orangefs", "smb3", "smbfs", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"}
)


def network_filesystem(folder: Path, mounts: Path = _MOUNTS) -> str | None:
    """Return the type of the network file system that `folder` is on, or None.

    Linux lists its mounts; on Windows a path that begins with a server tells. Elsewhere the answer
    is None.
    """
    if sys.platform == "win32":
        return "network share" if folder.drive.startswith("\\\\") else None
    if not mounts.exists():
        return None
    place, best = folder.resolve(), (Path(), "")
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        _, point, kind = line.split(" ")[:3]
        mounted = Path(point.replace("\\040", " "))
        # Of mounts on the same place the last one counts.
        if place.is_relative_to(mounted) and len(mounted.parts) >= len(best[0].parts):
            best = (mounted, kind)
    return best[1] if best[1] in _NETWORK else None
