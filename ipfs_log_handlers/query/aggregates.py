"""Count the matches of a query: over time, by value, and as percentiles."""

from __future__ import annotations

import heapq
import json
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.format.moment import micros, rfc3339
from ipfs_log_handlers.query.comparison import MISSING, value_at
from ipfs_log_handlers.query.filters import COUNTED_FIELDS, Filter
from ipfs_log_handlers.query.merge import Match
from ipfs_log_handlers.reader.parts import Part

__all__ = [
    "Bucket",
    "Group",
    "Histogram",
    "Tally",
    "label_of",
    "name_of",
    "percentiles_of",
    "stated_counts",
    "stated_matches",
]

_MINUTE: Final = 60_000_000
"""µs of a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """The records of one span of time."""

    time: str
    """Begin of the span, RFC 3339 in UTC."""
    count: int
    """Its records."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Its records by the value of a field; empty if no field was chosen."""

    def as_json(self) -> dict[str, Any]:
        """Return the bucket with the keys of `ipfs-logs hist`."""
        return {"time": self.time, "count": self.count, "counts": dict(self.counts)}


class Group(NamedTuple):
    """Records that are counted together: the matches in one batch or segment."""

    part: Part | None
    """The batch or segment; `None`: the records come from several."""
    counts: Mapping[str, int] | None
    """Their number by the value of the counted field, if the manifest states it; `None`: the records must be read."""
    read: Callable[[], list[Match]]
    """Function that reads the records."""


def stated_counts(part: Part, path: str | None) -> Mapping[str, int] | None:
    """Return the counts of a part by the values of a field, as its manifest states them.

    Args:
        part: the part.
        path: `level` or `logger`, the fields that are counted when a batch is sealed; `subsystem` or `origin`, which
            are the same in all of a batch; `None`: no field.

    Returns:
        The counts; `None` if the manifest does not state them.
    """
    if path is None:
        return {"": part.records}
    if path == "subsystem":
        return {part.subsystem: part.records} if part.records else {}
    if path == "origin" and part.origin is not None:
        return {part.origin: part.records}
    if path not in COUNTED_FIELDS:
        return None
    counts = part.zone().get(f"{path}s")
    if not isinstance(counts, Mapping) or not all(type(count) is int for count in counts.values()):
        return None
    return counts if sum(counts.values()) == part.records else None


def stated_matches(part: Part, path: str | None, chosen: Filter) -> Mapping[str, int] | None:
    """Return the same counts of the records that meet the conditions of a filter, without the one on time.

    Args:
        part: the part.
        path: the field; `None`: no field.
        chosen: the filter; counts are stated if all conditions are on the level, or all on the logger.

    Returns:
        The counts; `None` if the manifest does not state them.
    """
    if not chosen.conditions:
        return stated_counts(part, path)
    sole = chosen.sole_field
    counts = None if sole is None else stated_counts(part, sole)
    if sole is None or counts is None:
        return None
    kept = {
        value: count
        for value, count in counts.items()
        if all(condition.matches({sole: value}) for condition in chosen.conditions)
    }
    total = sum(kept.values())
    if path == sole or not kept:
        return kept
    if path is None:
        return {"": total}
    if path == "subsystem":
        return {part.subsystem: total}
    if path == "origin" and part.origin is not None:
        return {part.origin: total}
    return stated_counts(part, path) if total == part.records else None


