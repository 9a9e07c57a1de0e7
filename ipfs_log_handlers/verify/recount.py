"""Count the records of a batch again, and compare the sums with the claims of its manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.format.moment import micros, rfc3339
from ipfs_log_handlers.stats.columns import MANY
from ipfs_log_handlers.stats.decoder import compiled_rules
from ipfs_log_handlers.stats.summary import BatchSummary
from ipfs_log_handlers.subsystems.rules import Rules

__all__ = ["Recount"]

_COMMON: Final = frozenset({"type", "timestamp", "version", "record_count"})
"""Keys of `meta` that every batch has, whatever the rules of its subsystem."""


class Recount:
    """The sums over the records of a batch, counted again.

    Args:
        manifest: the manifest of the batch.
        known: rules by their ids. If the rules of the batch are not among them, its `meta` by rules is not checked.
    """

    def __init__(self, manifest: Manifest, known: Mapping[str, Rules]) -> None:
        self._manifest = manifest
        self._plan = compiled_rules(known.get(str(manifest.stats.get("rules")), Rules()))
        self._sums = BatchSummary(self._plan)
        self._places = ((pid, seq) for _, pid, first, last in manifest.sources for seq in range(first, last + 1))
        self._wrong: list[tuple[str, object, object]] = []
        self._levels: Counter[str] = Counter()
        self._loggers: Counter[str] = Counter()
        self._events: set[str] = set()
        self._first = self._last = ""
        self._lists_events = isinstance(manifest.stats.get("events"), list)

    def take(self, lines: Sequence[bytes]) -> None:
        """Count records.

        Raises:
            FormatError: one of them is not a record.
        """
        records, readable = self._plan.decode(lines)
        if len(records) != len(lines):
            raise FormatError("not a record", found=ascii(lines[len(records)][:80]))
        self._sums.add(records, readable=readable)
        places = [(record.pid, record.seq) for record in records]
        claimed = list(islice(self._places, len(records)))
        if places != claimed and not self._wrong:
            different = [(a, b) for a, b in zip(claimed, places, strict=False) if a != b]
            expected, got = different[0] if different else (f"{len(claimed)} records", f"{len(places)} records")
            self._wrong.append(("sources", f"pid and seq {expected}", got))
        if len(self._levels) <= self._listed("levels"):
            self._levels.update([record.level for record in records])
        if len(self._loggers) <= self._listed("loggers"):
            self._loggers.update([record.logger for record in records])
        if len(self._events) <= self._listed("events"):
            self._events.update([record.event for record in records])
        times = [record.time for record in records]
        self._first = min(times if not self._first else [self._first, *times])
        self._last = max([self._last, *times])

    def _listed(self, name: str) -> int:
        """Count the values that the zone map lists. With more values its claim is wrong; these are not kept."""
        listed = self._manifest.stats.get(name)
        return len(listed) if isinstance(listed, (list, dict)) else -1

    def differences(self) -> Iterator[tuple[str, object, object]]:
        """Yield the wrong claims: the name, the value from the records, the value in the manifest."""
        yield from self._wrong
        manifest, stats = self._manifest, self._manifest.stats
        if manifest.records:
            for name, text, claim in (("first", self._first, manifest.first), ("last", self._last, manifest.last)):
                if (counted := micros(text)) is not None and counted != claim:
                    yield name, counted, claim
        for name, counts in (("levels", self._levels), ("loggers", self._loggers)):
            if isinstance(stats.get(name), dict) and stats[name] != dict(counts):
                yield f"stats.{name}", dict(counts), stats[name]
        if self._lists_events and sorted(self._events) != stats["events"]:
            yield "stats.events", sorted(self._events), stats["events"]
        yield from self._metadata()

    def _metadata(self) -> Iterator[tuple[str, object, object]]:
        manifest = self._manifest
        if "timestamp" in manifest.meta and manifest.meta["timestamp"] != rfc3339(manifest.sealed):
            yield "meta.timestamp", rfc3339(manifest.sealed), manifest.meta["timestamp"]
        if not self._plan.rules:
            return
        expected = self._sums.meta(manifest.first, manifest.index)
        claims = {name: value for name, value in manifest.meta.items() if name not in _COMMON}
        for name in sorted(expected.keys() | claims.keys()):
            if not _agree(expected.get(name, "nothing"), claims.get(name, "nothing")):
                yield f"meta.{name}", expected.get(name, "nothing"), claims.get(name, "nothing")
        zone = self._sums.stats().get("fields", {})
        fields = manifest.stats.get("fields")
        for name, bounds in fields.items() if isinstance(fields, Mapping) else ():
            counted = zone.get(name, {})
            if not isinstance(bounds, Mapping) or not all(
                _agree(counted.get(key), bounds.get(key)) for key in ("values", "min", "max")
            ):
                yield f"stats.fields.{name}", counted, bounds


def _agree(counted: object, claim: object) -> bool:
    """Return whether a claim is right. `many` in place of a set or of counts is always right."""
    return counted == claim or (claim == MANY and isinstance(counted, (list, dict)))
