"""Make records durable: append each as one line to a segment, with one `write(2)`.

There is one writer for each process, home and subsystem. When `append` returns, the record survives a SIGKILL of the
program (with `durability="power"`: a power cut), or it is counted as dropped. It costs one encode, one checksum and one
system call, under one lock. The same lock guards `seq`, so the order in the file is the order of `seq`.

A reentrant record is one that is logged while its own thread is inside the writer: by a signal handler, a `__del__`, or
a `__str__` that logs. It is queued, and the outer call appends it before it returns.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ipfs_log_handlers.accelerator.state import WriterBase
from ipfs_log_handlers.concurrency import clock, fork
from ipfs_log_handlers.concurrency.clock import monotonic
from ipfs_log_handlers.concurrency.fork import FORK_HANDLED
from ipfs_log_handlers.concurrency.threads import NativeLock, get_ident, ownership_test
from ipfs_log_handlers.config import Settings
from ipfs_log_handlers.format.line import BEFORE_JSON, crc32
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.segments import Segment, SegmentName
from ipfs_log_handlers.spool.drop_reporter import DropReporter
from ipfs_log_handlers.spool.dropped import drop_reason, why_dropped
from ipfs_log_handlers.spool.power_sync import PowerSync
from ipfs_log_handlers.spool.writer_segments import REPORT_BYTES, WriterSegments
from ipfs_log_handlers.subsystems.registry import Subsystem

__all__ = ["Writer"]

_MAX_REENTRANT: Final = 10_000
"""Reentrant records that are queued; more are counted as dropped."""
_RETRY_S: Final = 0.02
"""Seconds between two tries of a record that waits for space with `when_full="block"`."""


class Writer(WriterBase):
    """Appends the records of one process to one subsystem of one home.

    `append` is for every record. The function of a call site (`ingest.call_site`) appends plain records itself, with
    the lines of `put` and the attributes `lock`, `segments`, `is_inside`, `reentrant` and `after_append`: a call into
    this class would take 5 % of the time of a record.

    Args:
        home: the home.
        subsystem: the subsystem.
        settings: limits and policy.
        on_first_record: called after the first record of this process, outside all locks.
    """

    __slots__ = (
        "_drop_reporter", "_home", "_on_first_record", "_power_sync", "_retried", "_retry_until", "_settings",
        "home_path", "incomplete", "reentrant", "subsystem",
    )  # fmt: skip
    lock: NativeLock
    segments: WriterSegments

    def __init__(
        self, home: HomeDir, subsystem: Subsystem, settings: Settings, on_first_record: Callable[[], None]
    ) -> None:
        self.subsystem = subsystem
        self.home_path = home.path
        self._home = home
        self._settings = settings
        self._on_first_record = on_first_record
        self.incomplete = 0
        """Records without the fields that their event requires."""
        self._begin_process(WriterSegments(home, subsystem, settings))

    def _begin_process(self, segments: WriterSegments) -> None:
        """Set the state of a process that has appended nothing: at the start, and in a child after a fork."""
        self.lock = NativeLock()
        self.is_inside = ownership_test(self.lock)
        """Function that returns whether the calling thread is inside the writer, so that its record is reentrant."""
        self.reentrant: deque[bytes] = deque()
        self.segments = segments
        self._drop_reporter = DropReporter(self._home, segments)
        self._power_sync = PowerSync(self.lock, segments)
        self.after_append: Callable[[], None] | None = self._after_first_record
        """Called after each record, outside the lock."""
        self._retried = b""
        """The record that failed last and was tried again."""
        self._retry_until = 0.0
        """Time until which that record is tried again with `when_full="block"`."""

    def before_fork(self) -> None:
        """Prepare for records that fork hooks of other libraries log before our own hooks after the fork have run.

        In the child, such a record makes the child a writer of its own (`fork.notice`). In the parent, it is queued if
        another thread is inside the writer: that thread may wait for a lock that the forking thread holds.
        """
        forking_thread = get_ident()
        is_owned = ownership_test(self.lock)

        def is_inside() -> bool:
            if get_ident() != forking_thread or is_owned():
                return is_owned()
            if not self.lock.acquire(blocking=False):
                return True
            self.lock.release()
            return False

        self.is_inside = is_inside

    def after_fork_in_parent(self) -> None:
        """Append the records that were queued during the fork."""
        self.is_inside = ownership_test(self.lock)
        if not self.is_inside():
            self.append_reentrant()

    def after_fork_in_child(self) -> None:
        """Begin as a new writer."""
        self._begin_process(self.segments.of_child())

    def configure(self, settings: Settings) -> None:
        """Use new settings. The next record begins a new segment, whose header contains them."""
        with self.lock:
            if settings != self._settings:
                self._settings = settings
                self.segments.configure(settings)
                if self.after_append != self._after_first_record:
                    self.after_append = self._power_sync.sync if settings.durability == "power" else None

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._settings

    @property
    def dropped(self) -> dict[str, int]:
        """Records that this process could not keep, by reason."""
        return self.segments.dropped.all

    @property
    def unreported(self) -> dict[str, int]:
        """Number of dropped records that no control line reports yet, by reason."""
        return self.segments.dropped.unreported

    @property
    def unannounced(self) -> bool:
        """Whether records were dropped that `take_unannounced` has not returned yet."""
        return bool(self.segments.dropped.unannounced)

    @property
    def refused_by(self) -> Exception | None:
        """The error that last refused a record or a segment; `None`: a limit of the settings, or no error yet."""
        return self.segments.refused_by

    @property
    def refusal(self) -> str | None:
        """The reason why records are dropped now, and the next step; `None` while the next record would be kept."""
        dropped = self.segments.dropped.unreported
        return why_dropped(self.home_path, self.refused_by, ", ".join(dropped)) if dropped else None

    def take_unannounced(self) -> dict[str, int]:
        """Return the number of records that were dropped since the last call, by reason."""
        with self.lock:
            return self.segments.dropped.take_unannounced()

    @property
    def activity(self) -> int:
        """A number that grows with every record of this process."""
        return self.segments.seq

    @property
    def durable(self) -> int:
        """Number of records that this process has appended."""
        return self.segments.seq - self.segments.dropped.count

    # -- the hot path

    def append(self, prefix: bytes) -> bool:
        """Make one record durable, or count it as dropped.

        Never raises for an error of the disk. `KeyboardInterrupt` and similar exceptions are raised; the record is then
        complete in the segment, or counted.

        Args:
            prefix: the record's JSON from `{` to before `,"pid":…,"seq":…}`, as `format.record.RecordEncoder` makes it.

        Returns:
            Whether nothing was dropped in this call. A reentrant record is queued, which drops nothing yet.
        """
        if not FORK_HANDLED[0]:
            fork.notice()
        if self.is_inside():
            self._queue(prefix)
            return True
        with self.lock:
            dropped_before = self.segments.dropped.count
            self.put(prefix)
            while self.reentrant:
                self.put(self.reentrant.popleft())
            kept = self.segments.dropped.count == dropped_before
        if self.reentrant:  # a signal came while the lock was being released
            self.append_reentrant()
        if self.after_append is not None:
            self.after_append()
        return kept

    def put(self, prefix: bytes) -> None:
        """Append a line under the lock, to a new segment if the open one is full."""
        segments = self.segments
        segment = segments.current
        if (
            segment is None
            or (segment.size >= segments.limit and not segments.may_grow(segment))
            or (monotonic() >= segments.check_at and not segments.is_ours(segment))
        ):
            segment = self._usable_segment(len(prefix))
        if segment is None:
            return
        seq = segments.seq + 1
        text = b'%b,"pid":%d,"seq":%d}' % (prefix, segments.pid, seq)
        written, whole_line = 0, b"%08x %b\n" % (crc32(text), text)
        try:
            segments.seq = seq
            written = os.write(segment.descriptor, whole_line)
            segment.size += written
            if written != len(whole_line):
                raise OSError(errno.ENOSPC, "a short write")
        except BaseException as error:  # noqa: BLE001 - counted; what is no Exception is raised again
            if self.handle_failure(prefix, segments, segment, seq, len(whole_line), written, error):
                self.reentrant.appendleft(prefix)

    def _queue(self, prefix: bytes) -> None:
        if len(self.reentrant) < _MAX_REENTRANT:
            self.reentrant.append(prefix)
        else:
            self.segments.dropped.queue_overflow += 1

    def append_reentrant(self) -> None:
        """Append the records that wait in the queue, outside the lock."""
        while self.reentrant:
            with contextlib.suppress(IndexError):  # another thread took it
                self.append(self.reentrant.popleft())

    def _after_first_record(self) -> None:
        """Report the first record of this process, outside the lock: the keeper's thread may be started."""
        self.after_append = self._power_sync.sync if self._settings.durability == "power" else None
        try:
            if self.after_append is not None:
                self._power_sync.sync()
            self._on_first_record()
        except Exception:  # noqa: BLE001 - the record is durable, so the caller must not get an exception
            return
        except BaseException:
            self.after_append = self._after_first_record
            raise

    # -- what goes wrong

    def _usable_segment(self, size: int) -> Segment | None:
        """Return a segment with space for a record; if necessary, a new one.

        `None`: there is no such segment, and the record, of `size` bytes, is counted as dropped.
        """
        segments = self.segments
        segment = segments.with_room(size)
        if segment is None:
            segments.drop(segments.refusal)
            if segments.current is None:
                self._drop_reporter.save_when_due()
            return None
        if segments.dropped.waiting and not self._drop_reporter.report(segment):
            segments.drop(segments.refusal)
        return segment if segment is segments.current else None

    def handle_failure(
        self,
        prefix: bytes,
        segments: WriterSegments,
        segment: Segment,
        seq: int,
        size: int,
        written: int,
        error: BaseException,
    ) -> bool:
        """Handle an exception during an append: the line is complete, is tried again, or is counted as dropped.

        Args:
            prefix: the record.
            segments: the segments of the process that began the record.
            segment: the segment to which it was appended.
            seq: its number.
            size: bytes of the line.
            written: bytes of it that are known to be written.
            error: the exception; it is raised again if it is not an `Exception`, or came before the record began.

        Returns:
            Whether the record must be tried again from the beginning.
        """
        if segments is not self.segments and isinstance(error, OSError):
            return True  # a fork inside the record: see `WriterSegments.of_child`
        if segments.seq != seq:
            raise error  # the exception came before the record began
        kept = written == size
        with contextlib.suppress(OSError):
            if segment.intact():
                end = os.fstat(segment.descriptor).st_size
                kept = kept or end == segment.size + size
                if kept:
                    segment.size = end
            else:
                kept = False
                segments.count_lost(segment, seq - 1)
        if not kept:
            segments.end_current()  # with `power` it is synced: other threads may wait for the sync of earlier lines
            if isinstance(error, OSError) and self._tries_again(prefix):
                segments.seq = seq - 1
                return True
            if isinstance(error, OSError):
                segments.note_refusal(error)
                segments.retry_soon()
            segments.dropped.note(drop_reason(error), seq)
        if not isinstance(error, Exception):
            raise error
        return False

    def handle_failed_line(
        self, segments: WriterSegments, segment: Segment, line: bytes, seq: int, written: int, number: int
    ) -> bool:
        """Handle an error of the disk while the accelerator appended a line, as `handle_failure` does.

        Args:
            segments: the segments of this process.
            segment: the segment to which the line was appended.
            line: the whole line.
            seq: its number.
            written: bytes of it that were written.
            number: the `errno`.

        Returns:
            Whether nothing more must be done for the record; otherwise it must be appended again.
        """
        prefix = line[BEFORE_JSON : line.rindex(b',"pid":')]
        error = OSError(number, os.strerror(number))
        is_taken = not self.handle_failure(prefix, segments, segment, seq, len(line), written, error)
        while is_taken and self.reentrant:  # a signal handler logged meanwhile
            self.put(self.reentrant.popleft())
        return is_taken

    def _tries_again(self, prefix: bytes) -> bool:
        """Return whether a record is tried in a new segment: once, or with `"block"` until `flush_timeout`."""
        now = monotonic()
        if self._retried is not prefix:
            self._retried, self._retry_until = prefix, now + self._settings.flush_timeout
            return True
        if self._settings.when_full != "block" or now >= self._retry_until:
            return False
        clock.pause(_RETRY_S)
        return True

    # -- called by others

    def position(self) -> tuple[SegmentName, int] | None:
        """Return the segment of the last record and the offset after it; `None` when this process appended nothing.

        The offset is -1 if that segment is closed: then the whole segment counts.
        """
        with self.lock:
            return self.segments.position()

    def check_segment(self) -> None:
        """Begin a new segment with the next record if the program closed the descriptor or removed the file."""
        if not self.is_inside() and self.lock.acquire(timeout=0.05):
            try:
                segments = self.segments
                if segments.current is not None:
                    segments.is_ours(segments.current)
                if segments.current is None and segments.dropped.unsaved:
                    self._drop_reporter.save_when_due()
            finally:
                self.lock.release()

    def notify_after_next_record(self) -> None:
        """Call `on_first_record` once more, after the next record."""
        self.after_append = self._after_first_record

    def report_drops(self) -> None:
        """Append the count of dropped records if the disk takes it, because no further record may follow.

        Otherwise write it into its reserved file.
        """
        segments = self.segments
        if not segments.dropped.waiting or self.is_inside():
            return
        with self.lock:
            if segments.current is not None and self._drop_reporter.report(segments.current):
                return
            if segments.current is None and segments.begin(REPORT_BYTES) and segments.current is not None:
                self._drop_reporter.report(segments.current)
                segments.end_current()  # no record may be appended: `max_spool_bytes` is reached
            if segments.dropped.waiting:
                self._drop_reporter.save()

    def close(self) -> None:
        """Close the segment, so that any keeper may consume all of it. A later record begins a new segment."""
        if self.is_inside():
            return  # called by a signal handler while a record is being appended
        self.append_reentrant()
        self.report_drops()
        with self.lock:
            self.segments.end_current()
            self._drop_reporter.finish()

    @property
    def reserve(self) -> Path:
        """The file of the home whose space sealing can use; when it is empty, segments do not grow."""
        return self._home.reserve

    @property
    def spool(self) -> Path:
        """Directory of the segments."""
        return self._home.subsystem_dir(self.subsystem.name).spool
