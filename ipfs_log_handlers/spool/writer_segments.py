"""Keep the segments of one writer: begin the next one, check the open one, go on with a full one, end them.

A segment is not ours any more when the program closed our descriptor, and its number may be another file by now, or
when the home was removed. Then the segment is left alone, the next record begins another one, and lines that did not
reach the segment are counted as dropped (docs/home.md 6).

The lock of the writer guards all of this. After a fork the child begins with segments of its own.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from typing import Final

from ipfs_log_handlers.accelerator.state import WriterSegmentsBase
from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.concurrency.clock import monotonic
from ipfs_log_handlers.config import Settings
from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.format.moment import rfc3339
from ipfs_log_handlers.home import disk, reserve, segments
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.policy import Policy
from ipfs_log_handlers.home.segments import Header, Segment, SegmentName
from ipfs_log_handlers.home.space import spool_bytes
from ipfs_log_handlers.spool.dropped import DroppedRecords, drop_reason
from ipfs_log_handlers.subsystems.registry import Subsystem

__all__ = ["CHECK_S", "REPORT_BYTES", "RESERVE_CHECK_BYTES", "SEGMENT_BYTES", "WriterSegments"]

SEGMENT_BYTES: Final = 8 << 20
"""Bytes at which a segment is closed and the next one begins. Deleting one segment frees as much."""
_MIN_SEGMENT_BYTES: Final = 28 << 10
"""Size of a segment when `max_spool_bytes` is very small."""
REPORT_BYTES: Final = 8 << 10
"""Bytes of `max_spool_bytes` that records may not take: at its end a process reports there what it had to drop."""
RESERVE_CHECK_BYTES: Final = 64 << 10
"""Bytes that are appended between two checks of the reserve: a segment may take so much of the space that the keeper
has freed for sealing."""
_RETRY_S: Final = 0.1
"""Seconds before a disk that refused to make a segment is tried again."""
_POLL_S: Final = _RETRY_S / 5
"""Seconds between two tries of a record that waits for space with `when_full="block"`."""
_EXTENSION_BYTES: Final = 128 << 10
"""Bytes by which a full segment may grow when the next one cannot be made, until the next attempt."""
_MAX_EXTENDED_BYTES: Final = segments.MAX_BYTES - (64 << 20) - REPORT_BYTES
"""Largest size of such a segment: after it, the longest record and a report of dropped records still fit."""
CHECK_S: Final = 0.0002
"""Seconds after a check of the descriptor in which the next check is left out. In so short a time no program closes its
descriptors and opens so many files that one of them gets the high number of our descriptor."""
_HOME_CHECK_S: Final = 1.0
"""Seconds between two checks that the directory of the home is still the one in which the segment was made."""
_FULL: Final = "the spool is full"
"""The reason for dropped records that did not fit into `max_spool_bytes`."""
_LOST: Final = "the segment was removed"
"""The reason for dropped records that were written to a file which no longer was the segment."""
_WORTH_WAITING: Final = frozenset({_FULL, "ENOSPC", "EDQUOT"})
"""Reasons that end when the keeper or a person frees space; with `when_full="block"` a record waits for free space."""


class WriterSegments(WriterSegmentsBase):
    """Keeps the segments of one writer in one process, and counts the `seq` of its records across all segments.

    Args:
        home: the home.
        subsystem: the subsystem.
        settings: limits and policy.
    """

    __slots__ = (
        "_home", "_home_identity", "_latest", "_next_number", "_policy", "_retry_at", "_settings",
        "_subsystem", "_writer_id", "dropped", "refusal", "refused_by",
    )  # fmt: skip
    current: Segment | None

    def __init__(self, home: HomeDir, subsystem: Subsystem, settings: Settings) -> None:
        self._home = home
        self._subsystem = subsystem
        self._settings = settings
        self._policy: Policy | None = None
        self.current: Segment | None = None
        """The segment that records are appended to; `None`: the next record begins one."""
        self._latest: SegmentName | None = None
        """The segment that was begun last, which may be closed."""
        self.full_size = self._segment_bytes()
        """Size in bytes at which the next record begins a new segment."""
        self.limit = 0
        """Size in bytes up to which records are appended without a further check (`may_grow`)."""
        self.seq = 0
        """Number of the record that was appended or dropped last."""
        self.pid = 0
        self.dropped = DroppedRecords()
        self._next_number = 0
        self._writer_id = ""
        self.check_at = 0.0
        """Time of the next check of the descriptor, by `clock.monotonic`."""
        self._home_identity: tuple[int, int] | None = None
        """Device and inode of the home in which the segment was made; `None`: unknown."""
        self.check_home_at = 0.0
        """When the directory of the home is looked at again, by `clock.monotonic`."""
        self.checked_seq = 0
        """Last `seq` before the last check of the descriptor."""
        self.checked_size = 0
        """Size of the segment at the last check."""
        self._retry_at = 0.0
        """Time of the next attempt to make a segment after an error of the disk, by `clock.monotonic`."""
        self.refusal = ""
        """Why the last attempt to make a segment failed; it is the reason for a dropped record."""
        self.refused_by: Exception | None = None
        """The error that last refused a record or a segment; `None`: a limit of the settings, or no error yet."""

    def of_child(self) -> WriterSegments:
        """Return the segments of a child after a fork. The open segment stays the parent's.

        `home.locked_files` has closed its descriptor in the child. A signal handler may have forked inside a record:
        that goes on with this object, finds no segment here, and is then appended with the new one.
        """
        if self.current is not None:
            self.current.descriptor = -1
            self.current = None
        child = WriterSegments(self._home, self._subsystem, self._settings)
        child._policy = self._policy
        return child

    def configure(self, settings: Settings) -> None:
        """Take over new settings, and end the open segment: the header of the next one says them."""
        self._settings = settings
        self._policy = None
        self.full_size = self._segment_bytes()
        self.end_current()

    def _segment_bytes(self) -> int:
        return min(SEGMENT_BYTES, max(_MIN_SEGMENT_BYTES, self._settings.max_spool_bytes // 8))

    def position(self) -> tuple[SegmentName, int] | None:
        """Return the segment of the last record and the offset after it, -1 when that segment is closed."""
        if self.current is not None:
            return self.current.name, self.current.size
        return None if self._latest is None else (self._latest, -1)

    # -- is the descriptor still the segment?

    def is_ours(self, segment: Segment) -> bool:
        """Check whether the descriptor is still that of the segment, and whether the segment still has a name.

        If not, leave it alone: the program closed it, and its number may be another file; or the home was removed.
        """
        if segment.intact():
            self.note_checked(segment)
            if monotonic() < self.check_home_at or not self._home_was_replaced():
                return True
            self.end_current()  # what was written is in it, wherever the old home lies now
            return False
        self.count_lost(segment, self.seq)
        self.abandon(segment)
        return False

    def _home_was_replaced(self) -> bool:
        """Say whether another directory stands at the path of the home, as after a backup was put in its place.

        A path that leads nowhere, as after `chroot`, or that may not be looked at, says nothing.
        """
        self.check_home_at = monotonic() + _HOME_CHECK_S
        identity = self._identity_of_home()
        return None not in (identity, self._home_identity) and identity != self._home_identity

    def _identity_of_home(self) -> tuple[int, int] | None:
        try:
            status = disk.status(self._home.path)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def note_checked(self, segment: Segment) -> None:
        """Note that all lines so far are in the segment; with `durability="power"` the next record checks again."""
        self.check_at = 0.0 if self._settings.durability == "power" else monotonic() + CHECK_S
        self.checked_seq, self.checked_size = self.seq, segment.size

    def count_lost(self, segment: Segment, last: int) -> None:
        """Count the records up to `last` that were written since the last check and are not in the segment."""
        first = self.checked_seq + 1 + segment.lines_after(self.checked_size)
        for seq in range(first, last + 1):
            self.dropped.note(_LOST, seq)

    # -- the next segment

    def may_grow(self, segment: Segment) -> bool:
        """Return whether records may be appended to a segment that has reached `limit`, and move the limit.

        Not so when the segment is full, and not while sealing uses the reserve: the segment would take the space that
        the keeper needs in order to free space.
        """
        if segment.size >= self.full_size or reserve.is_given_up(self._home.reserve):
            return False
        self.limit = min(segment.size + RESERVE_CHECK_BYTES, self.full_size)
        return True

    def with_room(self, size: int) -> Segment | None:
        """Return the open segment; make the next one where it is full, or go on with it where that fails.

        On a full disk wait as the setting `when_full` says. After an error of the disk, the next attempt comes at most
        ten times a second, unless the record may wait.

        Args:
            size: bytes of the record.

        Returns:
            The segment; `None`: there is none with room, for the reason in `refusal`.
        """
        if self.current is not None and (self.current.size < self.limit or self.may_grow(self.current)):
            return self.current
        now = monotonic()
        deadline = now + self._settings.flush_timeout if self._settings.when_full == "block" else 0.0
        if deadline or now >= self._retry_at:
            while not self.begin(max(self._segment_bytes(), size) + REPORT_BYTES):
                if self.refusal not in _WORTH_WAITING or monotonic() >= deadline:
                    self._retry_at = monotonic() + _RETRY_S
                    break
                clock.pause(_POLL_S)
            else:
                return self.current
        if self.current is not None and self._extend(self.current, size):
            return self.current
        return None

    def _extend(self, full: Segment, size: int) -> bool:
        """Go on with a full segment where no next one can be made: its open file takes what the directory refuses.

        So it is after the process gave its privileges away, or when no file can be opened any more. Where there is no
        room on the disk, the full segment is closed instead, so that it can be sealed and removed.

        Returns:
            Whether a record of `size` bytes may be appended to it.
        """
        if self.refusal in _WORTH_WAITING:
            self.end_current()
            return False
        limit = min(_MAX_EXTENDED_BYTES, self._settings.max_spool_bytes - REPORT_BYTES - size)
        if full.size >= limit:
            return False
        self.limit = min(full.size + _EXTENSION_BYTES, limit)
        return True

    def begin(self, needed: int) -> bool:
        """Make the next segment if `needed` more bytes fit into `max_spool_bytes`, and end the one before it.

        Returns:
            Whether it is there; if not, `refusal` says why.
        """
        try:
            subsystem_dir = self._home.subsystem_dir(self._subsystem.name)
            replicas = self._settings.replicas if self._settings.kubo else 0
            if spool_bytes(subsystem_dir, replicas) + needed > self._settings.max_spool_bytes:
                self._home.make(sync=False)  # where the home is refused, that is the reason to name
                self.refusal, self.refused_by = _FULL, None
                return False
            if reserve.is_in_use(self._home.reserve):
                self.note_refusal(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
                return False
            segment = segments.create(
                subsystem_dir.spool, self.header(), self.draw_number(), sync=self._settings.durability == "power"
            )
        except (OSError, HomeError, ValueError) as error:
            self.note_refusal(error)
            return False
        full, self.current = self.current, segment
        self._latest = segment.name
        self._home_identity, self.check_home_at = self._identity_of_home(), monotonic() + _HOME_CHECK_S
        self.note_checked(segment)
        self.full_size = self._segment_bytes()
        self.limit = min(segment.size + RESERVE_CHECK_BYTES, self.full_size)
        if full is not None:
            self._end(full)
        reserve.make_first(self._home.reserve, with_files=self._settings.keeper == "none")
        return True

    def draw_number(self) -> int:
        """Return the number of the next segment. A number whose segment was not completely made is not used again."""
        self._next_number += 1
        return self._next_number - 1

    def header(self) -> Header:
        """Return the header of the next segment. The first call draws the identity of the writer."""
        if not self._writer_id:
            self._writer_id = os.urandom(8).hex()  # pid and start time would repeat after exec and in containers
            self.pid = os.getpid()
        if self._policy is None:  # made once, since nothing can be imported while the interpreter ends
            self._policy = Policy.of(self._settings, self._subsystem)
        return Header(
            writer=self._writer_id,
            subsystem=self._subsystem.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=rfc3339(time.time_ns() // 1000),
            settings=self._policy.as_json(),
        )

    # -- what the disk refuses

    def note_refusal(self, error: Exception) -> None:
        """Remember the error without its traceback, which would keep records in memory."""
        self.refusal, self.refused_by = drop_reason(error), error.with_traceback(None)

    def retry_soon(self) -> None:
        """Let the next attempt to make a segment come a little later: here only a record failed, not a new segment."""
        self._retry_at = monotonic() + _RETRY_S / 10

    def drop(self, reason: str) -> None:
        """Count a record as dropped. Its `seq` is not used again, so that a reader sees the gap."""
        self.seq = seq = self.seq + 1
        self.dropped.note(reason, seq)

    # -- the end of a segment

    def abandon(self, segment: Segment) -> None:
        """Close a segment for good: the next line must not follow an incomplete line."""
        segment.close()
        self.current = None

    def end_current(self) -> None:
        """End the open segment, so that any keeper may consume all of it."""
        segment, self.current = self.current, None
        if segment is not None:
            self._end(segment)

    def _end(self, segment: Segment) -> None:
        """Close a segment, synced where its records must survive a power cut."""
        if self._settings.durability == "power":
            try:
                disk.sync_data(segment.descriptor)
            except OSError:
                self.dropped.note_not_synced()
        segment.close()
