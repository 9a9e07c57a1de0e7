"""The quarantine: damaged bytes of a segment, copied aside before the head passes them. Evidence is never deleted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.segments import SegmentName

__all__ = ["count", "put"]


def put(directory: Path, segment: SegmentName, descriptor: int, start: int, end: int) -> Path:
    """Copy the bytes `start` to `end` of a segment to `<segment>.<start>`, synced.

    A crash before the head passes them leaves a copy that the next keeper writes again, the same bytes.
    """
    disk.ensure_directory(directory)
    path = directory / f"{segment}.{start}"
    disk.write_new(path, _pieces(descriptor, start, end))
    disk.sync_directory(directory)
    return path


def _pieces(descriptor: int, start: int, end: int) -> Iterator[bytes]:
    while start < end and (piece := os.pread(descriptor, min(1 << 20, end - start), start)):
        yield piece
        start += len(piece)


def count(directory: Path) -> int:
    """Damaged pieces in the quarantine."""
    try:
        return len(os.listdir(directory))
    except FileNotFoundError:
        return 0
