"""List the unsealed lines of a home as parts of a query."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ipfs_log_handlers.home import disk, segments
from ipfs_log_handlers.home.last_seqs import LastSeqs
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.home.logs import Log
from ipfs_log_handlers.home.os_errors import explain
from ipfs_log_handlers.home.segments import SegmentName
from ipfs_log_handlers.reader.gaps import Gaps
from ipfs_log_handlers.reader.lines import NO_SEQ, seq_of
from ipfs_log_handlers.reader.parts import FIRST_MOMENT, LAST_MOMENT, time_of
from ipfs_log_handlers.spool.tail import spans_of

__all__ = ["SpoolPart", "open_segments", "removed_unconsumed", "spooled"]

_MAX_HELD_BYTES: Final = 32 << 20
"""Bytes of lines of the spool that are kept in memory; further segments are read a second time when they are due."""


def open_segments(subsystem_dir: SubsystemDir, gaps: Gaps) -> dict[SegmentName, int]:
    """Open every segment; report one that is not a file. The caller closes the descriptors.

    Raises:
        OSError: a segment cannot be opened; none stays open.
    """
    opened: dict[SegmentName, int] = {}
    try:
        for name in segments.listing(subsystem_dir.spool):
            with suppress(FileNotFoundError):
                try:
                    opened[name] = segments.open_segment(subsystem_dir.spool / name.file_name)
                except disk.WrongFileError as error:
                    gaps.segment("", name, explain(error))
    except BaseException:
        for descriptor in opened.values():
            disk.close(descriptor)
        raise
    return opened


def spooled(
    subsystem_dir: SubsystemDir, opened: Mapping[SegmentName, int], logs: Sequence[Log], gaps: Gaps
) -> Iterator[SpoolPart]:
    """List the segments after the offsets that the newest head has consumed.

    Args:
        subsystem_dir: the subsystem.
        opened: the segments, opened before the logs were read.
        logs: its logs, oldest first.
        gaps: reports damage.
    """
    newest = logs[-1] if logs else None
    consumed = _consumed(newest)
    sealed_through = _sealed_through(logs) if newest is not None and newest.sealed is None else {}
    held = 0
    for number, (name, descriptor) in enumerate(opened.items()):
        path = subsystem_dir.spool / name.file_name
        part = SpoolPart(subsystem_dir.name, newest, number, name, path, consumed.get(str(name), 0))
        part.after_seq = sealed_through.get(name.writer, 0)
        held += part.look(descriptor, gaps, hold=held < _MAX_HELD_BYTES)
        if part.records:
            yield part


def removed_unconsumed(
    subsystem_dir: SubsystemDir, opened: Mapping[SegmentName, int], logs: Sequence[Log]
) -> list[SegmentName]:
    """List the segments that have been removed since, and that the newest head does not name.

    Without a head, none is listed: then sequence numbers show which lines are in batches.
    """
    newest = logs[-1] if logs else None
    if newest is not None and newest.sealed is None:
        return []
    consumed = _consumed(newest)
    return [
        name for name in opened if str(name) not in consumed and not disk.exists(subsystem_dir.spool / name.file_name)
    ]


def _consumed(newest: Log | None) -> Mapping[str, int]:
    return newest.sealed.consumed if newest is not None and newest.sealed is not None else {}


def _sealed_through(logs: Sequence[Log]) -> dict[str, int]:
    """Find the last sequence number of each writer that is in a batch, to find the consumed lines without a head."""
    seqs = LastSeqs()
    for log in logs:
        for manifest in log.log_dir.manifests():
            seqs.take(manifest)
    return seqs.through


class SpoolPart:
    """The lines of one segment that are in no batch."""

    sealed = False
    origin: str | None = None

    def __init__(
        self, subsystem: str, newest: Log | None, number: int, name: SegmentName, path: Path, offset: int
    ) -> None:
        self.subsystem = subsystem
        self.log = newest.name if newest is not None else ""
        self.index = newest.newest + 1 if newest is not None else 0
        self.number = number
        self.first, self.last = LAST_MOMENT, FIRST_MOMENT
        self.records = self.size = 0
        self.after_seq = 0
        """Sequence number up to which the lines of this writer are in batches."""
        self.writer = name.writer
        """The process that wrote the lines."""
        self.last_seq = 0
        """Sequence number of the last line."""
        self._name, self._path, self._offset = name, path, offset
        self._held: list[bytes] | None = None
        self._descriptor: int | None = None

    def look(self, descriptor: int, gaps: Gaps, *, hold: bool) -> int:
        """Read the lines once, count them, and keep them in memory or the segment open; return the kept bytes."""
        lines: list[bytes] = []
        for line in self._read(descriptor, gaps):
            time = time_of(line)
            self.first = FIRST_MOMENT if time is None else min(self.first, time)
            self.last = LAST_MOMENT if time is None else max(self.last, time)
            self.records += 1
            self.size += len(line)
            seq = seq_of(line)
            if seq < NO_SEQ:
                self.last_seq = seq
            if hold:
                lines.append(line)
        if hold:
            self._held = lines
            return self.size
        self._descriptor = os.dup(descriptor)
        return 0

    def _read(self, descriptor: int, gaps: Gaps | None) -> Iterator[bytes]:
        for span in spans_of(descriptor, self._path, self._offset):
            if span.kind == "damage" and gaps is not None:
                gaps.span(self.log, self._name, span)
            yield from (line for line in span.records if not self.after_seq or seq_of(line) > self.after_seq)

    def zone(self) -> Mapping[str, Any]:
        """Return an empty zone map: unsealed lines have none."""
        return {}

    def manifest(self) -> None:
        """Return nothing: lines have a manifest once they are sealed."""

    def open_text(self) -> None:
        """Return `None`: use `lines`, which is fast."""

    def may_hold(self, name: str, hashes: Sequence[int]) -> bool:
        """Say yes: lines have filters once they are sealed."""
        del name, hashes
        return True

    def lines(self) -> Iterator[bytes]:
        """Yield the lines that were durable when the part was made."""
        if self._held is not None:
            yield from self._held
        elif self._descriptor is not None:
            lines = self._read(self._descriptor, None)
            yield from (line for line, _ in zip(lines, range(self.records), strict=False))

    def lines_or_error(self) -> Iterator[bytes]:
        """Yield the same lines: they are in memory, or in an open file."""
        return self.lines()

    def __del__(self) -> None:
        if self._descriptor is not None:
            disk.close(self._descriptor)
