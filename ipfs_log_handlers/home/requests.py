"""Requests: how another process speaks to the keeper. An empty file each; its name is the request.

`<pid>-<hex>` asks to seal and ship now. `<store>@<pid>-<hex>` offers to take over, because that store refused the
keeper and the process that offers has a credential for it; the keeper removes an offer as it accepts it.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ipfs_log_handlers.home import disk

__all__ = ["STALE", "Pending", "ask", "drop", "offer", "pending"]

STALE: Final = 3600.0
"""Seconds after which a request of a process that died while it waited is forgotten."""
_OF: Final = "@"


@dataclass(frozen=True, slots=True)
class Pending:
    """The requests that stand."""

    asked: frozenset[str] = frozenset()
    """Names of those that ask to seal and ship now."""
    offered: frozenset[str] = frozenset()
    """Names of those that offer to take over."""

    def offers_for(self, stores: frozenset[str]) -> frozenset[str]:
        """The offers that are about one of these stores, given by name."""
        return frozenset(each for each in self.offered if each.rpartition(_OF)[0] in stores)


def ask(directory: Path) -> Path:
    """Leave a request to seal and ship now; whoever asked removes it with `drop`."""
    return _leave(directory, "")


def offer(directory: Path, store: str) -> Path:
    """Leave an offer to take over for the sake of a store, given by name; `drop` takes it back."""
    return _leave(directory, store + _OF)


def _leave(directory: Path, prefix: str) -> Path:
    disk.ensure_directory(directory)
    path = directory / f"{prefix}{os.getpid()}-{os.urandom(6).hex()}"
    os.close(disk.new_file(path, os.O_WRONLY | os.O_EXCL))
    return path


def drop(path: Path) -> None:
    """Take a request back."""
    with contextlib.suppress(OSError):
        disk.remove(path)


def pending(directory: Path) -> Pending:
    """The requests that stand; stale ones are removed."""
    found = set()
    now = time.time()
    try:
        disk.check_owner(directory)
        entries = list(os.scandir(directory))
    except OSError:
        return Pending()
    for entry in entries:
        with contextlib.suppress(OSError):
            if now - entry.stat(follow_symlinks=False).st_mtime > STALE:
                disk.remove(Path(entry.path))
            else:
                found.add(entry.name)
    offered = frozenset(name for name in found if _OF in name)
    return Pending(frozenset(found) - offered, offered)
