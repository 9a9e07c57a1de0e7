"""Gather the lines of a group of batches, and divide them by the value of a field: each value has a batch and a key.

The lines are held as they are until the stretch of the spool ends, so that only one compressor is in memory at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Final

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.home.data_keys import DataKey
from ipfs_log_handlers.home.scope_keys import text_of
from ipfs_log_handlers.home.segments import SegmentName
from ipfs_log_handlers.keeper.batch_builder import MAX_SOURCES, BatchBuilder, BatchLimits
from ipfs_log_handlers.stats.decoder import Record, compiled_rules
from ipfs_log_handlers.subsystems.rules import Rules

__all__ = ["MAX_VALUES", "LinesByScope"]

MAX_VALUES: Final = 64
"""Largest number of values in a group: with one more, the group ends, and the line is the first of the next group."""
_LINES_A_STEP: Final = 64
"""Lines that are compressed in one step."""
_UNLIMITED: Final = 1 << 60
"""More lines or bytes than a group has: it is the group that is limited."""

Run = tuple[SegmentName, list[bytes]]
"""Lines that follow one another in a segment."""


class LinesByScope:
    """Gather the lines of one group.

    Args:
        scope: the field.
        limits: the limits of all batches of the group together. Its lines are not more than fit into one block.
    """

    def __init__(self, scope: str, limits: BatchLimits) -> None:
        self.records = 0
        self.raw = 0
        self.dropped: Counter[str] = Counter()
        self._limits = limits
        self._max_raw = min(limits.raw_bytes, limits.stored_bytes)
        self._rules = compiled_rules(Rules(zone=(scope,)))
        self._value_of = attrgetter(self._rules.attribute[scope])
        self._closed = False
        self._taken: list[tuple[str | None, Run]] = []
        """Runs of lines with the same value, in the order of the spool."""
        self._runs: Counter[str | None] = Counter()
        """How many runs of sequence numbers the lines of each value have: a manifest takes `MAX_SOURCES`."""
        self._newest: dict[str | None, tuple[str, int]] = {}
        """Writer and sequence number of the last line of each value."""

    @property
    def full(self) -> bool:
        """Return whether the group takes no further line."""
        return self._closed or self.records >= self._limits.records or self.raw >= self._max_raw

    @property
    def values(self) -> list[str | None]:
        """The values, in the order of their first lines; `None` stands for the lines without one."""
        return list(self._runs)

    def note_dropped(self, dropped: Mapping[str, int]) -> None:
        """Count records that a writer dropped."""
        self.dropped.update(dropped)

    def add(self, name: SegmentName, lines: Sequence[bytes]) -> tuple[int, int | None]:
        """Add records of one writer, as many as the group takes; returns as `BatchBuilder.add`."""
        records, _ = self._rules.decode(lines)
        for count, (record, line) in enumerate(zip(records, lines, strict=False)):
            if not self._take(name, record, line):
                return count, None
        return len(records), len(records) if len(records) < len(lines) else None

    def _take(self, name: SegmentName, record: Record, line: bytes) -> bool:
        """Take a line, unless the group is full, or has no room for one more value or run."""
        if self.full:
            return False
        value = text_of(self._value_of(record))
        if self._newest.get(value) != (name.writer, record.seq - 1):
            is_new = value not in self._runs
            if self._runs[value] >= MAX_SOURCES or (is_new and len(self._runs) > MAX_VALUES):
                self._closed = True
                return False
            self._runs[value] += 1
        self._newest[value] = name.writer, record.seq
        newest_value, newest_run = self._taken[-1] if self._taken else (None, None)
        if newest_run is not None and newest_value == value and newest_run[0] == name:
            newest_run[1].append(line)
        else:
            self._taken.append((value, (name, [line])))
        self.records += 1
        self.raw += len(line) + 1
        return True

    def by_key(self, keys: Mapping[str | None, DataKey]) -> list[tuple[DataKey | None, list[Run]]]:
        """Return the runs of lines for each key, in their order. Without a line: one empty batch without a key.

        Args:
            keys: the key of each value. Several values may have the same.
        """
        divided: dict[DataKey, list[Run]] = {}
        for value, run in self._taken:
            divided.setdefault(keys[value], []).append(run)
        return list(divided.items()) or [(None, [])]

    @staticmethod
    def builders(runs: Sequence[Run], log: str, index: int, level: int, rules: Rules) -> Iterator[BatchBuilder | None]:
        """Yield the batches of one key, each when it is complete, and `None` after each step of work.

        They are one, unless several values have this key.

        Args:
            runs: the lines.
            log: name of the log.
            index: number of the first batch.
            level: zstd level.
            rules: the rules of their metadata.
        """
        limits = BatchLimits(_UNLIMITED, _UNLIMITED, level, _UNLIMITED)
        builder = BatchBuilder(log, index, limits, rules)
        for name, lines in runs:
            at = 0
            while at < len(lines):
                count, _ = builder.add(name, lines[at : at + _LINES_A_STEP])
                at += count
                if not count and not builder.full:
                    raise FormatError("a line that was a record is none", found=ascii(lines[at][:80]))
                if builder.full:
                    yield builder
                    index += 1
                    builder = BatchBuilder(log, index, limits, rules)
                yield None
        if builder.records or not runs:
            yield builder
