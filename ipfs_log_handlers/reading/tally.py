"""What the records of a batch add up to, to be compared with what its manifest says of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.keeper.draft import micros

__all__ = ["Tally"]


class _Record(msgspec.Struct, gc=False):
    time: str
    level: str
    logger: str
    event: str
    pid: int
    seq: int


_decode_all = msgspec.json.Decoder(list[_Record]).decode


class Tally:
    """What the records of a batch add up to."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
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
        try:
            found = _decode_all(b"[%b]" % b",".join(lines))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise FormatError("not a record", found=str(error)) from error
        if len(found) != len(lines):
            raise FormatError("a line is not one record", expected=len(lines), found=len(found))
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