class Histogram:
    """Count records over time.

    Args:
        span: µs of a bucket; buckets begin at multiples of it since 1970, in UTC.
    """

    def __init__(self, span: int) -> None:
        self._span = span
        self._counts: dict[int, Counter[str]] = {}
        self._starts: dict[bytes, int] = {}

    def start_of(self, time: bytes) -> int | None:
        """Return the begin of the bucket of a time, µs since 1970; `None` for a text that is not a time."""
        if self._span % _MINUTE:
            moment = micros(time.decode("ascii", "replace"))
            return None if moment is None else moment - moment % self._span
        minute = time[:16]
        start = self._starts.get(minute)
        if start is None:
            moment = micros(minute.decode("ascii", "replace") + ":00.000000Z")
            if moment is None:
                return None
            start = self._starts[minute] = moment - moment % self._span
        return start

    def add(self, start: int, value: str, count: int = 1) -> None:
        """Count records of the bucket that begins at this time."""
        self._counts.setdefault(start, Counter())[value] += count

    def add_group(self, group: Group, by: str | None) -> None:
        """Count records by a field; a batch inside one bucket is not read if its manifest states the counts.

        Args:
            group: the records.
            by: the field; `None`: none.
        """
        if group.counts is not None and group.part is not None:
            first, last = self.start_of(group.part.first), self.start_of(group.part.last)
            if first is not None and first == last:
                for value, count in group.counts.items():
                    self.add(first, value, count)
                return
        for match in group.read():
            start = self.start_of(match.time)
            if start is not None:
                self.add(start, "" if by is None else label_of(value_at(match.record, by)))

    def buckets(self, *, by: bool) -> list[Bucket]:
        """Return the buckets that have records, oldest first."""
        return [
            Bucket(time=rfc3339(start), count=sum(counts.values()), counts=dict(sorted(counts.items())) if by else {})
            for start, counts in sorted(self._counts.items())
        ]


class Tally:
    """Count the values of a field."""

    def __init__(self) -> None:
        self._counts: Counter[Hashable] = Counter()
        self._values: dict[Hashable, Any] = {}

    def add(self, value: Any, count: int = 1) -> None:
        """Count a value."""
        key = _key(value)
        if key not in self._values:
            self._values[key] = value
        self._counts[key] += count

    def add_group(self, group: Group, path: str) -> None:
        """Count the values of a field in some records."""
        if group.counts is not None:
            for name, count in group.counts.items():
                self.add(name, count)
            return
        for match in group.read():
            value = value_at(match.record, path)
            if value is not MISSING:
                self.add(value)

    def top(self, n: int) -> list[tuple[Any, int]]:
        """Return the most frequent values with their counts; equally frequent ones in the order of `values`."""
        counted = [(self._values[key], count) for key, count in self._counts.items()]
        return heapq.nsmallest(n, counted, key=lambda counts: (-counts[1], _rank(counts[0])))

    def values(self) -> list[Any]:
        """Return every value once: null, booleans, numbers, texts, then all other values by their JSON."""
        return sorted(self._values.values(), key=_rank)


def _key(value: Any) -> Hashable:
    """Return a key that is the same for equal JSON values: `true` is not 1, and lists and objects have keys, too."""
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return value
    return (type(value).__name__, json.dumps(value, sort_keys=True))


def _rank(value: Any) -> tuple[int, Any]:
    """Return the sort key of a value of any type."""
    if value is None or isinstance(value, bool):
        return (0, 0 if value is None else 1 + value)
    if isinstance(value, (int, float)):
        return (1, value)
    return (2, value) if isinstance(value, str) else (3, json.dumps(value, sort_keys=True))


def name_of(value: Any) -> Any:
    """Return the value for grouping records: lists and objects as JSON text, a missing value as `None`."""
    if value is MISSING:
        return None
    return json.dumps(value) if isinstance(value, (list, dict)) else value


def label_of(value: Any) -> str:
    """Return a value as text: a missing one is empty."""
    if value is MISSING:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def percentiles_of(numbers: Iterable[float], ranks: Sequence[float]) -> dict[float, float]:
    """Return for each rank P the smallest number that P percent of the numbers do not exceed; empty without numbers.

    Raises:
        ConfigurationError: a rank is not between 0 and 100.
    """
    for rank in ranks:
        if isinstance(rank, bool) or not isinstance(rank, (int, float)) or not 0 <= rank <= 100:
            raise ConfigurationError("not a percentile", expected="0 to 100", found=ascii(rank)[:80])
    ordered = sorted(numbers)
    if not ordered:
        return {}
    return {rank: ordered[max(0, math.ceil(rank / 100 * len(ordered)) - 1)] for rank in ranks}
