"""What the records of a batch add up to, to be compared with what its manifest says of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.format.moment import micros, rfc3339
from ipfs_log_handlers.keeper.meta import Sums
from ipfs_log_handlers.keeper.plan import plan_of
from ipfs_log_handlers.keeper.values import MANY
from ipfs_log_handlers.subsystems.rules import Rules

__all__ = ["Tally"]

_COMMON: Final = frozenset({"type", "timestamp", "version", "record_count"})


class Tally:
    """What the records of a batch add up to.

    Args:
        manifest: what is said of them.
        known: rules by their ids; where those of the batch are not among them, only what every batch says is checked.
    """

    def __init__(self, manifest: Manifest, known: Mapping[str, Rules]) -> None:
        self._manifest = manifest
        self._plan = plan_of(known.get(str(manifest.stats.get("rules")), Rules()))
        self._sums = Sums(self._plan)
        self._places = ((pid, seq) for _, pid, first, last in manifest.sources for seq in range(first, last + 1))
        self._wrong: list[tuple[str, object, object]] = []
        self._levels: Counter[str] = Counter()
        self._loggers: Counter[str] = Counter()
        self._events: set[str] = set()
        self._first = self._last = ""
        self._events_told = isinstance(manifest.stats.get("events"), list)

    def take(self, lines: Sequence[bytes]) -> None:
        """Count records.

        Raises:
            FormatError: one of them is not a record.
        """
        found, readable = self._plan.decode(lines)
        if len(found) != len(lines):
            raise FormatError("not a record", found=ascii(lines[len(found)][:80]))
        self._sums.add(found, readable=readable)
        places = [(each.pid, each.seq) for each in found]
        said = list(islice(self._places, len(found)))
        if places != said and not self._wrong:
            different = [(a, b) for a, b in zip(said, places, strict=False) if a != b]
            expected, got = different[0] if different else (f"{len(said)} records", f"{len(places)} records")
            self._wrong.append(("sources", f"pid and seq {expected}", got))
        self._levels.update([each.level for each in found])
        self._loggers.update([each.logger for each in found])
        if self._events_told:
            self._events.update([each.event for each in found])
        times = [each.time for each in found]
        self._first = min(times if not self._first else [self._first, *times])
        self._last = max([self._last, *times])

    def differences(self) -> Iterator[tuple[str, object, object]]:
        """The claims that do not hold: name, what the records say, what the manifest says."""
        yield from self._wrong
        manifest, stats = self._manifest, self._manifest.stats
        if manifest.records:
            for name, text, said in (("first", self._first, manifest.first), ("last", self._last, manifest.last)):
                if (counted := micros(text)) is not None and counted != said:
                    yield name, counted, said
        for name, counts in (("levels", self._levels), ("loggers", self._loggers)):
            if isinstance(stats.get(name), dict) and stats[name] != dict(counts):
                yield f"stats.{name}", dict(counts), stats[name]
        if self._events_told and sorted(self._events) != stats["events"]:
            yield "stats.events", sorted(self._events), stats["events"]
        yield from self._metadata()

    def _metadata(self) -> Iterator[tuple[str, object, object]]:
        manifest = self._manifest
        if "timestamp" in manifest.meta and manifest.meta["timestamp"] != rfc3339(manifest.sealed):
            yield "meta.timestamp", rfc3339(manifest.sealed), manifest.meta["timestamp"]
        if not self._plan.rules:
            return
        expected = self._sums.meta(manifest.first, manifest.index)
        found = {name: value for name, value in manifest.meta.items() if name not in _COMMON}
        for name in sorted(expected.keys() | found.keys()):
            if not _agree(expected.get(name, "nothing"), found.get(name, "nothing")):
                yield f"meta.{name}", expected.get(name, "nothing"), found.get(name, "nothing")
        zone = self._sums.stats().get("fields", {})
        told = manifest.stats.get("fields")
        for name, bounds in told.items() if isinstance(told, Mapping) else ():
            counted = zone.get(name, {})
            if not isinstance(bounds, Mapping) or not all(
                _agree(counted.get(each), bounds.get(each)) for each in ("values", "min", "max")
            ):
                yield f"stats.fields.{name}", counted, bounds


def _agree(counted: object, told: object) -> bool:
    """Whether a claim holds. `many` claims nothing, where a set or counts could stand."""
    return counted == told or (told == MANY and isinstance(counted, (list, dict)))
