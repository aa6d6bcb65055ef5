"""Files and folders as the operating system has them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

FileId = tuple[int, int]

_MOUNTS = Path("/proc/self/mounts")
_ESCAPED = re.compile(rb"\\([0-3][0-7]{2})")  # spaces, tabs, newlines and backslashes
#: Types of file systems that are shared by several machines, by the kernel's names.
_NETWORK = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"}
    | {"orangefs", "smb3", "smbfs", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"}
    | {"fuse.ceph-fuse", "fuse.gcsfuse", "fuse.juicefs", "gfs2", "ocfs2", "panfs", "pvfs2"}
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
    for line in mounts.read_bytes().split(b"\n"):
        _, point, kind, *_ = [*line.split(b" "), b"", b""]
        mounted = Path(os.fsdecode(_ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), point)))
        # Of mounts on the same place the last one counts.
        if place.is_relative_to(mounted) and len(mounted.parts) >= len(best[0].parts):
            best = (mounted, os.fsdecode(kind))
    return best[1] if best[1] in _NETWORK else None


def file_id(path: Path) -> FileId | None:
    """Return what tells a file from others that have, or had, its name; None if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep out the other processes, and threads, that want to lock the folder.

    Not so on Windows, which moves no file that is open; nor where folders cannot be locked.
    """
    if sys.platform == "win32":
        yield
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)
