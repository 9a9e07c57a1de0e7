"""Take the keeper's lock: of all processes that share a home, only one seals and ships. The file names this process."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from dataclasses import dataclass
from typing import Any

from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.home import disk, reserve
from ipfs_log_handlers.home.layout import HomeDir

__all__ = ["KeeperLock", "LostLockError", "holder", "take", "take_or_explain"]


class LostLockError(Exception):
    """Another process has become the keeper: this one does not use its next batch number, and stops."""


_MAX_LOCK_BYTES = 4096
"""Bytes of the file: a host and a pid."""


@dataclass(frozen=True, slots=True)
class KeeperLock:
    """The lock while this process holds it."""

    home: HomeDir
    """The home."""
    descriptor: int
    """Descriptor of the open, locked file."""

    def holds(self) -> bool:
        """Return whether the locked file is still the lock file of the home (docs/home.md 9)."""
        return disk.same_file(self.descriptor, self.home.lock)

    def release(self) -> None:
        """Release the lock: then this process is not the keeper any more."""
        disk.close_locked(self.descriptor)


def take(home: HomeDir) -> KeeperLock | None:
    """Become the keeper; return `None` while another process is the keeper.

    Raises:
        HomeError: the home cannot be used.
        OSError: the lock's file cannot be opened.
    """
    home.make(sync=True)  # a power cut must not remove a home that has signed batches
    descriptor = reserve.with_reserve(home.reserve, lambda: disk.take_lock(home.lock))
    if descriptor is None:
        return None
    keeper = json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode()
    with contextlib.suppress(OSError):
        disk.overwrite(descriptor, keeper)
    return KeeperLock(home, descriptor)


def take_or_explain(home: HomeDir, hint: str) -> KeeperLock:
    """Become the keeper, for work during which no other process may be the keeper.

    Args:
        home: the home.
        hint: the next step if another process is the keeper, for the error.

    Raises:
        HomeError: another process is the keeper; the error names it. Or the home cannot be used.
        OSError: the lock's file cannot be opened.
    """
    held = take(home)
    if held is None:
        keeper = holder(home) or {"pid": "unknown", "host": "an unknown host"}
        pid, host = keeper["pid"], keeper["host"]
        raise HomeError(f"process {pid} on {host} is the keeper of this home", where=home.path, hint=hint)
    return held


def holder(home: HomeDir) -> dict[str, Any] | None:
    """Return `{host, pid}` of the current keeper; `None` without a keeper. Takes the lock for a moment."""
    try:
        descriptor = disk.open_locked(home.lock, os.O_RDONLY)
    except (FileNotFoundError, disk.WrongFileError):
        return None
    if descriptor is not None:
        disk.close_locked(descriptor)
        return None
    try:
        keeper = json.loads(disk.read(home.lock, _MAX_LOCK_BYTES))
        return {"host": str(keeper.get("host", "")), "pid": int(keeper.get("pid", 0))}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {"host": "", "pid": 0}  # the lock is held: there is a keeper, and its file is being written
