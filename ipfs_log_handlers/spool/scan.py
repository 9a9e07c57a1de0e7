"""Scan the spool of one subsystem for the keeper: count waiting lines, read them in order, and delete old segments.

The segments of one writer are read by number. A segment is not read before the previous one is closed and completely
consumed, so the order of records within a process is kept. Writers take turns.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from ipfs_log_handlers.format.line import BESIDE_JSON
from ipfs_log_handlers.home import acts, disk, pending_archives, segments
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.home.os_errors import explain
from ipfs_log_handlers.home.segments import SegmentName, Span
from ipfs_log_handlers.stats.decoder import last_seq

__all__ = ["Backlog", "ScannedSpan", "Spool"]

_READ_BYTES: Final = 128 << 10
"""Bytes that are read from a segment at a time while lines are counted."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """Lines that are in the spool and in no batch."""

    records: int = 0
    """Number of lines: counted, not yet checked."""
    bytes: int = 0
    """Their size in bytes."""
    since: float | None = None
    """Time at which the keeper first saw the oldest line, by its monotonic clock; `None` if no line waits."""


@dataclass(frozen=True, slots=True)
class ScannedSpan:
    """One part of one segment, in the order in which batches take them."""

    name: SegmentName
    """The segment."""
    span: Span
    """The part of it."""
    descriptor: int
    """The segment, open for reading until the next part is requested."""


@dataclass(slots=True)
class _Counted:
    """The counts of one segment so far."""

    end: int
    """Offset up to which lines are counted."""
    lines: int
    """Lines up to `end` that are in no batch."""
    since: float | None
    """Time at which the keeper first saw the oldest of these lines, by its monotonic clock."""


class Spool:
    """Count and scan the segments of one subsystem. One keeper at a time uses it.

    Args:
        subsystem_dir: the directory of the subsystem.
    """

    def __init__(self, subsystem_dir: SubsystemDir) -> None:
        self.subsystem_dir = subsystem_dir
        self.unreadable: dict[SegmentName, str] = {}
        """Segments that could not be read in the last scan, and why. They are skipped and tried again."""
        self._counted: dict[SegmentName, _Counted] = {}
        self._last_writer: str = ""
        self._removals_unsynced = False

    def backlog(self, consumed: Mapping[str, int], now: float) -> Backlog:
        """Count the lines after the consumed offsets. Only bytes that are new since the last call are read.

        Args:
            consumed: offset in each segment up to which its lines are in batches, from the head file.
            now: the keeper's monotonic clock, seconds.
        """
        records = size = 0
        since: float | None = None
        counted: dict[SegmentName, _Counted] = {}
        for name in segments.listing(self.subsystem_dir.spool):
            start = consumed.get(str(name), 0)
            count = self._counted.get(name)
            if count is None or count.end < start:
                count = _Counted(start, 0 if start else -1, None)  # the header is not a record
            self._count_new_lines(name, count)
            counted[name] = count
            lines = count.lines if count.lines > 0 else int(count.end > start and self._remainder(name, start))
            if not lines:
                count.since = None
                continue
            count.since = now if count.since is None else count.since
            records += lines
            size += count.end - start
            since = count.since if since is None else min(since, count.since)
        self._counted = counted
        return Backlog(records, size, since)

    def _remainder(self, name: SegmentName, start: int) -> bool:
        """Check for bytes that are not a line in a segment without a writer: a batch must still skip them."""
        with suppress(OSError):
            descriptor = disk.open_locked(self.subsystem_dir.spool / name.file_name, os.O_RDONLY)
            if descriptor is not None:
                try:
                    return not _empty_from(descriptor, start)
                finally:
                    disk.close_locked(descriptor)
        return False

    def offsets_after(self, sealed_through: Mapping[str, int]) -> dict[str, int]:
        """Find the offsets that a lost head file had consumed, from the sequence numbers in the batches.

        Args:
            sealed_through: last sequence number of each writer that is in a batch.

        Returns:
            Offset in each segment after the last record whose number is in a batch.
        """
        offsets: dict[str, int] = {}
        for name in segments.listing(self.subsystem_dir.spool):
            for scanned in self._scan_segment(name, 0, _READ_BYTES) if name.writer in sealed_through else ():
                end = scanned.span.start
                for line in scanned.span.records:
                    end += len(line) + BESIDE_JSON
                    if last_seq([line]) <= sealed_through[name.writer]:
                        offsets[str(name)] = end
        return offsets

    def _count_new_lines(self, name: SegmentName, count: _Counted) -> None:
        path = self.subsystem_dir.spool / name.file_name
        with suppress(OSError):
            if disk.status(path).st_size <= count.end:
                return
            descriptor = segments.open_segment(path)
            try:
                while True:
                    count.end = disk.next_data(descriptor, count.end)
                    chunk = os.pread(descriptor, _READ_BYTES, count.end)
                    if not chunk:
                        break
                    count.lines += chunk.count(b"\n")
                    count.end += len(chunk)
            finally:
                disk.close(descriptor)

    def note_sealed(self, name: SegmentName, records: int) -> None:
        """Subtract sealed records from the count of a segment, so that `backlog` does not count it again."""
        count = self._counted.get(name)
        if count is not None:
            count.lines = max(0, count.lines - records)
            count.since = None
        self._last_writer = name.writer

    def correct_counts(self, lines: Mapping[SegmentName, int]) -> None:
        """Replace the counts by the results of a scan: damage and a repeated header were first counted as lines."""
        for name, count in self._counted.items():
            count.lines = lines.get(name, 0)

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each segment, and 1 for each waiting archive: the target of a flush request."""
        sizes = {str(archive): 1 for archive in pending_archives.listing(self.subsystem_dir.archived)}
        sizes |= dict.fromkeys(acts.names(self.subsystem_dir), 1)
        for name in segments.listing(self.subsystem_dir.spool):
            with suppress(FileNotFoundError):
                sizes[str(name)] = disk.status(self.subsystem_dir.spool / name.file_name).st_size
        return sizes

    def scan(self, consumed: Mapping[str, int], max_bytes: int) -> Generator[ScannedSpan, None, None]:
        """Yield all spans after the consumed offsets, in the order of the batches.

        Args:
            consumed: offset in each segment up to which its lines are in batches, from the head file.
            max_bytes: bytes to read at a time; this bounds the work between two spans.

        Yields:
            Spans of kind records, header, control, blank or damage. `damage` only where the segment has no writer.
        """
        names = segments.listing(self.subsystem_dir.spool)
        self.unreadable = {name: reason for name, reason in self.unreadable.items() if name in names}
        writers = [(writer, list(group)) for writer, group in groupby(names, key=lambda name: name.writer)]
        next_writers = [entry for entry in writers if entry[0] > self._last_writer]
        for _, group in next_writers + writers[: len(writers) - len(next_writers)]:
            for name in group:
                if not (yield from self._scan_segment(name, consumed.get(str(name), 0), max_bytes)):
                    break

    def _scan_segment(self, name: SegmentName, offset: int, max_bytes: int) -> Generator[ScannedSpan, None, bool]:
        """Yield the spans of a segment; return whether the next segment of its writer may be read."""
        try:
            descriptor, closed = self._open(name)
        except FileNotFoundError:
            return True
        except OSError as error:
            self.unreadable[name] = explain(error)
            return False
        self.unreadable.pop(name, None)
        try:
            while True:
                try:
                    span = segments.read(descriptor, offset, owner_gone=closed, most=max_bytes)
                except OSError as error:
                    self.unreadable[name] = explain(error)
                    return False
                if span.kind in ("end", "pending"):
                    return closed
                yield ScannedSpan(name, span, descriptor)
                offset = span.end
        finally:
            if closed:
                disk.close_locked(descriptor)
            else:
                disk.close(descriptor)

    def _open(self, name: SegmentName) -> tuple[int, bool]:
        """Open a segment; the second value is true if its lock is ours, because its writer has ended or closed it."""
        path = self.subsystem_dir.spool / name.file_name
        descriptor = disk.open_locked(path, os.O_RDONLY)
        if descriptor is not None:
            return descriptor, True
        return segments.open_segment(path), False

    def retire(self, consumed: Mapping[str, int]) -> bool:
        """Remove the segments without a writer and without unsealed lines. The head must be on the disk already.

        Args:
            consumed: the offsets in the head file.

        Returns:
            Whether a segment was removed; then the removal survives a power cut.
        """
        segments.sweep(self.subsystem_dir.spool)
        removed = False
        for name in segments.listing(self.subsystem_dir.spool):
            path = self.subsystem_dir.spool / name.file_name
            start = consumed.get(str(name), 0)
            with suppress(OSError):
                if start and disk.status(path).st_size > start:
                    continue
                descriptor = disk.open_locked(path, os.O_RDONLY)
                if descriptor is None:
                    continue
                try:
                    if _empty_from(descriptor, start):
                        disk.remove(path)
                        removed = self._removals_unsynced = True
                finally:
                    disk.close_locked(descriptor)
        self.sync_removals()
        return removed

    def sync_removals(self) -> None:
        """Sync removals, so that they survive a power cut. Before that, no offset may be removed from the head file.

        Raises:
            OSError: the disk refuses.
        """
        if self._removals_unsynced:
            disk.sync_directory(self.subsystem_dir.spool)
            self._removals_unsynced = False


def _empty_from(descriptor: int, offset: int) -> bool:
    """Check that only a header and empty lines follow in a segment."""
    while True:
        span = segments.read(descriptor, offset, owner_gone=True)
        if span.kind not in ("header", "blank"):
            return span.kind == "end"
        offset = span.end
