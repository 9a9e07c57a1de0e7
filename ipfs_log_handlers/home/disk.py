"""Everything a home asks of the operating system: create, write, sync, rename, lock, and what a fork does to it.

No other module calls `fsync`, `rename` or `flock`. Two rules of forks live here (docs/home.md 15): a child's `LOCK_UN`
would free its parent's lock, and a child that keeps a locked descriptor would hold the lock after its parent's death.
So `open` + `flock` run under a mutex that the before-fork hook takes, and the child *closes* every locked descriptor
it inherited, without unlocking.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import sys
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Final

from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.native import RLock

__all__ = [
    "NO_ROOM",
    "allocated",
    "check_owner",
    "close_locked",
    "cut",
    "ensure_directory",
    "free_bytes",
    "machine_id",
    "network_mount",
    "new_file",
    "open_append",
    "open_locked",
    "read",
    "remove",
    "replace",
    "same_file",
    "stream",
    "sweep",
    "sync_data",
    "sync_directory",
    "take_lock",
    "write_all",
    "write_new",
]

NO_ROOM: Final = frozenset((errno.ENOSPC, errno.EDQUOT))
"""Error numbers that mean that the disk, or this user's share of it, is full."""
_OPEN: Final = os.O_CLOEXEC | os.O_NOFOLLOW
_NETWORK: Final = frozenset(
    ("9p", "afs", "beegfs", "ceph", "cifs", "fuse", "lustre", "ncpfs", "nfs", "nfs4", "smb", "smb2", "smb3", "smbfs")
)

_mutex = RLock()
_locked: dict[int, tuple[int, int]] = {}
"""Descriptors that carry a lock, with device and inode: closed in a child, if they are still that file."""


def open_locked(path: Path, flags: int, *, create: bool = False) -> int | None:
    """Open a file and lock it whole, for as long as the descriptor is open in this process.

    Returns:
        A descriptor for `close_locked`, or `None` when another process (or descriptor) holds the lock.

    Raises:
        OSError: the file cannot be opened; a symbolic link is never followed.
    """
    with _mutex:
        descriptor = new_file(path, flags) if create else os.open(path, flags | _OPEN)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _locked[descriptor] = _identity(descriptor)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, OSError) and error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return None
            raise
        return descriptor


def take_lock(path: Path) -> int | None:
    """Lock the file at `path`, made when it is not there; only if the locked file is still the one at that path."""
    descriptor = open_locked(path, os.O_RDWR, create=True)
    if descriptor is not None and not same_file(descriptor, path):
        close_locked(descriptor)
        return None
    return descriptor


def close_locked(descriptor: int) -> None:
    """Close a descriptor of `open_locked`; the lock goes with it."""
    with _mutex:
        known = _locked.pop(descriptor, None)
        with contextlib.suppress(OSError):
            if known is not None and _identity(descriptor) == known:
                os.close(descriptor)


