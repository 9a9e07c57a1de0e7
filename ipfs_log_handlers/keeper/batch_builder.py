"""Build one batch: compress, hash and count its lines piece by piece while they are gathered.

The keeper shares the GIL with the program that it runs in, so each call works on one small piece and returns.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

from ipfs_log_handlers.format import encryption, unixfs
from ipfs_log_handlers.format.cid import RAW, Cid
from ipfs_log_handlers.format.encoding import JSONL, JSONL_AGE
from ipfs_log_handlers.format.merkle import RecordTree
from ipfs_log_handlers.format.moment import micros, rfc3339
from ipfs_log_handlers.format.payload import Encoder, prefix
from ipfs_log_handlers.home.policy import Policy
from ipfs_log_handlers.home.segments import SegmentName
from ipfs_log_handlers.keeper.chain import BatchContent
from ipfs_log_handlers.stats.columns import MAX_DISTINCT_VALUES, cap_counts, cap_names
from ipfs_log_handlers.stats.decoder import Record, compiled_rules
from ipfs_log_handlers.stats.summary import BatchSummary
from ipfs_log_handlers.subsystems.rules import Rules

__all__ = ["MAX_SOURCES", "MAX_STORED_BYTES", "BatchBuilder", "BatchLimits", "Payload"]

MAX_SOURCES: Final = 64
"""Largest number of runs of sequence numbers in one batch (docs/home.md 13)."""
MAX_STORED_BYTES: Final = 1 << 20
"""Bytes of a payload that is one raw block."""
_MAX_UNFLUSHED_BYTES: Final = 132 << 10
"""Largest number of bytes that the compressor has not returned yet: one zstd block and its frame."""
_NO_RULES: Final = Rules()  # the rules of a subsystem without rules
_MAX_REASONS: Final = 32
"""Number of reasons for dropped records that a manifest lists one by one."""
_OTHER_REASON: Final = "other"
"""Reason under which the records of all further reasons are counted."""


_get_time, _get_level, _get_logger, _get_event = (
    attrgetter("time"), attrgetter("level"), attrgetter("logger"), attrgetter("event")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """The limits at which a batch is cut; the first limit that is reached counts."""

    records: int
    """Largest number of records."""
    raw_bytes: int
    """Bytes of lines at which it is full."""
    level: int
    """zstd level: 11 while there is time, 1 under load."""
    stored_bytes: int = MAX_STORED_BYTES
    """Bytes of the payload at which it is full: one block, unless the disk has only few inodes."""


@dataclass(frozen=True, slots=True)
class Payload:
    """A finished payload."""

    root: Cid
    """CID of the raw block, or of the root of the UnixFS file if it is larger than one block."""
    blocks: tuple[tuple[Cid, bytes], ...]
    """Its blocks."""
    size: int
    """Bytes as stored."""
    encoding: str = JSONL
    """Its encoding."""


class BatchBuilder:
    """Gather the records of one batch.

    Args:
        log: name of the log.
        index: number of the batch.
        limits: the limits at which it is cut.
        rules: the rules of its metadata.
    """

    def __init__(self, log: str, index: int, limits: BatchLimits, rules: Rules = _NO_RULES) -> None:
        self.limits = limits
        self._rules = compiled_rules(rules)
        self.summary = BatchSummary(self._rules)
        self.records = 0
        self.raw = 0
        self.first = ""
        self.last = ""
        self.sources: list[tuple[str, int, int, int]] = []
        self.dropped: Counter[str] = Counter()
        self._index = index
        self._closed = False
        self._levels: Counter[str] = Counter()
        self._loggers: Counter[str] = Counter()
        self._events: set[str] = set()
        salt = os.urandom(32)
        self.tree = RecordTree(salt)
        self._encoder = Encoder(limits.level)
        self._parts = [prefix(salt, log, index)]
        self._stored = len(self._parts[0])

    @property
    def full(self) -> bool:
        """Return whether the batch is full."""
        return (
            self._closed
            or self.records >= self.limits.records
            or self.raw >= self.limits.raw_bytes
            or self._stored + _MAX_UNFLUSHED_BYTES >= self.limits.stored_bytes
        )

    def add(self, name: SegmentName, lines: Sequence[bytes]) -> tuple[int, int | None]:
        """Add records of one writer, as many as the batch takes.

        Args:
            name: the segment of the records.
            lines: the JSON of each record.

        Returns:
            The number of added records, and the position of the first line that is not a record (damage that its
            checksum did not show), which is not added; `None` if there is none.
        """
        lines = self._fitting(lines)
        records, readable = self._rules.decode(lines)
        bad = len(records) if len(records) < len(lines) else None
        count = self._note_sources(name.writer, records)
        if count < len(records):
            records, bad, self._closed = records[:count], None, True
        if records:
            self._add(records, lines[:count])
            self.summary.add(records, readable=readable)
        return count, bad

    def note_dropped(self, dropped: Mapping[str, int]) -> None:
        """Count records that a writer dropped; reasons for which a manifest has no space become `other`.

        Args:
            dropped: number of records by reason.
        """
        for reason, count in dropped.items():
            known = reason in self.dropped or len(self.dropped) < _MAX_REASONS
            self.dropped[reason if known else _OTHER_REASON] += count

    def _fitting(self, lines: Sequence[bytes]) -> Sequence[bytes]:
        lines = lines[: self.limits.records - self.records]
        room = self.limits.raw_bytes - self.raw
        if sum(map(len, lines)) + len(lines) <= room:
            return lines
        for count, line in enumerate(lines, 1):
            room -= len(line) + 1
            if room <= 0:
                return lines[:count]
        return lines

    def _note_sources(self, writer: str, records: Sequence[Record]) -> int:
        """Note the runs of sequence numbers; stop before the 65th, and return the number of noted records."""
        if not records:
            return 0
        first, last = records[0], records[-1]
        if last.seq - first.seq + 1 == len(records):
            return len(records) if self._note_run(writer, first.pid, first.seq, last.seq) else 0
        for count, record in enumerate(records):
            if not self._note_run(writer, record.pid, record.seq, record.seq):
                return count
        return len(records)

    def _note_run(self, writer: str, pid: int, first: int, last: int) -> bool:
        if self.sources:
            newest = self.sources[-1]
            if newest[0] == writer and newest[1] == pid and newest[3] + 1 == first:
                self.sources[-1] = (writer, pid, newest[2], last)
                return True
        if len(self.sources) >= MAX_SOURCES:
            return False
        self.sources.append((writer, pid, first, last))
        return True

    def _add(self, records: Sequence[Record], lines: Sequence[bytes]) -> None:
        block = b"\n".join(lines) + b"\n"
        self.tree.add(lines)
        compressed = self._encoder.add(block)
        if compressed:
            self._parts.append(compressed)
            self._stored += len(compressed)
        self.records += len(lines)
        self.raw += len(block)
        _count(self._levels, list(map(_get_level, records)))
        _count(self._loggers, list(map(_get_logger, records)))
        if len(self._events) <= MAX_DISTINCT_VALUES:
            self._events.update(map(_get_event, records))
        times = list(map(_get_time, records))
        first, last = min(times), max(times)
        self.first = min(self.first, first) if self.first else first
        self.last = max(self.last, last)

    def hash_records(self) -> Iterator[None]:
        """Return the steps that finish the record tree."""
        return self.tree.steps()

    def payload(self, recipient: str | None = None) -> Payload:
        """End the compression; return the blocks with their CIDs.

        Args:
            recipient: the public key to which the payload is encrypted; `None`: it is not encrypted.
        """
        data = b"".join((*self._parts, self._encoder.finish()))
        encoding = JSONL
        if recipient is not None:
            data, encoding = encryption.encrypt(data, recipient), JSONL_AGE
        if len(data) <= MAX_STORED_BYTES:
            cid = Cid.of(RAW, data)
            return Payload(cid, ((cid, data),), len(data), encoding)
        blocks = tuple(unixfs.build([data]))
        return Payload(blocks[-1][0], blocks, len(data), encoding)

    def stats(self) -> dict[str, Any]:
        """Return the zone map: counts by level and logger, the distinct events; `many` for a set that is too large."""
        return {
            "levels": cap_counts(self._levels),
            "loggers": cap_counts(self._loggers),
            "events": cap_names(self._events),
            **self.summary.stats(),
        }

    def content(self, payload: Payload, policy: Policy, now: int) -> BatchContent:
        """Return the content of the manifest for this batch.

        Args:
            payload: the finished payload.
            policy: the policy with type and version of the batch's metadata.
            now: the time of sealing, µs since 1970.
        """
        times = [now if moment is None else max(0, moment) for moment in (micros(self.first), micros(self.last))]
        return BatchContent(
            sealed=now,
            first=min(times),
            last=max(times),
            records=self.records,
            dropped=dict(self.dropped),
            payload=payload.root,
            size=payload.size,
            raw=self.raw,
            encoding=payload.encoding,
            root=self.tree.root(),
            meta={
                "type": policy.type,
                "timestamp": rfc3339(now),
                "version": policy.version,
                "record_count": self.records,
                **self.summary.meta(min(times), self._index),
            },
            stats=self.stats(),
            sources=tuple(self.sources),
        )


def _count(counts: Counter[str], column: list[str]) -> None:
    """Count the names in a column, which mostly has only one."""
    if column.count(column[0]) == len(column):
        counts[column[0]] += len(column)
    else:
        counts.update(column)
