"""Space: what a subsystem's spool takes, and what of it is still to be shipped (docs/home.md 22)."""

from __future__ import annotations

import os
from contextlib import suppress

from ipfs_log_handlers.home import disk, shipped
from ipfs_log_handlers.home.batch_files import BatchFiles
from ipfs_log_handlers.home.layout import Room, Shelf

__all__ = ["spool_bytes", "store_bytes"]


def spool_bytes(room: Room, replicas: int) -> int:
    """Allocated bytes that `max_spool_bytes` bounds: of segments, and of batches that wait for a store.

    Args:
        room: the subsystem.
        replicas: stores that must confirm a batch; 0 where there is none, for there batches are where they belong.
    """
    total = disk.allocated(room.spool)
    if replicas:
        total += sum(_unshipped_bytes(shelf, replicas) for shelf in room.shelves())
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
