"""Writer: a record's front becomes a line, and the line becomes durable: one `write(2)` to a segment.

One writer per process, home and subsystem. What it promises when `append` returns: the record survives a SIGKILL of
the program (`durability="power"`: of the machine), or it is counted as dropped. What it costs: one encode, one
checksum, one system call, under one lock that also draws `seq`, so file order is seq order.

A record logged while this thread is already inside (a signal handler, a `__del__`, a `__str__` that logs) is queued and
appended by the outer call before it returns.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from ipfs_log_handlers.config import Settings
from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.format.moment import rfc3339
from ipfs_log_handlers.format.record import Shape
from ipfs_log_handlers.home import disk, segments
from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.home.segments import Header, Segment, SegmentName
from ipfs_log_handlers.home.settings import Policy
from ipfs_log_handlers.home.space import spool_bytes
from ipfs_log_handlers.losses import NESTED, Losses
from ipfs_log_handlers.native import RLock, get_ident
from ipfs_log_handlers.subsystems.registry import Subsystem

__all__ = ["SEGMENT_BYTES", "Writer", "new_identity"]

SEGMENT_BYTES: Final = 8 << 20
"""Bytes at which a segment is closed and the next one begun: what an unlink gives back at once."""
_SMALLEST_SEGMENT: Final = 28 << 10
_TOLD_BYTES: Final = 8 << 10
"""Bytes of the bound that no record may take: what a process needs to tell at its end what it had to drop."""
_RETRY_EVERY: Final = 0.1
_LONGEST_NESTED: Final = 10_000
_FULL: Final = "the spool is full"
_WORTH_WAITING: Final = frozenset({_FULL, "ENOSPC", "EDQUOT"})
"""Refusals that pass when the keeper, or somebody, makes room."""


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
        "_afterwards", "_first_record", "_home", "_identity", "_inside", "_latest", "_limit", "_lock", "_losses",
        "_nested", "_next_number", "_patience", "_pid", "_policy", "_refusal", "_retry_at", "_segment", "_seq",
        "_settings", "_stuck", "_sync_lock", "_synced", "home_path", "incomplete", "subsystem",
    )  # fmt: skip

    def __init__(self, home: Home, subsystem: Subsystem, settings: Settings, first_record: Callable[[], None]) -> None:
        self.subsystem = subsystem
        self.home_path = home.path
        self._home = home
        self._settings = settings
        self._first_record = first_record
        self._policy: Policy | None = None
        self.incomplete = 0
        self._begin_process()

    def _begin_process(self) -> None:
        """The state of a process that has appended nothing: at the start, and in a child after a fork."""
        self._lock = RLock()
        self._inside: Callable[[], bool] = self._lock._is_owned  # type: ignore[attr-defined]  # noqa: SLF001
        self._sync_lock = RLock()
        self._nested: deque[bytes] = deque()
        self._losses = Losses()
        self._afterwards: Callable[[], None] | None = self._start
        self._segment: Segment | None = None
        self._latest: SegmentName | None = None
        self._next_number = 0
        self._identity = ""
        self._seq = 0
        self._synced = 0
        self._pid = 0
        self._retry_at = 0.0
        self._refusal = ""
        self._stuck = b""
        self._patience = 0.0
        self._limit = min(SEGMENT_BYTES, max(_SMALLEST_SEGMENT, self._settings.max_spool_bytes // 8))

    def before_fork(self) -> None:
        """Until our hooks behind the fork have run, those of others may log: in the child as a process of its own."""
        parent, forking = os.getpid(), get_ident()
        is_owned: Callable[[], bool] = self._lock._is_owned  # type: ignore[attr-defined]  # noqa: SLF001

        def inside() -> bool:
            if os.getpid() != parent:
                self.after_fork_in_child()
                return False
            if get_ident() != forking or is_owned():
                return is_owned()
            if not self._lock.acquire(blocking=False):  # by a thread that may wait for what is held across the fork
                return True
            self._lock.release()
            return False

        self._inside = inside

    def after_fork_in_parent(self) -> None:
        """The fork is over: append what was logged around it."""
        self._inside = self._lock._is_owned  # type: ignore[attr-defined]  # noqa: SLF001
        if not self._inside():
            self._append_nested()

    def after_fork_in_child(self) -> None:
        """Begin as a new writer. The parent's segment, whose descriptor `disk` has closed, is not this process's."""
        if self._segment is not None:
            self._segment.descriptor = -1  # a signal handler may have forked inside a record, which goes on here
        self._begin_process()

    def configure(self, settings: Settings) -> None:
        """Take over new settings; they stand in the header of the next segment, which is begun with the next record."""
        with self._lock:
            if settings != self._settings:
                self._settings = settings
                self._policy = None
                self._limit = min(SEGMENT_BYTES, max(_SMALLEST_SEGMENT, settings.max_spool_bytes // 8))
                self._close_segment()
                if self._afterwards != self._start:
                    self._afterwards = self._sync if settings.durability == "power" else None

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._settings

    @property
    def dropped(self) -> dict[str, int]:
        """Records that this process could not keep, by reason."""
        return self._losses.all

    @property
    def untold(self) -> dict[str, int]:
        """Of these, the ones that stand in no control line yet."""
        return self._losses.untold

    @property
    def activity(self) -> int:
        """A number that grows with every record of this process."""
        return self._seq

    @property
    def durable(self) -> int:
        """Records that this process has appended."""
        return self._seq - self._losses.count

    # -- the hot path

    def append(self, front: bytes) -> None:
        """Make one record durable, or count it as dropped.

        Args:
            front: its JSON from `{` to before `,"pid":…,"seq":…}`, as `format.record.FrontEncoder` makes it.

        Never raises for what the disk does. `KeyboardInterrupt` and the like pass through; the record is then whole
        in the segment or counted.
        """
        if self._inside():
            self._queue(front)
            return
        with self._lock:
            self._put(front)
            while self._nested:
                self._put(self._nested.popleft())
        if self._nested:  # a signal came as the lock was given back
            self._append_nested()
        if self._afterwards is not None:
            self._afterwards()

    def append_plain(
        self, shape: Shape, most: int, time: str, level: str, logger: str, event: str, values: tuple[Any, ...]
    ) -> bool:
        """The same for a plain record, whose `seq` is encoded together with the rest.

        Args:
            shape: the record's.
            most: the longest line that it may make, bytes.
            time: RFC 3339.
            level: in lower case.
            logger: name of the logger.
            event: the event.
            values: of the fields, in the order of the shape's names.

        Returns:
            Whether it was taken. If not, nothing has happened and it is for `append`: no segment is open that has
            room, this thread is already inside, or the record is too long or cannot be encoded this way.
        """
        if self._inside():
            return False
        with self._lock:
            segment = self._segment
            if segment is None or segment.size >= self._limit:
                return False
            seq = self._seq + 1
            try:
                text = shape(time, level, logger, event, values, self._pid, seq)
            except Exception:  # noqa: BLE001 - whatever the encoder does not take, `append` does
                return False
            if len(text) > most:
                return False
            written, whole = 0, b"%08x %b\n" % (crc32(text), text)
            try:  # as in `_put`: a call of its own would be a fiftieth of the whole cost
                self._seq = seq
                written = os.write(segment.descriptor, whole)
                segment.size += written
                if written != len(whole):
                    raise OSError(errno.ENOSPC, "a short write")
            except BaseException as error:  # noqa: BLE001 - counted, and what is not the disk's passes through
                self._failed(text[: text.rindex(b',"pid":')], segment, seq, len(whole), written, error)
            while self._nested:
                self._put(self._nested.popleft())
        if self._nested:
            self._append_nested()
        if self._afterwards is not None:
            self._afterwards()
        return True

    def _put(self, front: bytes) -> None:
        """Append a line under the lock, to the next segment where the open one is full."""
        segment = self._segment
        if segment is None or segment.size >= self._limit:
            segment = self._ready(front)
        if segment is None:
            return
        seq = self._seq + 1
        text = b'%b,"pid":%d,"seq":%d}' % (front, self._pid, seq)
        written, whole = 0, b"%08x %b\n" % (crc32(text), text)
        try:
            self._seq = seq
            written = os.write(segment.descriptor, whole)
            segment.size += written
            if written != len(whole):
                raise OSError(errno.ENOSPC, "a short write")
        except BaseException as error:  # noqa: BLE001 - counted, and what is not the disk's passes through
            self._failed(front, segment, seq, len(whole), written, error)

    def _queue(self, front: bytes) -> None:
        if len(self._nested) < _LONGEST_NESTED:
            self._nested.append(front)
        else:
            self._losses.overflown += 1

    def _append_nested(self) -> None:
        while self._nested:
            with contextlib.suppress(IndexError):  # another thread took it
                self.append(self._nested.popleft())

    def _start(self) -> None:
        """After the first record of this process, outside the lock: the keeper's thread may be started."""
        self._afterwards = self._sync if self._settings.durability == "power" else None
        try:
            if self._afterwards is not None:
                self._sync()
            self._first_record()
        except Exception:  # noqa: BLE001 - the record is durable: what its caller sees must not say otherwise
            return
        except BaseException:
            self._afterwards = self._start
            raise

    # -- what goes wrong

    def _ready(self, front: bytes) -> Segment | None:
        """A segment to append to, begun if need be; `None` when there is none, and the record is counted."""
        segment = self._segment
        if segment is not None and segment.size >= self._limit:
            self._close_segment()
            segment = None
        if segment is None:
            segment = self._begin_segment(len(front))
        if segment is not None and self._losses.waiting and not self._tell_losses(segment):
            self._drop(self._refusal)
        return segment if segment is self._segment else None

    def _begin_segment(self, size: int) -> Segment | None:
        """Make the next segment; where that fails wait, as `when_full` says, or count the record.

        A disk that refused is asked again at most ten times a second, unless the record may wait.
        """
        now = time.monotonic()
        until = now + self._settings.flush_timeout if self._settings.when_full == "block" else 0.0
        if until or now >= self._retry_at:
            while not self._try_begin(max(self._limit, size) + _TOLD_BYTES):
                if self._refusal not in _WORTH_WAITING or time.monotonic() >= until:
                    self._retry_at = time.monotonic() + _RETRY_EVERY
                    break
                time.sleep(_RETRY_EVERY / 5)
        if self._segment is None:
            self._drop(self._refusal)
        return self._segment

    def _try_begin(self, needed: int) -> bool:
        """Make the next segment if so many bytes more fit the bound."""
        try:
            room = self._home.room(self.subsystem.name)
            replicas = self._settings.replicas if self._settings.kubo else 0
            if spool_bytes(room, replicas) + needed > self._settings.max_spool_bytes:
                self._refusal = _FULL
                return False
            if not self._identity:
                self._identity = new_identity()
                self._pid = os.getpid()
            self._next_number += 1  # first, so that a number that was interrupted is not used again
            segment = segments.create(
                room.spool, self._header(), self._next_number - 1, sync=self._settings.durability == "power"
            )
        except (OSError, HomeError, ValueError) as error:
            self._refusal = _reason(error)
            return False
        self._segment = segment
        self._latest = segment.name
        return True

    def _header(self) -> Header:
        if self._policy is None:  # made once: nothing can be imported any more as the interpreter ends
            self._policy = Policy.of(self._settings, self.subsystem)
        return Header(
            writer=self._identity,
            subsystem=self.subsystem.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=rfc3339(time.time_ns() // 1000),
            settings=self._policy.as_json(),
        )

    def _drop(self, reason: str) -> None:
        """Count a record that is not kept; it uses up its `seq`, so that the gap shows."""
        self._seq = seq = self._seq + 1
        self._losses.note(reason, seq)

    def _tell_losses(self, segment: Segment) -> bool:
        """Append the control line that tells how many records were dropped, why, and which; whether it is whole."""
        while self._losses.overflown:
            self._losses.overflown -= 1
            self._drop(NESTED)
        whole = self._losses.line()
        try:
            written = os.write(segment.descriptor, whole)
            segment.size += written
            if written != len(whole):
                raise OSError(errno.ENOSPC, "a short write")
        except OSError as error:
            self._close_segment()
            self._refusal = _reason(error)
            return False
        self._losses.told()
        return True

    def _failed(self, front: bytes, segment: Segment, seq: int, size: int, written: int, error: BaseException) -> None:
        """What was raised as a line was appended: the line is whole in the segment, is tried again, or is counted."""
        if segment.descriptor < 0 and isinstance(error, OSError):
            self._seq = 0
            self._nested.appendleft(front)
            return
        if self._seq != seq:
            raise error  # nothing was begun
        kept = written == size
        with contextlib.suppress(OSError):
            if segment.intact():
                end = os.fstat(segment.descriptor).st_size
                kept = kept or end == segment.size + size
                if kept:
                    segment.size = end
        if not kept:
            self._close_segment()  # synced under `power`: other threads may wait for the sync of what stands before
            if isinstance(error, OSError) and self._tries_again(front):
                self._seq = seq - 1
                self._nested.appendleft(front)
                return
            reason = _reason(error)
            if isinstance(error, OSError):
                self._refusal, self._retry_at = reason, time.monotonic() + _RETRY_EVERY / 10
            self._losses.note(reason, seq)
        if not isinstance(error, Exception):
            raise error

    def _tries_again(self, front: bytes) -> bool:
        """Whether a record goes to a new segment: once at once, and under `when_full="block"` while there is time."""
        now = time.monotonic()
        if self._stuck is not front:
            self._stuck, self._patience = front, now + self._settings.flush_timeout
            return True
        if self._settings.when_full != "block" or now >= self._patience:
            return False
        time.sleep(_RETRY_EVERY / 5)
        return True

    def _abandon(self, segment: Segment) -> None:
        """Never append to this segment again: what follows a torn line goes to the next one."""
        segment.close()
        self._segment = None

    def _close_segment(self) -> None:
        segment, self._segment = self._segment, None
        if segment is None:
            return
        if self._settings.durability == "power":
            try:
                disk.sync_data(segment.descriptor)
            except OSError:
                self._losses.note_not_synced()
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
                    if self._segment is segment:  # otherwise it was closed since, and synced as it was
                        self._losses.note_not_synced()
                        self._abandon(segment)
                return
            self._synced = max(reached, self._synced)

    # -- called by others

    def position(self) -> tuple[SegmentName, int] | None:
        """The segment and offset behind the last record; `None` when nothing was appended by this process."""
        with self._lock:
            segment = self._segment
            if segment is not None:
                return segment.name, segment.size
            return None if self._latest is None else (self._latest, -1)

    def tick(self) -> None:
        """Begin a new segment next time if the open one was closed or deleted under us; its number is left alone."""
        if not self._inside() and self._lock.acquire(timeout=0.05):
            try:
                segment = self._segment
                if segment is not None and not segment.intact():
                    self._abandon(segment)
            finally:
                self._lock.release()

    def tell_of_next(self) -> None:
        """Call `first_record` after the next record again."""
        self._afterwards = self._start

    def tell_losses(self) -> None:
        """Append the count of what was dropped, if the disk takes it: no further record may come to bring it."""
        if not self._losses.waiting or self._inside():
            return
        with self._lock:
            if self._segment is not None and self._tell_losses(self._segment):
                return
            if self._segment is None and self._try_begin(_TOLD_BYTES) and self._segment is not None:
                self._tell_losses(self._segment)
                self._close_segment()  # no record goes there: its room was not asked for

    def close(self) -> None:
        """Close the segment, so that any keeper may take it whole. A record after that begins a new one."""
        if self._inside():
            return  # from a signal handler: the record that is being appended comes first
        self._append_nested()
        self.tell_losses()
        with self._lock:
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
