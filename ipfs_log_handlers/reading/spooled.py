"""A segment of the spool, read beside the writer that may still append to it. Takes no lock."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ipfs_log_handlers.home import segments
from ipfs_log_handlers.home.segments import Piece

__all__ = ["pieces"]


def pieces(path: Path, offset: int) -> Iterator[Piece]:
    """What stands in a segment from an offset on, up to where it ended when the reading began.

    Damage is passed over; a line that is still being written is the end.

    Raises:
        FileNotFoundError: the keeper has retired it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        size = os.fstat(descriptor).st_size  # a writer that is faster than we are has no end
        while offset < size:
            piece = _piece(descriptor, offset)
            if piece.end <= offset:
                return
            yield piece
            offset = piece.end
    finally:
        os.close(descriptor)


def _piece(descriptor: int, offset: int) -> Piece:
    piece = segments.read(descriptor, offset, owner_gone=False)
    if piece.kind != "pending":
        return piece
    damage = segments.read(descriptor, offset, owner_gone=True)
    # What looked like damage in front of a whole line was, perhaps, a line whose last bytes had not come: look again.
    piece = segments.read(descriptor, offset, owner_gone=False)
    return damage if piece.kind == "pending" else piece
