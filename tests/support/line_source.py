"""Give a dataset lines that no handler of this package would write, and count what is read of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.query.dataset import Dataset
from ipfs_log_handlers.reader.parts import FIRST_MOMENT, LAST_MOMENT, Part, Reads, time_of


class LinePart:
    """Some lines, as a sealed batch whose manifest states their times, levels and loggers."""

    number = 0
    origin: str | None = None

    def __init__(self, lines: Sequence[bytes], index: int, *, subsystem: str, sealed: bool) -> None:
        self.subsystem = subsystem
        self.log = f"log of {subsystem}"
        self.index = index
        self.sealed = sealed
        times = sorted(time for line in lines if (time := time_of(line)) is not None)
        self.first = times[0] if times else FIRST_MOMENT
        self.last = times[-1] if times else LAST_MOMENT
        self.records = len(lines)
        self.size = sum(map(len, lines))
        self.opened = 0
        """How often its lines were read."""
        self._lines = lines

    def zone(self) -> Mapping[str, Any]:
        """Return the counts that a manifest states."""
        if not self.sealed:
            return {}
        counts: dict[str, dict[str, int]] = {"levels": {}, "loggers": {}}
        for line in self._lines:
            record = json.loads(line)
            for key in ("level", "logger"):
                if isinstance(record.get(key), (str, int, float)):
                    name = str(record[key])
                    counts[f"{key}s"][name] = counts[f"{key}s"].get(name, 0) + 1
        return counts

    def may_hold(self, name: str, hashes: Sequence[int]) -> bool:
        """Say yes: there is no index."""
        del name, hashes
        return True

    def manifest(self) -> Manifest | None:
        """Return nothing: nobody has signed these lines."""
        return None

    def open_text(self) -> None:
        """Return nothing: the lines are as fast."""

    def lines(self) -> Iterator[bytes]:
        """Yield the lines."""
        self.opened += 1
        yield from self._lines

    def lines_or_error(self) -> Iterator[bytes]:
        """Yield the same lines."""
        return self.lines()


class LineSource:
    """Parts that are given; each is a list of lines of one subsystem."""

    def __init__(
        self, parts: Sequence[Sequence[bytes]], *, subsystem: str | Sequence[str] = "audit", sealed: bool = True
    ) -> None:
        names = [subsystem] * len(parts) if isinstance(subsystem, str) else subsystem
        self.all = [
            LinePart(lines, index, subsystem=name, sealed=sealed)
            for index, (lines, name) in enumerate(zip(parts, names, strict=True))
        ]

    def subsystems(self) -> Sequence[str]:
        """Name the subsystems."""
        return sorted({part.subsystem for part in self.all})

    def parts(self, subsystem: str, reads: Reads | None = None) -> Sequence[Part]:
        """List the parts of one."""
        del reads
        return [part for part in self.all if part.subsystem == subsystem]

    def place_of(self, cid: Cid) -> tuple[str, int] | None:
        """Find nothing: there is no head."""
        del cid
        return None

    def close(self) -> None:
        """Do nothing."""

    @property
    def opened(self) -> int:
        """How many parts were read."""
        return sum(part.opened > 0 for part in self.all)


def line(number: int, **fields: Any) -> bytes:
    """Return the line of a record whose time is that many seconds after the first."""
    time = f"2026-03-02T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}.000000Z"
    record = {"time": time, "level": "info", "logger": "app", "event": "did", **fields, "pid": 7, "seq": number}
    return json.dumps(record, separators=(",", ":")).encode()


def dataset_of(*lines: bytes) -> Dataset:
    """Return a dataset of one batch with these lines."""
    return Dataset((LineSource([lines]),))
