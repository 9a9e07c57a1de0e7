"""Measure the space of a home on its disk, and describe the disk: free space, machine, network mounts."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import sys
from pathlib import Path
from typing import Final

from ipfs_log_handlers.home import disk

__all__ = ["allocated", "allocated_sample", "free_bytes", "last_change", "machine_id", "network_mount"]

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
"""Flags that open a directory to list it; a link to one is not followed."""
_NETWORK: Final = frozenset(
    ("9p", "afs", "beegfs", "ceph", "cifs", "fuse", "lustre", "ncpfs", "nfs", "nfs4", "smb", "smb2", "smb3", "smbfs")
)
"""Kinds of mounts on which locks cannot be trusted."""


def allocated(path: Path) -> int:
    """Count the bytes that the files under a directory take on the disk; files that cannot be read are not counted."""
    try:
        descriptor = disk.open_listing(path)
    except OSError:
        return 0
    try:
        return _allocated(descriptor)
    finally:
        disk.close(descriptor)


def allocated_sample(path: Path, at_most: int) -> tuple[int, int, int]:
    """Measure some of the files in a directory, because measuring many files takes too long.

    Args:
        path: the directory; one that cannot be read counts as empty.
        at_most: largest number of files that are measured.

    Returns:
        Number of files, number of those that were measured, and the bytes that these take on the disk.
    """
    count = measured = total = 0
    try:
        descriptor = disk.open_listing(path)
    except OSError:
        return 0, 0, 0
    try:
        with contextlib.suppress(OSError), os.scandir(descriptor) as entries:
            for entry in entries:
                count += 1
                if measured < at_most:
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    measured += 1
    finally:
        disk.close(descriptor)
    return count, measured, total


def _allocated(descriptor: int) -> int:
    total = 0
    directories = []
    with contextlib.suppress(OSError), os.scandir(descriptor) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                stat_result = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(stat_result.st_mode):
                    directories.append(entry.name)
                else:
                    total += stat_result.st_blocks * 512
    for name in directories:
        with contextlib.suppress(OSError):
            inner = os.open(name, _DIRECTORY, dir_fd=descriptor)
            try:
                total += _allocated(inner)
            finally:
                disk.close(inner)
    return total


def last_change(path: Path) -> float:
    """Return when a directory, or a file or directory somewhere in it, was last changed, seconds since 1970.

    The kernel sets this time; no copy keeps it. What cannot be read counts as never changed.
    """
    try:
        descriptor = disk.open_listing(path)
    except OSError:
        return 0.0
    try:
        return _last_change(descriptor)
    finally:
        disk.close(descriptor)


def _last_change(descriptor: int) -> float:
    newest = os.fstat(descriptor).st_ctime
    directories = []
    with contextlib.suppress(OSError), os.scandir(descriptor) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                newest = max(newest, status.st_ctime)
                if stat.S_ISDIR(status.st_mode):
                    directories.append(entry.name)
    for name in directories:
        with contextlib.suppress(OSError):
            inner = os.open(name, _DIRECTORY, dir_fd=descriptor)
            try:
                newest = max(newest, _last_change(inner))
            finally:
                disk.close(inner)
    return newest


def free_bytes(path: Path) -> int:
    """Count the bytes that this user may still write on the disk of `path`."""
    file_system = os.statvfs(path)
    return (file_system.f_bfree if os.geteuid() == 0 else file_system.f_bavail) * file_system.f_frsize


def machine_id() -> str:
    """Return the id of this machine; empty if it has none."""
    for name in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        with contextlib.suppress(OSError):
            return disk.read_beginning(Path(name), 256).decode("ascii", "replace").strip()[:64]
    return ""


def network_mount(path: Path) -> str | None:
    """Name the kind of mount of a path, if locks cannot be trusted there.

    Returns:
        `nfs4`, `fuse.sshfs`, …; `None` on a local disk.
    """
    if not sys.platform.startswith("linux"):
        return None
    try:
        mounts = disk.read_beginning(Path("/proc/self/mountinfo")).decode("utf-8", "surrogateescape").splitlines()
    except OSError:
        return None
    best, kind = "", ""
    where = os.path.realpath(path)
    for mount in mounts:
        left, _, right = mount.partition(" - ")
        point = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), left.split(" ")[4])
        if len(point) >= len(best) and (where == point or where.startswith(point.rstrip("/") + "/")):
            best, kind = point, right.split(" ")[0]
    return kind if kind in _NETWORK or kind.startswith("fuse.") else None


_ESCAPED: Final = re.compile(r"\\([0-7]{3})")
"""The escapes of mountinfo for space, tab, LF and backslash in a path."""
