"""Keep damaged bytes in the quarantine: bytes of a segment, and files that a repair replaces."""

from __future__ import annotations

from itertools import count as numbers
from pathlib import Path

from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.segments import SegmentName

__all__ = ["count", "keep", "keep_bytes", "listing", "put", "spans"]


def put(directory: Path, segment: SegmentName, descriptor: int, start: int, end: int) -> Path:
    """Copy the bytes `start` to `end` of a segment to `<segment>.<start>`, synced.

    After a crash before the head counts them as consumed, the next keeper writes the same copy again.
    """
    disk.ensure_directory(directory)
    path = directory / f"{segment}.{start}"
    disk.copy_part(descriptor, start, end, path)
    disk.sync_directory(directory)
    return path


def keep(directory: Path, path: Path) -> Path:
    """Give a damaged file a second name, `<name>.<n>`, before it is replaced; return the new name."""
    disk.ensure_directory(directory)
    for number in numbers():
        kept = directory / f"{path.name}.{number}"
        try:
            disk.link(path, kept)
        except FileExistsError:
            continue
        break
    disk.sync_directory(directory)
    return kept


def keep_bytes(directory: Path, name: str, data: bytes) -> Path:
    """Write damaged bytes that are a part of a larger file to `<name>.<n>`, synced; return the path."""
    disk.ensure_directory(directory)
    kept = next(path for number in numbers() if not disk.exists(path := directory / f"{name}.{number}"))
    disk.write_new(kept, [data])
    disk.sync_directory(directory)
    return kept


def listing(directory: Path) -> list[str]:
    """List the names of the damaged spans and replaced files in the quarantine."""
    return sorted(disk.names(directory))


def count(directory: Path) -> int:
    """Count the damaged spans in the quarantine, and the files that a repair has replaced."""
    return len(listing(directory))


def spans(directory: Path) -> int:
    """Count the damaged spans of segments that `put` has kept; files that a repair replaced are not counted."""
    names = (name.rpartition(".") for name in listing(directory))
    return sum(start.isdecimal() and SegmentName.parse(f"{segment}.seg") is not None for segment, _, start in names)
