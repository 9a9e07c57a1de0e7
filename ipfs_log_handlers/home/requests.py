"""Requests: how another process asks the keeper to seal and ship now. An empty file each; its name is the request."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Final

from ipfs_log_handlers.home import disk

__all__ = ["STALE", "ask", "drop", "pending"]

STALE: Final = 3600.0
"""Seconds after which a request of a process that died while it waited is forgotten."""


def ask(directory: Path) -> Path:
    """Leave a request; whoever asked removes it with `drop`."""
    disk.ensure_directory(directory)
    path = directory / f"{os.getpid()}-{os.urandom(6).hex()}"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    return path


def drop(path: Path) -> None:
    """Take a request back."""
    with contextlib.suppress(OSError):
        disk.remove(path)


def pending(directory: Path) -> frozenset[str]:
    """The names of the requests that stand; stale ones are removed."""
    found = set()
    now = time.time()
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return frozenset()
    for entry in entries:
        with contextlib.suppress(OSError):
            if now - entry.stat(follow_symlinks=False).st_mtime > STALE:
                disk.remove(Path(entry.path))
            else:
                found.add(entry.name)
    return frozenset(found)
