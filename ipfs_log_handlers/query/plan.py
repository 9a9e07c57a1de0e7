"""Choose the batches that can contain a match of a filter, and give the reasons for skipping the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ipfs_log_handlers.format.moment import micros
from ipfs_log_handlers.query.comparison import Comparison
from ipfs_log_handlers.query.filters import Condition, Filter
from ipfs_log_handlers.reader.parts import FIRST_MOMENT, LAST_MOMENT, Part, Reads, moment_text

__all__ = ["Plan", "PlannedBatch", "Planner", "Stats"]

_MINUTE_S: Final = 60
"""Seconds of a minute."""
_SPANS_S: Final = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400, 604800)
"""Spans of a bucket, in seconds, that people read easily."""
_BLOOM: Final = "ids"
"""The reason of a batch that a Bloom filter rules out."""


class Stats(Reads):
    """Counters of a reading; they grow while it runs."""

    __slots__ = ("batches", "bytes", "matched", "opened", "records")

    def __init__(self) -> None:
        super().__init__()
        self.batches = 0
        """Batches, and segments of the spool, of the chosen subsystems."""
        self.opened = 0
        """Batches and segments that were read."""
        self.records = 0
        """Records that were read."""
        self.matched = 0
        """Records that matched the filter."""
        self.bytes = 0
        """Bytes of the payloads that were read."""

    def as_json(self) -> dict[str, int]:
        """Return the counts with the keys of `ipfs-logs query --stats`."""
        names = ("batches", "opened", "records", "matched", "bytes", "pages", "manifests")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBatch:
    """One batch, or one segment of the spool, in a plan."""

    subsystem: str
    """Its subsystem."""
    log: str
    """Its log."""
    index: int | None
    """Its number; `None` for lines that are in no batch yet."""
    first: str | None
    """Time of its first record; `None` if it is not known."""
    last: str | None
    """Time of its last record; `None` if it is not known."""
    records: int
    """Its records."""
    bytes: int
    """Bytes that are read when it is opened."""
    opened: bool
    """Whether it must be read."""
    reason: str
    """Why it is skipped: `time`, `level`, `logger`, `event`, `where` (by the zone map), `ids` (by a Bloom filter),
    `subsystem` (SQL reads no table that has it); why it is opened: `may match`, `not sealed`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The batches that a dataset reads; `str(plan)` is a summary in one line."""

    batches: tuple[PlannedBatch, ...]
    """Every batch, and every segment of the spool, of the chosen subsystems, in the order in which they are read."""
    pages: int = 0
    """Index pages that were read for the plan."""
    manifests: int = 0
    """Manifests that were read for the plan: those of batches that no index page describes."""

    @property
    def opened(self) -> int:
        """Number of batches and segments that must be read."""
        return sum(batch.opened for batch in self.batches)

    @property
    def bytes(self) -> int:
        """Bytes of the batches and segments that must be read."""
        return sum(batch.bytes for batch in self.batches if batch.opened)

    @property
    def times(self) -> tuple[str, str] | None:
        """Times of the first and the last record that must be read; `None` if they are not known."""
        first = min((batch.first for batch in self.batches if batch.opened and batch.first), default=None)
        last = max((batch.last for batch in self.batches if batch.opened and batch.last), default=None)
        return None if first is None or last is None else (first, last)

    def fitting_span(self, rows: int = 40) -> int:
        """Return the shortest usual span, in seconds, with which `histogram` gives about so many buckets at most.

        Args:
            rows: number of buckets.
        """
        if self.times is None:
            return _MINUTE_S
        first, last = (micros(time) for time in self.times)
        whole = 0 if first is None or last is None else (last - first) / 1e6
        return next((span for span in _SPANS_S if whole / span < rows), _SPANS_S[-1])

    @property
    def skipped(self) -> dict[str, int]:
        """Number of skipped batches, by reason."""
        return dict(Counter(batch.reason for batch in self.batches if not batch.opened))

    @property
    def ruled_out(self) -> dict[str, int]:
        """How many are skipped by `zone map` and by `Bloom filter`."""
        bloom = self.skipped.get(_BLOOM, 0)
        return {"zone map": len(self.batches) - self.opened - bloom, "Bloom filter": bloom}

    def as_json(self) -> dict[str, Any]:
        """Return the sums of the plan."""
        return {
            "batches": len(self.batches),
            "opened": self.opened,
            "bytes": self.bytes,
            "skipped": self.skipped,
            "ruled_out": self.ruled_out,
            "pages": self.pages,
            "manifests": self.manifests,
        }

    def __str__(self) -> str:
        names = {_BLOOM: "ids (Bloom filter)"}
        skipped = ", ".join(f"{count} by {names.get(reason, reason)}" for reason, count in sorted(self.skipped.items()))
        return (
            f"reads {self.opened} of {len(self.batches)} batches, {self.bytes} bytes; skips {skipped or 'none'}; "
            f"planned with {_several(self.pages, 'index page')} and {_several(self.manifests, 'manifest')}"
        )


class Planner:
    """Choose the batches for one filter.

    Args:
        chosen: the filter.
    """

    def __init__(self, chosen: Filter) -> None:
        self._filter = chosen
        self._of_origin = [
            condition
            for condition in chosen.conditions
            if isinstance(condition, Comparison) and condition.path == "origin"
        ]
        self._ids = [condition.ids for condition in chosen.conditions if condition.ids is not None]
        self.since = FIRST_MOMENT if chosen.time.since is None else moment_text(chosen.time.since)
        """Earliest time of a matching record."""
        self.until = LAST_MOMENT if chosen.time.until is None else moment_text(chosen.time.until)
        """Time after all matching records."""

    def in_time(self, parts: Iterable[Part]) -> Iterator[Part]:
        """Yield the parts that can contain a record of a matching time."""
        return (part for part in parts if self._overlaps(part))

    def _overlaps(self, part: Part) -> bool:
        return part.last >= self.since and part.first < self.until

    def is_covered(self, part: Part) -> bool:
        """Return whether every record of a part has a matching time."""
        return part.first >= self.since and part.last < self.until

    def refusal(self, part: Part) -> str | None:
        """Name the condition that no record of a part meets; `None` if the part must be read."""
        if not self._overlaps(part):
            return "time"
        origin = part.origin
        if origin is not None and not all(condition.may_have_origin(origin) for condition in self._of_origin):
            return "origin"
        if not all(part.may_hold(name, hashes) for name, hashes in self._ids):
            return _BLOOM
        if not self._filter.conditions:
            return None
        zone = part.zone()
        return next((condition.name for condition in self._filter.conditions if not _may_match(condition, zone)), None)

    def plan(self, parts: Iterable[Part], reads: Reads, further: Callable[[Part], str | None] = lambda _: None) -> Plan:
        """Decide for each part; nothing is opened but index pages and manifests.

        Args:
            parts: the parts.
            reads: counts what is read for them.
            further: says why a part that can hold a match is skipped nevertheless; `None`: it is not.
        """
        planned = tuple(self._planned(part, self.refusal(part) or further(part)) for part in parts)
        return Plan(planned, reads.pages, reads.manifests)

    def _planned(self, part: Part, refusal: str | None) -> PlannedBatch:
        return PlannedBatch(
            subsystem=part.subsystem,
            log=part.log,
            index=part.index if part.sealed else None,
            first=_text(part.first),
            last=_text(part.last),
            records=part.records,
            bytes=part.size,
            opened=refusal is None,
            reason=refusal or ("may match" if part.sealed else "not sealed"),
        )


def _may_match(condition: Condition, zone: Mapping[str, Any]) -> bool:
    """Say whether a record can fulfil a condition; a zone map that no keeper makes rules nothing out."""
    try:
        return condition.may_match(zone)
    except (TypeError, ValueError, KeyError, AttributeError):
        return True


def _several(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _text(time: bytes) -> str | None:
    return None if time in (FIRST_MOMENT, LAST_MOMENT) else time.decode("ascii", "replace")
