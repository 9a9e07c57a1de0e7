"""Count the records that a writer could not keep, by reason, and report them in a control line.

The `seq` of a dropped record is not used again, so that a reader sees the gap. As soon as the disk takes a line again,
the control line gives the number of dropped records, the reason, and their sequence numbers (docs/home.md 5).
"""

from __future__ import annotations

import errno
import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.format import line
from ipfs_log_handlers.home.os_errors import explain_os_error, whose

__all__ = ["REENTRANT", "DroppedRecords", "drop_reason", "dropped_in", "why_dropped"]

REENTRANT: Final = "nested too often"
"""Reason of reentrant records that did not fit into their queue."""
_NOT_SYNCED: Final = "not synced"
"""The reason of records whose segment could not be synced."""
_MAX_COUNT: Final = 1 << 48
"""Number of records of one reason above which a control line counts as damaged."""
_MAX_REASON_CHARS: Final = 64
"""Length at which a reason that is read from a control line is cut off."""
_DENIED: Final = frozenset((errno.EACCES, errno.EPERM))
_SEE_STATUS: Final = "`ipfs-logs status` shows the waiting records and the reason."
_ADVICE: Final = "Set home= or IPFS_LOGS_HOME to a directory that this user can write."


@dataclass(slots=True)
class _Unreported:
    """Records that were dropped for one reason since the last control line."""

    count: int
    first: int
    """`seq` of the first one."""
    last: int
    """`seq` of the last one."""


class DroppedRecords:
    """The dropped records of one writer in this process. The writer's lock guards all but `queue_overflow`."""

    __slots__ = ("_all", "_saved", "_unreported", "count", "queue_overflow", "unannounced")

    def __init__(self) -> None:
        self.count = 0
        """Number of dropped records."""
        self.queue_overflow = 0
        """Records that did not fit into the queue of reentrant records, and that have no `seq` yet."""
        self._all: Counter[str] = Counter()
        self._unreported: dict[str, _Unreported] = {}
        self._saved: Counter[str] = Counter()
        """Number of unreported records that are counted in a file (`home.drop_reports`), by reason."""
        self.unannounced: dict[str, int] = {}
        """By reason: records that were not reported to the program yet."""

    def note(self, reason: str, seq: int) -> None:
        """Count one record."""
        self._all[reason] += 1
        self.count += 1
        self._announce(reason)
        unreported = self._unreported.get(reason)
        if unreported is None:
            self._unreported[reason] = _Unreported(1, seq, seq)
        else:
            unreported.count += 1
            unreported.last = seq

    def note_not_synced(self) -> None:
        """Count one sync that the disk refused: the records are in the segment, but may not survive a power cut."""
        self._all[_NOT_SYNCED] += 1
        self._announce(_NOT_SYNCED)

    def _announce(self, reason: str) -> None:
        self.unannounced[reason] = self.unannounced.get(reason, 0) + 1

    def take_unannounced(self) -> dict[str, int]:
        """Return the numbers that were not reported to the program yet, by reason, and set them to zero."""
        taken, self.unannounced = self.unannounced, {}
        return taken

    @property
    def waiting(self) -> bool:
        """Whether there are drops to report in a control line."""
        return bool(self._unreported or self.queue_overflow)

    @property
    def unsaved(self) -> bool:
        """Whether some records are counted only in memory."""
        return any(unreported.count > self._saved[reason] for reason, unreported in self._unreported.items()) or (
            self.queue_overflow > 0
        )

    @property
    def all(self) -> dict[str, int]:
        """Number of records by reason."""
        return dict(self._all + Counter({REENTRANT: self.queue_overflow}))

    @property
    def unreported(self) -> dict[str, int]:
        """Number of dropped records that no file counts yet, by reason."""
        never_reported = {REENTRANT: self.queue_overflow, _NOT_SYNCED: self._all[_NOT_SYNCED]}
        saved = self._saved
        waiting = {reason: unreported.count - saved[reason] for reason, unreported in list(self._unreported.items())}
        return {reason: count for reason, count in (never_reported | waiting).items() if count}

    def line(self) -> bytes:
        """Return the control line, with its LF."""
        dropped = {
            reason: {"count": unreported.count, "first": unreported.first, "last": unreported.last}
            for reason, unreported in self._unreported.items()
        }
        return line.control(json.dumps({"dropped": dropped}, separators=(",", ":")).encode())

    def saved(self) -> None:
        """Note that the control line is in a file, which is written again when more records are dropped."""
        self._saved = Counter({reason: unreported.count for reason, unreported in self._unreported.items()})

    def reported(self) -> None:
        """Set the counts to zero: the control line is complete in a segment."""
        self._saved = Counter()
        self._unreported.clear()


def dropped_in(control: bytes) -> dict[str, int]:
    """Return the numbers of dropped records in the JSON of a control line, by reason.

    A control line that cannot be read counts as one dropped record, with the reason `unreadable control line`.
    """
    try:
        dropped: Any = json.loads(control)["dropped"]
        counts = {reason[:_MAX_REASON_CHARS]: numbers["count"] for reason, numbers in dropped.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {"unreadable control line": 1}
    if not all(type(count) is int and 0 < count < _MAX_COUNT for count in counts.values()):
        return {"unreadable control line": 1}
    return counts


def drop_reason(error: BaseException) -> str:
    """Return a short, stable name for why a record was dropped."""
    if isinstance(error, HomeError):
        return "the home is refused"
    if isinstance(error, OSError) and error.errno is not None:
        return errno.errorcode.get(error.errno, f"errno {error.errno}")
    return type(error).__name__


def why_dropped(home: Path, refused_by: Exception | None, reasons: str) -> str:
    """Say why records are dropped, and the next step.

    Args:
        home: the home.
        refused_by: the error of the system; `None`: a limit of the settings was reached.
        reasons: the reasons in the words of `status()`.
    """
    try:
        if isinstance(refused_by, HomeError):
            return str(refused_by)
        if not isinstance(refused_by, OSError):
            return f"{home}: {reasons}. {_SEE_STATUS}"
        if refused_by.errno in _DENIED:
            where = home if refused_by.filename is None else os.fsdecode(refused_by.filename)
            return f"{where}: permission denied. {whose(os.fspath(where))}. {_ADVICE}"
        if refused_by.filename is None:
            refused_by = OSError(refused_by.errno, refused_by.strerror, os.fspath(home))
        return explain_os_error(refused_by)
    except Exception:  # noqa: BLE001 - no file can be opened, and no module imported, any more
        return f"{home}: {reasons}"
