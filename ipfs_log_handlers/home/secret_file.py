"""Read and make the files of a home that hold a secret key: one line each, which no other user may read."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Final

from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.home import disk

__all__ = ["MAX_BYTES", "install", "read"]

MAX_BYTES: Final = 4096
"""Bytes of such a file that are read; a key has some 130."""


def read(path: Path, what: str, *, if_read: str) -> bytes | None:
    """Read the file; `None` if it is missing.

    Args:
        path: the file; no link is followed.
        what: words for the key, for the errors.
        if_read: what the user should do if another user may have read the key, for the error.

    Raises:
        HomeError: other users can read the file, or it belongs to another user.
        OSError: it cannot be read.
    """
    try:
        descriptor = disk.open_file(path)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(descriptor)
        text = os.read(descriptor, MAX_BYTES)
    finally:
        disk.close(descriptor)
    if status.st_uid != os.geteuid():
        raise HomeError(f"{what} belongs to another user", where=path, found=status.st_uid)
    if status.st_mode & 0o077:
        raise HomeError(
            f"other users can read {what}",
            where=path,
            expected="mode 0600",
            found=f"{stat.S_IMODE(status.st_mode):04o}",
            hint=f"Run chmod 600 on it{if_read}",
        )
    return text


def install(path: Path, content: bytes) -> None:
    """Write the file, synced; one that is there is not replaced. The caller holds the keeper's lock.

    After a crash there is either no file or a complete one: temporary file, sync, link, sync of the directory.
    """
    fresh = path.with_name(f"{path.name}.tmp")
    disk.write_new(fresh, [content])
    with contextlib.suppress(FileExistsError):
        disk.link(fresh, path)
    disk.remove(fresh)
    disk.sync_directory(path.parent)
