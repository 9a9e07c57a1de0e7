"""A segment of the spool, read beside the writer that may still append to it.

Its lock is taken for a moment, and only where its last bytes are no line: while the writer lives they may become one
(docs/home.md 4).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ipfs_log_handlers.home import disk, segments
from ipfs_log_handlers.home.segments import Piece

__all__ = ["is_written", "pieces"]


def pieces(path: Path, offset: int) -> Iterator[Piece]:
    """What stands in a segment from an offset on, up to where it ended when the reading began.

    Bytes that are no line are a piece of kind `damage`; a line that is still being written is the end.

    Raises:
        FileNotFoundError: the keeper has retired it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        size = os.fstat(descriptor).st_size  # a writer that is faster than we are has no end
        while offset < size:
            piece = _piece(descriptor, offset)
            if piece.kind == "damage" and piece.end >= size:
                if is_written(path):
                    return
                piece = segments.read(descriptor, offset, owner_gone=True)  # as its writer has left it
            if piece.end <= offset:
                return
            yield piece
            offset = piece.end
    finally:
        os.close(descriptor)


def is_written(path: Path) -> bool:
    """Whether the writer of a segment lives: whether somebody holds its lock, which is taken for a moment."""
    with suppress(OSError):
        descriptor = disk.open_locked(path, os.O_RDONLY)
        if descriptor is None:
            return True
        disk.close_locked(descriptor)
    return False


def _piece(descriptor: int, offset: int) -> Piece:
    piece = segments.read(descriptor, offset, owner_gone=False)
    if piece.kind != "pending":
        return piece
    damage = segments.read(descriptor, offset, owner_gone=True)
    # What looked like damage in front of a whole line was, perhaps, a line whose last bytes had not come: look again.
    piece = segments.read(descriptor, offset, owner_gone=False)
    return damage if piece.kind == "pending" else piece
