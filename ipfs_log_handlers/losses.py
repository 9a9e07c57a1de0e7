"""Losses: the records that a writer could not keep, by reason, and the control line that tells of them.

A lost record uses up its `seq`, so that the gap shows; the line says how many, why, and between which numbers, as soon
as the disk takes one again (docs/home.md 5).
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Final

from ipfs_log_handlers.format import line

__all__ = ["NESTED", "Losses", "dropped_in"]

NESTED: Final = "nested too often"
_NOT_SYNCED: Final = "not synced"
_MOST_DROPPED: Final = 1 << 48


class Losses:
    """What one writer has lost in this process. The writer's lock guards it, but for `overflown`."""

    __slots__ = ("_all", "_untold", "count", "overflown")

    def __init__(self) -> None:
        self.count = 0
        """Records that are not kept."""
        self.overflown = 0
        """Records that a signal handler logged beyond the queue, and that have no `seq` yet."""
        self._all: Counter[str] = Counter()
        self._untold: dict[str, list[int]] = {}

    def note(self, reason: str, seq: int) -> None:
        """Count one record."""
        self._all[reason] += 1
        self.count += 1
        told = self._untold.setdefault(reason, [0, seq, seq])
        told[0] += 1
        told[2] = seq

    def note_not_synced(self) -> None:
        """Count one time that the disk refused to sync: what was appended is there, but may not survive a power cut."""
        self._all[_NOT_SYNCED] += 1

    @property
    def waiting(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._untold or self.overflown)

    @property
    def all(self) -> dict[str, int]:
        """How many, by reason."""
        return dict(self._all + Counter({NESTED: self.overflown}))

    @property
    def untold(self) -> dict[str, int]:
        """Of these, the ones that stand in no control line yet."""
        never = {NESTED: self.overflown, _NOT_SYNCED: self._all[_NOT_SYNCED]}
        waiting = {reason: told[0] for reason, told in list(self._untold.items())}
        return {reason: count for reason, count in (never | waiting).items() if count}

    def line(self) -> bytes:
        """The control line, with its LF."""
        keys = ("count", "first", "last")
        told = {reason: dict(zip(keys, each, strict=True)) for reason, each in self._untold.items()}
        return line.control(json.dumps({"dropped": told}, separators=(",", ":")).encode())

    def told(self) -> None:
        """The line is whole in a segment."""
        self._untold.clear()


def dropped_in(control: bytes) -> dict[str, int]:
    """What the JSON of a control line tells: records that a writer had to drop, by reason."""
    try:
        told: Any = json.loads(control)["dropped"]
        counts = {reason[:64]: each["count"] for reason, each in told.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {"unreadable control line": 1}
    if not all(type(count) is int and 0 < count < _MOST_DROPPED for count in counts.values()):
        return {"unreadable control line": 1}
    return counts
