"""Read a segment of the spool while its writer may still append to it.

If the last bytes of the segment are not a line, its lock is taken for a moment: while the writer lives, these bytes may
become a line (docs/home.md 4).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ipfs_log_handlers.home import disk, segments
from ipfs_log_handlers.home.segments import Span

__all__ = ["is_written", "spans", "spans_of"]


def spans(path: Path, offset: int) -> Iterator[Span]:
    """Yield the spans of a segment from an offset on, up to its end at the time of the call.

    Bytes that are not a line become a span of kind `damage`; a line that is still being written ends the reading.

    Args:
        path: the segment.
        offset: the beginning of a line.

    Raises:
        FileNotFoundError: the keeper has removed the segment.
        OSError: the segment cannot be read.
    """
    descriptor = segments.open_segment(path)
    try:
        yield from spans_of(descriptor, path, offset)
    finally:
        disk.close(descriptor)


def spans_of(descriptor: int, path: Path, offset: int) -> Iterator[Span]:
    """Yield the same spans of a segment that is open; the keeper may have removed it since.

    Args:
        descriptor: the segment, open for reading.
        path: its name.
        offset: the beginning of a line.

    Raises:
        OSError: the segment cannot be read.
    """
    size = os.fstat(descriptor).st_size  # otherwise a fast writer could keep the reader busy for ever
    while offset < size:
        span = _read_span(descriptor, offset)
        if span.kind == "damage" and span.end >= size:
            if is_written(path):
                return
            span = segments.read(descriptor, offset, owner_gone=True)  # bytes that a dead writer left
        if span.end <= offset:
            return
        yield span
        offset = span.end


def is_written(path: Path) -> bool:
    """Check whether a segment has a living writer, by taking the segment's lock for a moment."""
    with suppress(OSError):
        descriptor = disk.open_locked(path, os.O_RDONLY)
        if descriptor is None:
            return True
        disk.close_locked(descriptor)
    return False


def _read_span(descriptor: int, offset: int) -> Span:
    span = segments.read(descriptor, offset, owner_gone=False)
    if span.kind != "pending":
        return span
    damage = segments.read(descriptor, offset, owner_gone=True)
    # Damage before a whole line may have been a line whose last bytes had not arrived: read once more.
    span = segments.read(descriptor, offset, owner_gone=False)
    return damage if span.kind == "pending" else span
