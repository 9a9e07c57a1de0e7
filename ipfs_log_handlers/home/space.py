"""Measure the space of a subsystem on the disk, and the part of it that waits for a store (docs/home.md 22).

A process measures this at its first record and at each new segment, so the work must not grow with the number of
batches: the index of a log has the sums.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ipfs_log_handlers.home import delivery_state, volume
from ipfs_log_handlers.home.delivery_state import Confirmations
from ipfs_log_handlers.home.index import SMALL_BYTES, BatchIndex, Row
from ipfs_log_handlers.home.layout import LogPaths, SubsystemDir

__all__ = ["spool_bytes", "store_bytes"]

_MAX_MEASURED: Final = 1000
"""Number of segments whose size is measured; further segments of a spool are counted with the mean of these."""
_NEWEST_ROWS: Final = 256
"""Number of newest batches that are checked for a file of their own, which takes whole disk blocks."""
_DISK_BLOCK: Final = 512
"""Bytes of the unit in which `stat` counts what a file takes."""


def spool_bytes(subsystem_dir: SubsystemDir, replicas: int) -> int:
    """Count the bytes that `max_spool_bytes` limits: of segments, and of batches that wait for a store.

    Args:
        subsystem_dir: the subsystem.
        replicas: number of stores that must confirm a batch; 0 without a store: then no batch waits.

    Returns:
        Their bytes on the disk. While a log has no index, its batches are not counted; the keeper makes the index.
    """
    total = _segment_bytes(subsystem_dir.spool)
    if replicas:
        total += sum(_unshipped_bytes(log_paths, replicas) for log_paths in subsystem_dir.log_dirs())
    return total


def store_bytes(subsystem_dir: SubsystemDir) -> int:
    """Count the bytes of all batches on the disk."""
    return sum(_held_bytes(log_paths) for log_paths in subsystem_dir.log_dirs())


def _held_bytes(log_paths: LogPaths) -> int:
    """Read the sum in the index; without a complete index, measure every file."""
    header = BatchIndex(log_paths.batches).header()
    return volume.allocated(log_paths.batches) if header is None or not header.whole else header.held


def _segment_bytes(spool: Path) -> int:
    count, measured, total = volume.allocated_sample(spool, _MAX_MEASURED)
    return total * count // measured if measured else 0


def _unshipped_bytes(log_paths: LogPaths, replicas: int) -> int:
    """Count the bytes of the batches that must still be shipped, as the difference of two rows."""
    index = BatchIndex(log_paths.batches)
    newest = index.newest()
    if newest is None:
        return 0
    confirmations = Confirmations(list(delivery_state.load_all(log_paths.shipped).values()), replicas)
    through = confirmations.settled_through
    if through >= newest.index:
        return 0
    last_settled = index.row(through) or index.row(through + 1)
    if last_settled is None:
        return 0
    total = newest.bytes_through - (last_settled.bytes_through if through >= 0 else 0)
    for number in confirmations.settled_after():
        total -= sum(_own_bytes(index.rows(number - 1, 2), number))
    for row in index.rows(newest.index + 1 - _NEWEST_ROWS, _NEWEST_ROWS):
        if row.pack is None and row.length <= SMALL_BYTES and not confirmations.settled(row.index):
            total += row.allocated - row.length
    return max(0, total)


def _own_bytes(rows: Iterable[Row], number: int) -> Iterable[int]:
    """Return the bytes that a batch adds to the sum: the sum of its row minus the sum of the row before."""
    for row in rows:
        yield row.bytes_through if row.index == number else -row.bytes_through
