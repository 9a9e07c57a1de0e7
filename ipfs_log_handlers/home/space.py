"""Space: what a subsystem's spool takes, and what of it is still to be shipped (docs/home.md 22)."""

from __future__ import annotations

import os
from contextlib import suppress

from ipfs_log_handlers.config import Settings
from ipfs_log_handlers.home import disk, shipped
from ipfs_log_handlers.home.batch_files import BatchFiles
from ipfs_log_handlers.home.layout import Room, Shelf

__all__ = ["spool_bytes", "store_bytes"]


def spool_bytes(room: Room, settings: Settings) -> int:
    """Allocated bytes of segments and, where there is a store to ship to, of the batches it has not confirmed.

    Without a store the batches are where they belong, and only the segments wait for something.
    """
    total = disk.allocated(room.spool)
    if settings.kubo:
        total += sum(_unshipped_bytes(shelf, settings.replicas) for shelf in room.shelves())
    return total


def store_bytes(room: Room) -> int:
    """Allocated bytes of all batches."""
    return sum(disk.allocated(shelf.batches) for shelf in room.shelves())


def _unshipped_bytes(shelf: Shelf, replicas: int) -> int:
    batches = BatchFiles(shelf.batches)
    marks = list(shipped.load_all(shelf.shipped).values())
    done = sorted((mark.upto for mark in marks), reverse=True)
    confirmed = done[replicas - 1] if len(done) >= replicas else -1
    total = 0
    for index in batches.indexes():
        if index > confirmed and sum(mark.settled(index) for mark in marks) < replicas:
            with suppress(FileNotFoundError):
                total += os.stat(batches.file(index)).st_blocks * 512
    return total
