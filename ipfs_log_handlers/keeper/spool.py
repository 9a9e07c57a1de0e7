"""The spool of one subsystem as the keeper sees it: what waits, in which order it is taken, and what can go.

Order: each writer's segments by number; a segment is not touched before the one before it is closed and wholly
consumed, so the order of a process is kept. Writers take turns.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from ipfs_log_handlers.format.line import BESIDE_JSON
from ipfs_log_handlers.home import archives, disk, segments
from ipfs_log_handlers.home.layout import Room
from ipfs_log_handlers.home.segments import Piece, SegmentName
from ipfs_log_handlers.keeper.draft import last_seq

__all__ = ["Spool", "Taken", "Waiting"]

_COUNT_CHUNK: Final = 128 << 10


@dataclass(frozen=True, slots=True)
class Waiting:
    """What lies in a spool and in no batch."""

    records: int = 0
    """Lines that wait: counted, not yet checked."""
    bytes: int = 0
    """Their bytes."""
    since: float | None = None
    """The keeper's monotonic clock when it first saw the oldest of them; `None` when nothing waits."""


@dataclass(frozen=True, slots=True)
class Taken:
    """One piece of one segment, in the order in which batches take them."""

    name: SegmentName
    """Which segment."""
    piece: Piece
    """What stands there."""
    descriptor: int
    """The segment, open for reading until the next piece is asked for."""


@dataclass(slots=True)
class _Counted:
    upto: int
    lines: int
    since: float | None


