"""Report dropped records: to `handleError`, to the program's `on_drop`, and in one line on stderr.

A dropped record is counted, and the count is in `status()` and in the next manifest. But if every record is dropped, a
user of the program sees no record at all, so the loss is also reported. For each home and reason one line is printed at
most once a minute. Records that are logged or dropped while a thread reports are counted, but this thread does not
report them.

This module imports no other that a handler has not imported: a report must be possible where no file can be opened.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from ipfs_log_handlers.concurrency.clock import monotonic
from ipfs_log_handlers.concurrency.threads import RLock, get_ident
from ipfs_log_handlers.errors import HomeError

__all__ = ["DroppedError", "is_reporting", "print_line", "print_notice", "reporting"]

_PAUSE_S: Final = 60.0
"""Seconds from one line about a home and a reason to the next one."""
_MAX_KINDS: Final = 256
"""Number of pairs of a home and a reason for which the time of the last line is kept."""
_LOCK_TIMEOUT_S: Final = 0.1
"""Seconds that a thread waits for another thread that prints."""


class DroppedError(HomeError):
    """Records were dropped. `handleError` gets this error as the current exception; the program never does.

    Args:
        subsystem: the subsystem of the records.
        home: the home.
        counts: number of records, by reason as in `status()`; empty if another thread reports them.
        refused_by: the error of the system; `None`: a limit of the settings was reached.
    """

    def __init__(self, subsystem: str, home: Path, counts: Mapping[str, int], refused_by: Exception | None) -> None:
        self.subsystem = subsystem
        self.home = home
        self.counts = dict(counts)
        from ipfs_log_handlers.spool.dropped import why_dropped

        super().__init__(why_dropped(home, refused_by, ", ".join(counts)))


# -- no recursion

_inside: set[tuple[int, int]] = set()
"""Process and thread of each report under way."""


def is_reporting() -> bool:
    """Return whether the calling thread is inside a report: its records must then not begin another report."""
    return (os.getpid(), get_ident()) in _inside


@contextlib.contextmanager
def reporting() -> Iterator[bool]:
    """Mark the calling thread as reporting inside this context; yield `False` if it already was."""
    own = os.getpid(), get_ident()
    if own in _inside:
        yield False
        return
    _inside.add(own)
    try:
        yield True
    finally:
        _inside.discard(own)


# -- one line

_now: Final = monotonic


class _Lines:
    """The lines that this process has printed."""

    def __init__(self) -> None:
        self._pid = 0
        self._lock = RLock()
        self._printed: dict[tuple[Path, str], float] = {}
        """By home and reason: the time of the last line. A forked child also has the times of its parent."""
        self._left_out: dict[tuple[Path, str], int] = {}
        """By home and reason: number of records since that line."""

    def count(self, home: Path, reason: str, records: int) -> int:
        """Count records; if a line is due now, return the number of records that it reports, else 0."""
        if self._pid != os.getpid():  # a thread of the parent may have held the lock
            self._pid, self._lock = os.getpid(), RLock()
        if not self._lock.acquire(timeout=_LOCK_TIMEOUT_S):
            return 0
        try:
            kind, now = (home, reason), _now()
            records += self._left_out.pop(kind, 0)
            last = self._printed.get(kind)
            if last is not None and now - last < _PAUSE_S:
                self._left_out[kind] = records
                return 0
            if len(self._printed) >= _MAX_KINDS:
                self._printed.clear()
            self._printed[kind] = now
            return records
        finally:
            self._lock.release()


_LINES: Final = _Lines()


def print_line(error: BaseException | None, home: Path, log: str) -> None:
    """Print one line on stderr about lost records, unless such a line was printed within the last minute.

    Never raises.

    Args:
        error: a `DroppedError`, or another exception that prevented the recording. Only the type of the latter is
            shown, because its text may contain a secret.
        home: the home.
        log: name of the log, for an error that does not name it.
    """
    try:
        if isinstance(error, DroppedError):
            counts, why, log = error.counts, error.message, error.subsystem
        else:
            kind = "unknown" if error is None else type(error).__name__
            why = "the record could not be recorded"
            if isinstance(error, OSError) and error.errno is not None:
                kind, why = errno.errorcode.get(error.errno, kind), f"{why}: {os.strerror(error.errno)}"
            counts, why = {kind: 1}, f"{home}: {why}"
        for reason, count in counts.items():
            records = _LINES.count(home, reason, count)
            stream = sys.stderr
            if records and stream is not None:
                stream.write(_line(log, reason, records, why))
                stream.flush()
    except Exception:  # noqa: BLE001, S110 - stderr is closed or fails: there is no other place to report it
        pass


def print_notice(text: str) -> None:
    """Print a line on stderr about something else than lost records. Never raises."""
    with contextlib.suppress(Exception):
        if sys.stderr is not None:
            sys.stderr.write(_printable(f"ipfs_log_handlers: {text}"))
            sys.stderr.flush()


def _line(log: str, reason: str, records: int, why: str) -> str:
    lost = "1 record was lost" if records == 1 else f"{records:,} records were lost"
    return _printable(f"ipfs_log_handlers: {log}: {lost} ({reason}). {why}")


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text) + "\n"
