"""Follow logs that come in whole batches: those of other homes in a home, and those to which a name leads."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Final

from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.errors import StoreError
from ipfs_log_handlers.query.merge import Match
from ipfs_log_handlers.reader.cursor import Cursor
from ipfs_log_handlers.reader.imported_parts import ImportedSource
from ipfs_log_handlers.reader.named_parts import NamedSource
from ipfs_log_handlers.reader.parts import Part, time_of

__all__ = ["ImportedLogs", "NamedLogs"]

_NAME_S: Final = 1.0
"""Seconds between two lookups of a name."""


class ImportedLogs:
    """The logs of other homes in a home that is followed."""

    def __init__(self, source: ImportedSource) -> None:
        self._source = source
        self._state: Hashable = None
        self.at: dict[str, Cursor] = {}
        """How far each log has come."""
        self.directories = source.directories

    def begin_now(self, wanted: frozenset[str] | None) -> Iterator[Part]:
        """Begin after all batches that are here now; yield them."""
        self._state = self._source.state()
        for name in self._source.subsystems():
            for part in self._source.parts(name) if wanted is None or name in wanted else ():
                self.at[part.log] = Cursor(log=part.log, index=part.index + 1)
                yield part

    def new(self, wanted: frozenset[str] | None) -> Iterator[Match]:
        """Yield the records of the batches that have come since; if no file has changed, no file is read."""
        state = self._source.state()
        if state == self._state:
            return
        for name in self._source.subsystems():
            for part in self._source.parts(name) if wanted is None or name in wanted else ():
                yield from _lines_after(self.at, name, part)
        self._state = state


class NamedLogs:
    """One log elsewhere, or all logs of a home, followed by a name."""

    def __init__(self, source: NamedSource) -> None:
        self._source = source
        self._cursors: dict[str, Cursor] = {}
        """How far each log has come; where the name leads to one log, the last one is this log."""
        self._asked = clock.monotonic()
        self._is_first = True
        self._is_behind = True
        """Whether batches are known that were not read to their end."""
        self._is_silent = False

    def begin(self, cursors: Mapping[str, Cursor]) -> None:
        """Begin each log at a cursor; one without a cursor begins at its first record."""
        self._cursors = {cursor.log: cursor for cursor in cursors.values() if cursor.log}
        self._source.leave(list(self._cursors)[:-1])

    def begin_now(self, wanted: frozenset[str] | None) -> Iterator[Part]:
        """Begin after all batches that are there now; yield them."""
        self._is_first = self._is_behind = False
        for name in self._source.subsystems():
            if wanted is None or name in wanted:
                parts = self._source.parts(name)
                for part in parts:
                    self._cursors[part.log] = Cursor(log=part.log, index=part.index + 1)
                yield from parts

    def cursors(self) -> dict[str, Cursor]:
        """Return how far each log has come."""
        return dict(self._cursors)

    def directories(self, wanted: frozenset[str] | None) -> tuple[list[Path], list[Path]]:
        """List no directory: the batches are not in this home."""
        del wanted
        return [], []

    def new(self, wanted: frozenset[str] | None) -> Iterator[Match]:
        """Yield the records of the batches that have come since."""
        if not self._is_due(wanted):
            return
        for name in self._source.known_subsystems():
            if wanted is None or name in wanted:
                for part in self._source.known_parts(name):
                    yield from _lines_after(self._cursors, name, part)
        self._is_behind = False

    def _is_due(self, wanted: frozenset[str] | None) -> bool:
        """Ask where the name leads to, at most once a second; say whether there are batches to read."""
        now = clock.monotonic()
        if not self._is_first and now - self._asked < _NAME_S:
            return False
        self._asked = now
        try:
            self._is_behind = self._source.refresh(wanted) or self._is_behind
        except StoreError as error:
            if not self._is_silent:  # the outage is reported once, and the log is followed when it is over
                self._is_silent = True
                self._source.report(error)
            return False
        self._is_first = self._is_silent = False
        return self._is_behind and self._source.is_known


def _lines_after(cursors: dict[str, Cursor], name: str, part: Part) -> Iterator[Match]:
    """Yield the records of a batch after the cursor of its log, and move the cursor."""
    at = cursors.get(part.log, Cursor())
    if part.index < at.index:
        return
    skipped = at.offset if part.index == at.index else 0
    for number, line in enumerate(part.lines()):
        if number >= skipped:
            cursors[part.log] = Cursor(log=part.log, index=part.index, offset=number + 1)
            place = part.log, part.index, 0, number
            yield Match(time_of(line) or part.first, *place, name, line, origin=part.origin)
    cursors[part.log] = Cursor(log=part.log, index=part.index + 1)
