"""Report the dropped records of a writer: in a control line of its segment, or in a file of the reserve.

While the disk is full, the counts are in a small file with reserved space (`home.drop_reports`), so that they survive a
SIGKILL. All of this happens under the lock of the writer.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from ipfs_log_handlers.concurrency.clock import monotonic
from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.home import drop_reports
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.segments import Segment
from ipfs_log_handlers.spool.dropped import REENTRANT
from ipfs_log_handlers.spool.writer_segments import WriterSegments

__all__ = ["DropReporter"]

_SAVE_INTERVAL_S: Final = 1.0
"""Smallest number of seconds between two updates of the count of dropped records in its reserved file."""


class DropReporter:
    """Report the dropped records of one writer.

    Args:
        home: the home.
        segments: the segments of the writer.
    """

    __slots__ = ("_file", "_home", "_save_at", "_segments")

    def __init__(self, home: HomeDir, segments: WriterSegments) -> None:
        self._home = home
        self._segments = segments
        self._file: Segment | None = None
        """The file of the reserve, taken while the disk refuses segments."""
        self._save_at = 0.0
        """Time of the next update of the counts in that file."""

    def report(self, segment: Segment) -> bool:
        """Append the control line that says how many records were dropped, why, and which; `False` if that fails."""
        if self.finish():
            return True
        control_line = self._line()
        try:
            written = os.write(segment.descriptor, control_line)
            segment.size += written
            if written != len(control_line):
                raise OSError(errno.ENOSPC, "a short write")
        except OSError as error:
            self._segments.end_current()
            self._segments.note_refusal(error)
            return False
        self._segments.dropped.reported()
        if segment.intact():
            self._segments.note_checked(segment)  # the control line is no record that a later check may count
        return True

    def _line(self) -> bytes:
        dropped = self._segments.dropped
        while dropped.queue_overflow:
            dropped.queue_overflow -= 1
            self._segments.drop(REENTRANT)
        return dropped.line()

    def save_when_due(self) -> None:
        """Write the counts into the file of the reserve, at most once a second."""
        if monotonic() >= self._save_at:
            self.save()

    def save(self) -> bool:
        """Write the counts into the file of the reserve.

        Returns:
            Whether they were written; if not, the control line of a segment reports them later.
        """
        self._save_at = monotonic() + _SAVE_INTERVAL_S
        try:
            header = self._segments.header()
            if self._file is None:
                self._file = drop_reports.take(self._home, header, self._segments.draw_number())
            if self._file is None:
                return False
            drop_reports.write(self._file, header, self._line())
        except (OSError, HomeError, ValueError):
            file, self._file = self._file, None
            if file is not None:
                drop_reports.discard(file)
            return False
        self._segments.dropped.saved()
        return True

    def finish(self) -> bool:
        """Write the final counts into the file of the reserve, and move it into the spool.

        Returns:
            Whether this file reports all dropped records; `False` also if there is no such file.
        """
        if self._file is None or not self.save():
            return False
        file, self._file = self._file, None
        if file is not None:
            drop_reports.finish(self._home, file)
        self._segments.dropped.reported()
        return True
