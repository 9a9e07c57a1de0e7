"""The keeper's lock: one process of all that share a home seals and ships. Its file says which."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from dataclasses import dataclass
from typing import Any

from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.layout import Home

__all__ = ["KeeperLock", "holder", "take"]


@dataclass(frozen=True, slots=True)
class KeeperLock:
    """The lock, held."""

    home: Home
    """Whose."""
    descriptor: int
    """Open and locked."""

    def holds(self) -> bool:
        """Whether the locked file is still the one in the home (docs/home.md 9)."""
        return disk.same_file(self.descriptor, self.home.lock)

    def release(self) -> None:
        """Give it back."""
        disk.close_locked(self.descriptor)


def take(home: Home) -> KeeperLock | None:
    """Become the keeper, or `None` while somebody else is.

    Raises:
        HomeError: the home cannot be used.
        OSError: the lock's file cannot be opened.
    """
    disk.ensure_directory(home.path, sync=True)  # what a keeper signs there must not vanish with it
    descriptor = disk.take_lock(home.lock)
    if descriptor is None:
        return None
    who = json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode()
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, who, 0)
    return KeeperLock(home, descriptor)


def holder(home: Home) -> dict[str, Any] | None:
    """`{host, pid}` of the keeper that is alive now; `None` when there is none. Takes the lock for a moment."""
    try:
        descriptor = disk.open_locked(home.lock, os.O_RDONLY)
    except FileNotFoundError:
        return None
    if descriptor is not None:
        disk.close_locked(descriptor)
        return None
    try:
        found = json.loads(disk.read(home.lock))
        return {"host": str(found.get("host", "")), "pid": int(found.get("pid", 0))}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {"host": "", "pid": 0}  # the lock is held: there is a keeper, and its file is being written
