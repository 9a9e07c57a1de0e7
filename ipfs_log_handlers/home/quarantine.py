"""The quarantine: what was damaged, kept: bytes of a segment that the head passes, files that a repair replaces."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count as numbers
from pathlib import Path

from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.segments import SegmentName

__all__ = ["count", "keep", "listing", "pieces", "put"]


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


def keep(directory: Path, path: Path) -> Path:
    """Give a damaged file a second name, `<name>.<n>`, before something else takes its place; the new name."""
    disk.ensure_directory(directory)
    for number in numbers():
        kept = directory / f"{path.name}.{number}"
        try:
            os.link(path, kept, follow_symlinks=False)
        except FileExistsError:
            continue
        break
    disk.sync_directory(directory)
    return kept


def listing(directory: Path) -> list[str]:
    """Names of the damaged pieces in the quarantine."""
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []


def count(directory: Path) -> int:
    """Damaged pieces in the quarantine, and files that a repair has replaced."""
    return len(listing(directory))


def pieces(directory: Path) -> int:
    """The damaged pieces of segments alone: what `put` has kept."""
    names = (name.rpartition(".") for name in listing(directory))
    return sum(start.isdecimal() and SegmentName.parse(f"{segment}.seg") is not None for segment, _, start in names)
