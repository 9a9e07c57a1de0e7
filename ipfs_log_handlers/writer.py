"""Writer: a record's front becomes a line, and the line becomes durable: one `write(2)` to a segment.

One writer per process, home and subsystem. What it promises when `append` returns: the record survives a SIGKILL of
the program (`durability="power"`: of the machine), or it is counted as dropped. What it costs: one encode, one checksum,
one system call, under one lock that also draws `seq`, so file order is seq order.

A record logged while this thread is already inside (a signal handler, a `__del__`, a `__str__` that logs) is queued and
appended by the outer call before it returns.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Final
from zlib import crc32

from ipfs_log_handlers.config import Settings
from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.format import line
from ipfs_log_handlers.home import disk, segments
from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.home.segments import Header, Segment, SegmentName
from ipfs_log_handlers.home.settings import Policy
from ipfs_log_handlers.home.space import spool_bytes
from ipfs_log_handlers.subsystems.registry import Subsystem

__all__ = ["SEGMENT_BYTES", "Writer"]

SEGMENT_BYTES: Final = 8 << 20
"""Bytes at which a segment is closed and the next one begun: what an unlink gives back at once."""
_RETRY_EVERY: Final = 0.1
_LONGEST_NESTED: Final = 10_000


def new_identity() -> str:
    """Sixteen hex digits for a process: random, since pid and start time repeat after exec and in containers."""
    return os.urandom(8).hex()


class Writer:
    """Appends for one process to one subsystem of one home.

    Args:
        home: the home.
        subsystem: what is logged.
        settings: limits and policy.
        first_record: called after the first record of this process, outside all locks.
    """

    __slots__ = (
        "_busy", "_cold", "_dropped", "_first_record", "_full_until", "_home", "_identity", "_limit", "_lock", "_lost",
        "_nested", "_next_number", "_retry_at", "_segment", "_seq", "_settings", "_sync_lock", "_synced", "_tail",
        "activity", "durable", "home_path", "incomplete", "subsystem",
    )  # fmt: skip

    def __init__(
        self, home: Home, subsystem: Subsystem, settings: Settings, first_record: Callable[[], None]
    ) -> None:
        self.subsystem = subsystem
        self.home_path = home.path
        self._home = home
        self._settings = settings
        self._first_record = first_record
        self._dropped: Counter[str] = Counter()
        self.durable = 0
        self.incomplete = 0
        self._begin_process()

    def _begin_process(self) -> None:
        """The state of a process that has appended nothing: at the start, and in a child after a fork."""
        self._lock = threading.RLock()
        self._sync_lock = threading.Lock()
        self._nested: deque[bytes] = deque()
        self._busy = False
        self._cold = True
        self._segment: Segment | None = None
        self._next_number = 0
        self._identity = ""
        self._seq = 0
        self._synced = 0
        self._tail = b""
        self._lost: dict[str, list[int]] = {}
        self._retry_at = 0.0
        self._full_until = 0.0
        self._limit = min(SEGMENT_BYTES, max(32 << 10, self._settings.max_spool_bytes // 8))
        self.activity = 0

    def after_fork_in_child(self) -> None:
        """Begin as a new writer. The parent's segment, whose descriptor `disk` has closed, is not this process's."""
        self._begin_process()
        self._dropped.clear()
        self.durable = 0

    def configure(self, settings: Settings) -> None:
        """Take over new settings; they stand in the header of the next segment, which is begun with the next record."""
        with self._lock:
            if settings != self._settings:
                self._settings = settings
                self._limit = min(SEGMENT_BYTES, max(32 << 10, settings.max_spool_bytes // 8))
                self._close_segment()

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._settings

    @property
    def dropped(self) -> dict[str, int]:
        """Records that this process could not keep, by reason."""
        return dict(self._dropped)

    # -- the hot path

    def append(self, front: bytes) -> None:
        """Make one record durable, or count it as dropped.

        Args:
            front: its JSON from `{` to before `,"pid":…,"seq":…}`, as `format.record.FrontEncoder` makes it.

        Never raises for what the disk does. `KeyboardInterrupt` and the like pass through; the record is then whole
        in the segment or counted.
        """
        with self._lock:
            if self._busy:
                self._queue(front)
                return
            self._busy = True
            try:
                segment = self._segment
                if segment is None or self._lost or segment.size >= self._limit:
                    segment = self._ready(front)
                    if segment is None:
                        return
                self._seq = seq = self._seq + 1
                text = b"%b%b%d}" % (front, self._tail, seq)
                whole = b"%08x %b\n" % (crc32(text), text)
                try:
                    written = os.write(segment.descriptor, whole)
                except BaseException as error:  # noqa: BLE001 - counted, and what is not the disk's passes through
                    self._failed(segment, seq, len(whole), error)
                else:
                    segment.size += written
                    if written == len(whole):
                        self.durable += 1
                    else:
                        self._torn(seq)
                self.activity += 1
            finally:
                self._busy = False
            if self._nested:
                self._append_nested()
        if self._cold:
            self._cold = False
            self._first_record()
        if self._settings.durability == "power":
            self._sync()

    def _queue(self, front: bytes) -> None:
        if len(self._nested) < _LONGEST_NESTED:
            self._nested.append(front)
        else:
            self._dropped["nested too often"] += 1

    def _append_nested(self) -> None:
        cold, self._cold = self._cold, False  # the thread is started by the outer call, outside the lock
        try:
            while self._nested:
                with contextlib.suppress(IndexError):  # a still deeper call took it
                    self.append(self._nested.popleft())
        finally:
            self._cold = cold

    # -- what goes wrong

    def _ready(self, front: bytes) -> Segment | None:
        """A segment to append to, begun if need be; `None` when there is none, and the record is counted."""
        segment = self._segment
        if segment is not None and segment.size >= self._limit:
            self._close_segment()
            segment = None
        if segment is None:
            segment = self._begin_segment(len(front))
        if segment is not None and self._lost:
            self._tell_lost(segment)
        return segment if segment is self._segment else None

    def _begin_segment(self, size: int) -> Segment | None:
        """Make the next segment; on failure count the record and try again at most ten times a second."""
        now = time.monotonic()
        if now < self._retry_at:
            self._drop("the disk refuses" if not self._full_until else "the spool is full")
            return None
        try:
            if not self._has_room(size):
                return None
            self._full_until = 0.0
            if not self._identity:
                self._identity = new_identity()
                self._tail = b',"pid":%d,"seq":' % os.getpid()
            self._segment = segments.create(
                self._home.room(self.subsystem.name).spool,
                self._header(),
                self._next_number,
                sync=self._settings.durability == "power",
            )
            self._next_number += 1
        except (OSError, HomeError, ValueError) as error:
            self._retry_at = now + _RETRY_EVERY
            self._drop(_reason(error))
            return None
        return self._segment

    def _header(self) -> Header:
        policy = Policy.of(self._settings, self.subsystem)
        return Header(
            writer=self._identity,
            subsystem=self.subsystem.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() // 1000 % 1_000_000:06}Z",
            settings=policy.as_json(),
        )

    def _has_room(self, size: int) -> bool:
        """Whether the spool may grow by a segment; waits for it under `when_full="block"`."""
        until = time.monotonic() + self._settings.flush_timeout
        room = self._home.room(self.subsystem.name)
        need = max(self._limit, size)
        while spool_bytes(room, self._settings) + need > self._settings.max_spool_bytes:
            if self._settings.when_full != "block" or time.monotonic() >= until:
                self._full_until = self._retry_at = time.monotonic() + _RETRY_EVERY
                self._drop("the spool is full")
                return False
            time.sleep(_RETRY_EVERY / 5)
        return True

    def _drop(self, reason: str) -> None:
        """Count a record that is not kept; it uses up its `seq`, so that the gap shows."""
        self._seq = seq = self._seq + 1
        self.activity += 1
        self._note_lost(reason, seq)

    def _note_lost(self, reason: str, seq: int) -> None:
        self._dropped[reason] += 1
        told = self._lost.setdefault(reason, [0, seq, seq])
        told[0] += 1
        told[2] = seq

    def _tell_lost(self, segment: Segment) -> None:
        """Append the control line that tells how many records were dropped, why, and which."""
        told = {reason: dict(zip(("count", "first", "last"), each, strict=True)) for reason, each in self._lost.items()}
        whole = line.control(json.dumps({"dropped": told}, separators=(",", ":")).encode())
        try:
            written = os.write(segment.descriptor, whole)
        except OSError as error:
            self._abandon(segment)
            self._drop(_reason(error))
            return
        segment.size += written
        if written == len(whole):
            self._lost.clear()
        else:
            self._abandon(segment)
            self._drop(_reason(OSError(errno.ENOSPC, "")))

    def _failed(self, segment: Segment, seq: int, size: int, error: BaseException) -> None:
        """A `write` that raised: the record is whole in the segment (an interrupt came later), or it is counted."""
        kept = False
        with contextlib.suppress(OSError):
            kept = segment.intact() and os.fstat(segment.descriptor).st_size == segment.size + size
        if kept:
            segment.size += size
            self.durable += 1
        else:
            self._note_lost(_reason(error), seq)
            self._abandon(segment)
        if not isinstance(error, OSError):
            raise error

    def _torn(self, seq: int) -> None:
        """A short write: the disk is full. The torn line stays behind, in a segment that is closed now."""
        self._note_lost(_reason(OSError(errno.ENOSPC, "")), seq)
        if self._segment is not None:
            self._abandon(self._segment)

    def _abandon(self, segment: Segment) -> None:
        """Never append to this segment again: what follows a torn line goes to the next one."""
        segment.close()
        self._segment = None
        self._retry_at = time.monotonic() + _RETRY_EVERY / 10

    def _close_segment(self) -> None:
        segment, self._segment = self._segment, None
        if segment is None:
            return
        if self._settings.durability == "power":
            with contextlib.suppress(OSError):
                disk.sync_data(segment.descriptor)
        segment.close()

    # -- the power cut

    def _sync(self) -> None:
        """Return when everything appended so far is on the disk; threads that wait together share one sync."""
        mine = self.activity
        with self._sync_lock:
            if self._synced >= mine:
                return
            with self._lock:
                reached, segment = self.activity, self._segment
            if segment is None:
                return
            try:
                disk.sync_data(segment.descriptor)
            except OSError:
                with self._lock:
                    self._dropped["not synced"] += 1
                    if self._segment is segment:
                        self._abandon(segment)
                return
            self._synced = reached

    # -- called by others

    def position(self) -> tuple[SegmentName, int] | None:
        """The segment and offset behind the last record; `None` when nothing was appended by this process."""
        with self._lock:
            segment = self._segment
            if segment is not None:
                return segment.name, segment.size
            if not self._next_number:
                return None
            return SegmentName(self._identity, self._next_number - 1), -1

    def tick(self) -> None:
        """Begin a new segment next time if the open one was closed or deleted under us; the descriptor is left alone."""
        if self._lock.acquire(timeout=0.05):
            try:
                segment = self._segment
                if not self._busy and segment is not None and not segment.intact():
                    segment.close()
                    self._segment = None
            finally:
                self._lock.release()

    def close(self) -> None:
        """Close the segment, so that any keeper may take it whole. A record after that begins a new one."""
        with self._lock:
            if not self._busy:
                self._close_segment()

    @property
    def spool(self) -> Path:
        """Directory of its segments."""
        return self._home.room(self.subsystem.name).spool


def _reason(error: BaseException) -> str:
    """A short, stable name for why a record was dropped."""
    if isinstance(error, HomeError):
        return "the home is refused"
    if isinstance(error, OSError) and error.errno is not None:
        return errno.errorcode.get(error.errno, f"errno {error.errno}")
    return type(error).__name__