def same_file(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one that stands at `path`."""
    try:
        here = os.stat(path, follow_symlinks=False)
        return _identity(descriptor) == (here.st_dev, here.st_ino)
    except OSError:
        return False


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _before_fork() -> None:
    _mutex.acquire()


def _after_fork_in_parent() -> None:
    with contextlib.suppress(RuntimeError):  # this module came in between the hooks before the fork and these
        _mutex.release()


def _after_fork_in_child() -> None:
    global _mutex  # noqa: PLW0603 - the parent's threads, which might hold it, are not here
    _mutex = RLock()
    for descriptor, known in list(_locked.items()):
        with contextlib.suppress(OSError):
            if _identity(descriptor) == known:
                os.close(descriptor)
    _locked.clear()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def ensure_directory(path: Path, *, sync: bool = False) -> None:
    """Make a directory for this user alone, or check that the one there is one.

    Args:
        path: the directory; what is missing above it is made too, and synced.
        sync: let the directory itself survive a power cut, also when somebody else made it who did not care.

    Raises:
        HomeError: it belongs to somebody else, or is a link or a file.
        OSError: it cannot be made.
    """
    above = [] if path.parent.exists() else [each for each in path.parents if not each.exists()]
    made = False
    with contextlib.suppress(FileExistsError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
        made = True
    status = check_owner(path)
    if status.st_mode & 0o077 or (made and stat.S_IMODE(status.st_mode) != 0o700):  # a umask may have taken from it
        path.chmod(0o700)
    for each in [path, *above] if sync else above:
        sync_directory(each.parent)


def check_owner(path: Path) -> os.stat_result:
    """The status of a directory of this user's.

    Raises:
        HomeError: it belongs to somebody else, or is a link or a file.
        OSError: it is not there.
    """
    status = os.stat(path, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode):
        raise HomeError("not a directory of its own", where=path, hint="No link is followed: name the directory.")
    if status.st_uid != os.geteuid():
        raise HomeError(
            "a directory of another user",
            where=path,
            expected=f"owner {os.geteuid()}",
            found=status.st_uid,
            hint="Name a home of your own with home= or IPFS_LOGS_HOME.",
        )
    return status


def new_file(path: Path, flags: int) -> int:
    """Open a file for this user alone, whatever the umask; it is made where it is not there. No link is followed."""
    descriptor = os.open(path, flags | os.O_CREAT | _OPEN, 0o600)
    try:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != 0o600:
            os.fchmod(descriptor, 0o600)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_append(path: Path) -> int | None:
    """A new file, locked, to which this process alone will append; `None` if somebody locked it first."""
    return open_locked(path, os.O_WRONLY | os.O_APPEND | os.O_EXCL, create=True)


def write_new(path: Path, chunks: Iterator[bytes] | list[bytes]) -> int:
    """Write a file from nothing and sync it, data and size; an older one of that name is replaced.

    Returns:
        Its size in bytes. When any step fails nothing is left at `path` and no sync is tried again on the same file.
    """
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    descriptor = new_file(path, os.O_WRONLY | os.O_EXCL)
    try:
        size = 0
        for chunk in chunks:
            size += write_all(descriptor, chunk)
        os.fsync(descriptor)
    except BaseException:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            path.unlink()
        raise
    os.close(descriptor)
    return size


def write_all(descriptor: int, data: bytes) -> int:
    """Write all of it, however many calls that takes; its length."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    return len(data)


def replace(path: Path, data: bytes | Iterator[bytes], *, sync: bool = True) -> None:
    """Put a whole file, or the pieces of one, in the place of another in one step; `sync`: it survives a power cut."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        if sync:
            write_new(fresh, [data] if isinstance(data, bytes) else data)
        else:
            descriptor = new_file(fresh, os.O_WRONLY | os.O_TRUNC)
            try:
                write_all(descriptor, data if isinstance(data, bytes) else b"".join(data))
            finally:
                os.close(descriptor)
        os.rename(fresh, path)
    except BaseException:
        with contextlib.suppress(OSError):
            remove(fresh)
        raise
    if sync:
        sync_directory(path.parent)


def cut(path: Path, size: int) -> None:
    """Cut a file off, synced: what is left of it needs no new room."""
    descriptor = os.open(path, os.O_WRONLY | _OPEN)
    try:
        os.ftruncate(descriptor, size)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path, most: int = 64 << 20) -> bytes:
    """The content of a small file, without a link being followed.

    Not through a buffered stream: a fork while one is held would leave its lock locked in the child.

    Raises:
        OSError: it cannot be read; `FileNotFoundError` when it is not there.
    """
    descriptor = os.open(path, os.O_RDONLY | _OPEN)
    try:
        parts: list[bytes] = []
        while most > 0 and (part := os.read(descriptor, min(most, 1 << 20))):
            parts.append(part)
            most -= len(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def stream(path: Path) -> FileIO:
    """Open a file to be read from front to back, unbuffered, without a link being followed.

    Raises:
        OSError: it cannot be opened; `FileNotFoundError` when it is not there.
    """
    return FileIO(path, "rb", opener=lambda name, flags: os.open(name, flags | _OPEN))


def remove(path: Path) -> None:
    """Unlink a file if it is there."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def sweep(path: Path) -> None:
    """Remove what a process left of a `replace` when it was killed; only where nobody else writes now.

    Behind a link nothing is ours.
    """
    if path.is_symlink():
        return
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for name in os.listdir(path):
            if name.endswith(".tmp"):
                remove(path / name)


def sync_directory(path: Path) -> None:
    """Make creations, renames and removals in a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_data(descriptor: int) -> None:
    """Make the bytes of an open file survive a power cut."""
    getattr(os, "fdatasync", os.fsync)(descriptor)


def allocated(path: Path) -> int:
    """Bytes that the files under a directory take on the disk."""
    total = 0
    try:
        entries = list(os.scandir(path))
    except OSError:
        return 0
    for entry in entries:
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        total += allocated(Path(entry.path)) if stat.S_ISDIR(status.st_mode) else status.st_blocks * 512
    return total


def free_bytes(path: Path) -> int:
    """Bytes that this user may still write on the disk of `path`."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def machine_id() -> str:
    """What tells this machine from another; empty where nothing does."""
    for name in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        with contextlib.suppress(OSError):
            return read(Path(name), 256).decode("ascii", "replace").strip()[:64]
    return ""


def network_mount(path: Path) -> str | None:
    """The kind of network or FUSE mount that `path` lies on, where locks cannot be trusted; `None` on a local disk."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        mounts = read(Path("/proc/self/mountinfo")).decode("utf-8", "surrogateescape").splitlines()
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
"""How mountinfo writes space, tab, LF and backslash in a path."""