class Spool:
    """Counts and walks the segments of one subsystem. One keeper at a time uses it."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.troubles: dict[SegmentName, str] = {}
        """Segments that could not be read when they were last walked, and why: skipped, tried again."""
        self._counted: dict[SegmentName, _Counted] = {}
        self._served: str = ""
        self._unsettled = False

    def survey(self, consumed: Mapping[str, int], now: float) -> Waiting:
        """Look what waits beyond the consumed offsets; only bytes that are new since the last survey are read.

        Args:
            consumed: the head's offsets.
            now: the keeper's monotonic clock.
        """
        records = size = 0
        since: float | None = None
        counted: dict[SegmentName, _Counted] = {}
        for name in segments.listing(self.room.spool):
            start = consumed.get(str(name), 0)
            seen = self._counted.get(name)
            if seen is None or seen.upto < start:
                seen = _Counted(start, 0 if start else -1, None)  # the header is no record
            self._count(name, seen)
            counted[name] = seen
            lines = seen.lines if seen.lines > 0 else int(seen.upto > start and self._left_behind(name, start))
            if not lines:
                seen.since = None
                continue
            seen.since = now if seen.since is None else seen.since
            records += lines
            size += seen.upto - start
            since = seen.since if since is None else min(since, seen.since)
        self._counted = counted
        return Waiting(records, size, since)

    def _left_behind(self, name: SegmentName, start: int) -> bool:
        """Whether a writer that is gone left something behind that is no line: a batch must pass it."""
        with suppress(OSError):
            descriptor = disk.open_locked(self.room.spool / name.file_name, os.O_RDONLY)
            if descriptor is not None:
                try:
                    return not _empty_from(descriptor, start)
                finally:
                    disk.close_locked(descriptor)
        return False

    def offsets_behind(self, floors: Mapping[str, int]) -> dict[str, int]:
        """Where the records behind known sequence numbers begin: what a head that was lost had consumed.

        Args:
            floors: last sequence number of each writer that is in a batch.
        """
        found: dict[str, int] = {}
        for name in segments.listing(self.room.spool):
            for taken in self._walk_segment(name, 0, _COUNT_CHUNK) if name.writer in floors else ():
                end = taken.piece.start
                for line in taken.piece.records:
                    end += len(line) + BESIDE_JSON
                    if last_seq([line]) <= floors[name.writer]:
                        found[str(name)] = end
        return found

    def _count(self, name: SegmentName, seen: _Counted) -> None:
        path = self.room.spool / name.file_name
        with suppress(OSError):
            if os.stat(path, follow_symlinks=False).st_size <= seen.upto:
                return
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                while chunk := os.pread(descriptor, _COUNT_CHUNK, seen.upto):
                    seen.lines += chunk.count(b"\n")
                    seen.upto += len(chunk)
            finally:
                os.close(descriptor)

    def took(self, name: SegmentName, records: int) -> None:
        """Tell that records of a segment were sealed, so that the survey need not count again."""
        seen = self._counted.get(name)
        if seen is not None:
            seen.lines = max(0, seen.lines - records)
            seen.since = None
        self._served = name.writer

    def correct(self, found: Mapping[SegmentName, int]) -> None:
        """Take over what a walk really found, where the count of lines was wrong (damage, a header twice)."""
        for name, seen in self._counted.items():
            seen.lines = found.get(name, 0)

    def sizes(self) -> dict[str, int]:
        """Bytes of each segment now, and 1 for each archive: what a flush that is asked for now has to wait for."""
        found = {str(each): 1 for each in archives.listing(self.room.archived)}
        for name in segments.listing(self.room.spool):
            with suppress(FileNotFoundError):
                found[str(name)] = os.stat(self.room.spool / name.file_name, follow_symlinks=False).st_size
        return found

    def walk(self, consumed: Mapping[str, int], most: int) -> Generator[Taken, None, None]:
        """Everything beyond the consumed offsets, in the order in which batches take it.

        Args:
            consumed: the head's offsets.
            most: bytes to read in one piece; the work between two pieces stays as short.

        Yields:
            Pieces of kind records, header, control, blank or damage. `damage` only where the owner is gone.
        """
        names = segments.listing(self.room.spool)
        self.troubles = {name: why for name, why in self.troubles.items() if name in names}
        writers = [(writer, list(group)) for writer, group in groupby(names, key=lambda name: name.writer)]
        later = [each for each in writers if each[0] > self._served]
        for _, group in later + writers[: len(writers) - len(later)]:
            for name in group:
                if not (yield from self._walk_segment(name, consumed.get(str(name), 0), most)):
                    break

    def _walk_segment(self, name: SegmentName, offset: int, most: int) -> Generator[Taken, None, bool]:
        """Yield the pieces of a segment; return whether the next one of its writer may be taken."""
        try:
            descriptor, gone = self._open(name)
        except FileNotFoundError:
            return True
        except OSError as error:
            self.troubles[name] = str(error)
            return False
        self.troubles.pop(name, None)
        try:
            while True:
                try:
                    piece = segments.read(descriptor, offset, owner_gone=gone, most=most)
                except OSError as error:
                    self.troubles[name] = str(error)
                    return False
                if piece.kind in ("end", "pending"):
                    return gone
                yield Taken(name, piece, descriptor)
                offset = piece.end
        finally:
            if gone:
                disk.close_locked(descriptor)
            else:
                os.close(descriptor)

    def _open(self, name: SegmentName) -> tuple[int, bool]:
        """A descriptor for reading, and whether it holds the segment's lock: its writer is gone or has closed it."""
        path = self.room.spool / name.file_name
        descriptor = disk.open_locked(path, os.O_RDONLY)
        if descriptor is not None:
            return descriptor, True
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), False

    def retire(self, consumed: Mapping[str, int]) -> bool:
        """Unlink the segments that nobody writes to and nothing waits in; the head must be on the disk by now.

        Returns:
            Whether any went; then the removal survives a power cut.
        """
        segments.sweep(self.room.spool)
        gone = False
        for name in segments.listing(self.room.spool):
            path = self.room.spool / name.file_name
            start = consumed.get(str(name), 0)
            with suppress(OSError):
                if start and os.stat(path, follow_symlinks=False).st_size > start:
                    continue
                descriptor = disk.open_locked(path, os.O_RDONLY)
                if descriptor is None:
                    continue
                try:
                    if _empty_from(descriptor, start):
                        disk.remove(path)
                        gone = self._unsettled = True
                finally:
                    disk.close_locked(descriptor)
        self.settle()
        return gone

    def settle(self) -> None:
        """Make removals survive a power cut; before that no offset may leave the head.

        Raises:
            OSError: the disk refuses.
        """
        if self._unsettled:
            disk.sync_directory(self.room.spool)
            self._unsettled = False


def _empty_from(descriptor: int, offset: int) -> bool:
    """Whether nothing but a header and empty lines stands in a segment from an offset on."""
    while True:
        piece = segments.read(descriptor, offset, owner_gone=True)
        if piece.kind not in ("header", "blank"):
            return piece.kind == "end"
        offset = piece.end
