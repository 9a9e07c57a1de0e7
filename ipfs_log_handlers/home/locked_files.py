"""Lock files of a home, and keep locks and descriptors apart from forks and from the program.

This module follows two rules about forks (docs/home.md 15): a child's `LOCK_UN` would release its parent's lock, and a
child that keeps a locked descriptor would hold the lock after its parent has ended. So `open` + `flock` run under a
mutex that the before-fork hook takes, and the child *closes* every locked descriptor that it inherited, without
unlocking.

A program may close descriptors that it did not open, and use their numbers. So a descriptor is closed, and written to
for long, only while it is still the same file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path

from ipfs_log_handlers.concurrency import fork
from ipfs_log_handlers.concurrency.threads import RLock
from ipfs_log_handlers.home.new_files import new_file
from ipfs_log_handlers.home.paths import close, open_file, status

__all__ = [
    "check_ours",
    "close_locked",
    "close_ours",
    "identity_of",
    "open_append",
    "open_locked",
    "same_file",
    "take_lock",
]

_mutex = RLock()
_locked: dict[int, tuple[int, int]] = {}
"""By locked descriptor: device and inode of its file. A forked child closes the descriptor if it is still this file."""


def open_locked(path: Path, flags: int, *, create: bool = False) -> int | None:
    """Open a file and lock all of it, for as long as the descriptor is open in this process.

    Returns:
        A descriptor for `close_locked`, or `None` if another process (or descriptor) holds the lock.

    Raises:
        OSError: the file cannot be opened, or is not a regular file.
    """
    with _mutex:
        descriptor = new_file(path, flags) if create else open_file(path, flags)
        try:
            _locked[descriptor] = identity_of(descriptor)  # before the lock, because a fork may come in between
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException as error:
            _locked.pop(descriptor, None)
            close(descriptor)
            if isinstance(error, OSError) and error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return None
            raise
        return descriptor


def take_lock(path: Path) -> int | None:
    """Lock the file at `path`, made if it is missing; `None` if another holds the lock, or has replaced the file."""
    descriptor = open_locked(path, os.O_RDWR, create=True)
    if descriptor is not None and not same_file(descriptor, path):
        close_locked(descriptor)
        return None
    return descriptor


def open_append(path: Path) -> int | None:
    """Make a new locked file to which only this process appends; `None` if another process locked it first."""
    return open_locked(path, os.O_WRONLY | os.O_APPEND | os.O_EXCL, create=True)


def close_locked(descriptor: int) -> None:
    """Close a descriptor of `open_locked`; this releases the lock."""
    with _mutex:
        identity = _locked.pop(descriptor, None)
        if identity is not None:
            close_ours(descriptor, identity)


def same_file(descriptor: int, path: Path) -> bool:
    """Return whether the open file is still the file at `path`."""
    try:
        here = status(path)
        return identity_of(descriptor) == (here.st_dev, here.st_ino)
    except OSError:
        return False


def identity_of(descriptor: int) -> tuple[int, int]:
    """Return device and inode of an open file."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def check_ours(descriptor: int, identity: tuple[int, int]) -> None:
    """Refuse to write to a descriptor that the program has closed, because it may now be another file."""
    if identity_of(descriptor) != identity:
        raise OSError(errno.EBADF, "the program closed the descriptor of a file that was being written")


def close_ours(descriptor: int, identity: tuple[int, int]) -> None:
    """Close a descriptor if it still refers to the same file."""
    with contextlib.suppress(OSError):
        if identity_of(descriptor) == identity:
            close(descriptor)


def _before_fork() -> None:
    _mutex.acquire()


def _after_fork_in_parent() -> None:
    _mutex.release()


def _after_fork_in_child() -> None:
    global _mutex  # noqa: PLW0603 - a thread of the parent may hold the old lock
    _mutex = RLock()
    for descriptor, identity in list(_locked.items()):
        close_ours(descriptor, identity)
    _locked.clear()


fork.register("files", fork.Step(before=_before_fork, in_parent=_after_fork_in_parent, in_child=_after_fork_in_child))
