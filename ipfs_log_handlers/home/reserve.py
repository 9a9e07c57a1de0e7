"""The reserve: space that is given up on a full disk, so that what was logged before can still be sealed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from ipfs_log_handlers.home import disk

__all__ = ["SIZE", "give_up", "make", "missing_bytes"]

SIZE: Final = 4 << 20
"""Bytes: two batches of 1 MiB, with room for heads, manifests and directory blocks."""


def make(path: Path) -> bool:
    """Preallocate the reserve where it is missing and there is room for twice its size; whether it is there now."""
    with contextlib.suppress(OSError):
        if path.stat(follow_symlinks=False).st_size >= SIZE:
            return True
        disk.remove(path)
    try:
        if disk.free_bytes(path.parent) < 2 * SIZE:
            return False
        descriptor = disk.new_file(path, os.O_WRONLY)
    except OSError:
        return False
    try:
        allocate = getattr(os, "posix_fallocate", None)
        if allocate is None:
            os.write(descriptor, bytes(SIZE))
        else:
            allocate(descriptor, 0, SIZE)
    except OSError:
        disk.remove(path)
        return False
    finally:
        os.close(descriptor)
    return True


def missing_bytes(path: Path) -> int:
    """Bytes that are to be freed on a disk that is nearly full; 0 while there is room for segments and a reserve.

    Raises:
        OSError: the disk cannot be asked.
    """
    free = disk.free_bytes(path.parent)
    return 0 if free >= (SIZE if path.exists() else 2 * SIZE) else 4 * SIZE - free


def give_up(path: Path) -> bool:
    """Free the reserve; whether there was one."""
    try:
        path.unlink()
    except OSError:
        return False
    return True
