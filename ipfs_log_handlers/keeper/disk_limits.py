"""Limit a batch to the free space of the disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from ipfs_log_handlers.home import reserve
from ipfs_log_handlers.keeper.batch_builder import BatchLimits
from ipfs_log_handlers.keeper.due import FLOOD_BATCH_BYTES, UNLIMITED_RECORDS

__all__ = ["DiskLimits"]

_UNLIMITED_BYTES: Final = 1 << 60
"""Bytes of lines that no batch reaches."""
_MIN_RAW_BYTES: Final = 4 << 10
"""Smallest number of bytes of lines to which a batch shrinks on a disk that refuses; one record may be longer."""


class DiskLimits:
    """Limit the batches of one subsystem, and limit them further each time the disk refuses one.

    Args:
        reserve_file: the reserve of the home, which is used before sealing becomes impossible.
    """

    def __init__(self, reserve_file: Path) -> None:
        self._reserve_file = reserve_file
        self._max_raw_bytes = _UNLIMITED_BYTES

    def fit(self, limits: BatchLimits, *, urgent: bool) -> BatchLimits:
        """Return the limits of a batch that fits into the reported free space of the disk.

        Args:
            limits: the limits of the due batch.
            urgent: a flush request waits for the batch.

        Raises:
            OSError: not even a small batch fits, and there is no reserve left.
        """
        room = reserve.make_room(self._reserve_file, urgent=urgent)
        if not room.has_many_inodes:
            raw_bytes = max(limits.raw_bytes, FLOOD_BATCH_BYTES)
            limits = replace(limits, records=UNLIMITED_RECORDS, raw_bytes=raw_bytes, stored_bytes=FLOOD_BATCH_BYTES)
        if not room.has_many_bytes:
            limits = replace(limits, raw_bytes=min(limits.raw_bytes, room.max_raw_bytes))
        return replace(limits, raw_bytes=min(limits.raw_bytes, self._max_raw_bytes))

    def halve(self, limits: BatchLimits) -> None:
        """Let the next batch be half as large: the disk, or a quota that it does not report, refused this one."""
        if not reserve.room(self._reserve_file).fits_inodes:
            return  # a smaller batch needs the same number of inodes
        self._max_raw_bytes = max(_MIN_RAW_BYTES, min(limits.raw_bytes, self._max_raw_bytes) // 2)

    def reset(self) -> None:
        """Remove the additional limits, because the disk has accepted a batch."""
        self._max_raw_bytes = _UNLIMITED_BYTES
