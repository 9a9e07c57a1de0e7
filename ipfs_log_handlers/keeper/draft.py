"""A draft: the lines of one batch while they are gathered; compressed, hashed and counted piece by piece.

The keeper shares the GIL with the program it lives in, so each call here works on one small piece and returns.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

from ipfs_log_handlers.format import unixfs
from ipfs_log_handlers.format.cid import RAW, Cid
from ipfs_log_handlers.format.merkle import RecordTree
from ipfs_log_handlers.format.payload import Encoder, prefix
from ipfs_log_handlers.home.segments import SegmentName
from ipfs_log_handlers.keeper.meta import Sums
from ipfs_log_handlers.keeper.plan import Record, plan_of
from ipfs_log_handlers.keeper.values import MOST_DISTINCT, few, listed
from ipfs_log_handlers.subsystems.rules import Rules

__all__ = ["MOST_SOURCES", "MOST_STORED", "Bounds", "Draft", "Payload", "last_seq"]

MOST_SOURCES: Final = 64
"""Runs of sequence numbers in one batch (docs/home.md 13)."""
MOST_STORED: Final = 1 << 20
"""Bytes of a payload that is one raw block."""
_UNFLUSHED: Final = 132 << 10
"""Bytes that the compressor may still hold back: one zstd block and its frame."""
_NO_RULES: Final = Rules()
_MOST_REASONS: Final = 32
_OTHER: Final = "other"


_get_time, _get_level, _get_logger, _get_event = (
    attrgetter("time"), attrgetter("level"), attrgetter("logger"), attrgetter("event")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where a batch is cut: at whichever is reached first."""

    records: int
    """Records at most."""
    raw: int
    """Bytes of lines at which it is full."""
    level: int
    """zstd level: 11 while there is time, 1 under load."""


@dataclass(frozen=True, slots=True)
class Payload:
    """A finished payload."""

    root: Cid
    """The raw block, or the root of the UnixFS file when it is larger than one block."""
    blocks: tuple[tuple[Cid, bytes], ...]
    """Its blocks."""
    size: int
    """Bytes as stored."""


class Draft:
    """The records of one batch, as far as they are gathered.

    Args:
        log: name of the log.
        index: number of the batch.
        bounds: where it is cut.
        rules: what it says of its records.
    """

    def __init__(self, log: str, index: int, bounds: Bounds, rules: Rules = _NO_RULES) -> None:
        self.bounds = bounds
        self._plan = plan_of(rules)
        self.sums = Sums(self._plan)
        self.records = 0
        self.raw = 0
        self.first = ""
        self.last = ""
        self.sources: list[tuple[str, int, int, int]] = []
        self.dropped: Counter[str] = Counter()
        self._closed = False
        self._levels: Counter[str] = Counter()
        self._loggers: Counter[str] = Counter()
        self._events: set[str] = set()
        salt = os.urandom(32)
        self.tree = RecordTree(salt)
        self._encoder = Encoder(bounds.level)
        self._parts = [prefix(salt, log, index)]
        self._stored = len(self._parts[0])

    @property
    def full(self) -> bool:
        """Whether nothing more belongs into this batch."""
        return (
            self._closed
            or self.records >= self.bounds.records
            or self.raw >= self.bounds.raw
            or self._stored + _UNFLUSHED >= MOST_STORED
        )

    def take(self, name: SegmentName, lines: Sequence[bytes]) -> tuple[int, int | None]:
        """Add records of one writer, as many as belong into this batch.

        Args:
            name: the segment they stand in.
            lines: the JSON of each.

        Returns:
            How many were dealt with, and the number of the first that is not a record of ours (damage that its
            checksum did not show), which is not among them; `None` when there is none.
        """
        lines = self._fitting(lines)
        found, readable = self._plan.decode(lines)
        bad = len(found) if len(found) < len(lines) else None
        taken = self._note_sources(name.writer, found)
        if taken < len(found):
            found, bad, self._closed = found[:taken], None, True
        if found:
            self._add(found, lines[:taken])
            self.sums.add(found, readable=readable)
        return taken, bad

    def note_dropped(self, told: Mapping[str, int]) -> None:
        """Count what a writer had to drop; more kinds of reasons than a manifest should list become one."""
        for reason, count in told.items():
            known = reason in self.dropped or len(self.dropped) < _MOST_REASONS
            self.dropped[reason if known else _OTHER] += count

    def _fitting(self, lines: Sequence[bytes]) -> Sequence[bytes]:
        lines = lines[: self.bounds.records - self.records]
        room = self.bounds.raw - self.raw
        if sum(map(len, lines)) + len(lines) <= room:
            return lines
        for count, line in enumerate(lines, 1):
            room -= len(line) + 1
            if room <= 0:
                return lines[:count]
        return lines

    def _note_sources(self, writer: str, found: Sequence[Record]) -> int:
        """Note the runs of sequence numbers; stop at the 65th, and say how many records came before it."""
        if not found:
            return 0
        first, last = found[0], found[-1]
        if last.seq - first.seq + 1 == len(found):
            return len(found) if self._note_run(writer, first.pid, first.seq, last.seq) else 0
        for count, each in enumerate(found):
            if not self._note_run(writer, each.pid, each.seq, each.seq):
                return count
        return len(found)

    def _note_run(self, writer: str, pid: int, first: int, last: int) -> bool:
        if self.sources:
            known = self.sources[-1]
            if known[0] == writer and known[1] == pid and known[3] + 1 == first:
                self.sources[-1] = (writer, pid, known[2], last)
                return True
        if len(self.sources) >= MOST_SOURCES:
            return False
        self.sources.append((writer, pid, first, last))
        return True

    def _add(self, found: Sequence[Record], lines: Sequence[bytes]) -> None:
        block = b"\n".join(lines) + b"\n"
        self.tree.add(lines)
        packed = self._encoder.add(block)
        if packed:
            self._parts.append(packed)
            self._stored += len(packed)
        self.records += len(lines)
        self.raw += len(block)
        self._levels.update(map(_get_level, found))
        self._loggers.update(map(_get_logger, found))
        if len(self._events) <= MOST_DISTINCT:
            self._events.update(map(_get_event, found))
        first, last = min(map(_get_time, found)), max(map(_get_time, found))
        self.first = min(self.first, first) if self.first else first
        self.last = max(self.last, last)

    def hash_records(self) -> Iterator[None]:
        """Finish the record tree in small steps."""
        return self.tree.steps()

    def payload(self) -> Payload:
        """End the compression and name the blocks."""
        data = b"".join((*self._parts, self._encoder.finish()))
        if len(data) <= MOST_STORED:
            cid = Cid.of(RAW, data)
            return Payload(cid, ((cid, data),), len(data))
        blocks = tuple(unixfs.build([data]))
        return Payload(blocks[-1][0], blocks, len(data))

    def stats(self) -> dict[str, Any]:
        """The zone map: counts by level and logger, the distinct events; `many` where they are too many to list."""
        return {
            "levels": few(self._levels),
            "loggers": few(self._loggers),
            "events": listed(self._events),
            **self.sums.stats(),
        }


def last_seq(lines: Sequence[bytes]) -> int:
    """The greatest sequence number in some lines of one segment; 0 where there is none."""
    return max((each.seq for each in plan_of(_NO_RULES).decode(lines)[0]), default=0)
