"""Follow homes: give each record once, soon after it was logged, and say in a cursor how far that has come.

A follower wakes up when a directory changes, where the system tells it (`watching.py`), and looks at the files a few
times a second in any case. They are read where their names, sizes or times have changed. A log elsewhere is followed by
the name that leads to its newest head.
"""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.errors import ConfigurationError, FormatError
from ipfs_log_handlers.query.filters import Filter
from ipfs_log_handlers.query.followed_batches import ImportedLogs, NamedLogs
from ipfs_log_handlers.query.hiding import HiddenPart
from ipfs_log_handlers.query.merge import Match, Matcher, merged
from ipfs_log_handlers.query.plan import Stats
from ipfs_log_handlers.reader.cursor import Cursor
from ipfs_log_handlers.reader.dataset import Reading
from ipfs_log_handlers.reader.gaps import Gap
from ipfs_log_handlers.reader.home_parts import HomeSource
from ipfs_log_handlers.reader.named_parts import NamedSource
from ipfs_log_handlers.reader.parts import FIRST_MOMENT, Part, Source, time_of
from ipfs_log_handlers.reader.watching import Watch

if TYPE_CHECKING:
    from ipfs_log_handlers.query.dataset import Dataset
    from ipfs_log_handlers.redaction.lines import LineRedaction

__all__ = ["Following"]

_MAX_AT_ONCE: Final = 1000
"""Largest number of records that one `poll` returns, unless it is told another one."""
_BUSY_S: Final = 0.1
"""Seconds between two readings while new lines arrive, and once more after the last line."""
_MAX_REST_S: Final = 0.2
"""Seconds until the next reading while no directory reports a change: some file systems do not report every change."""


class Following(Iterator[dict[str, Any]]):
    """The records of some sources from some moment on. Made by `Dataset.follow`.

    Args:
        dataset: whose sources are followed, and whose `select` has effect.
        chosen: the filter.
        cursor: where an earlier one had come to; `None`: now.
        last: without a cursor, how many of the newest records come first.
        poll_seconds: seconds between two checks of files whose changes the system does not report.
        redaction: hides values of the records; `None`: none is hidden.
        check: called before each part of the newest records is read, and after each record that does not pass; what it
            raises ends the call, and the next one goes on.
    """

    def __init__(
        self,
        dataset: Dataset,
        chosen: Filter,
        cursor: str | None,
        *,
        last: int,
        poll_seconds: float,
        redaction: LineRedaction | None = None,
        check: Callable[[], None] | None = None,
    ) -> None:
        self._selected = dataset.selected
        self._matcher = Matcher(chosen, Stats(), check)
        self._redaction = redaction
        self._check = check
        self._subsystems = chosen.subsystems
        self._poll_seconds = poll_seconds
        self._stopped = threading.Event()
        self._watch = Watch()
        self._is_watching = False
        self._found_at = clock.monotonic() - _BUSY_S
        """When a line was found last."""
        self._followed = [_followed(source) for source in dataset.sources]
        first: Sequence[Match] = ()
        if cursor is not None:
            for followed, cursors in zip(self._followed, _parsed(cursor, len(self._followed)), strict=True):
                followed.begin(cursors)
        else:
            parts = [
                part if redaction is None else HiddenPart(part, redaction)
                for followed in self._followed
                for part in followed.begin_now(self._subsystems)
            ]
            first = list(islice(merged(parts, self._matcher, descending=True), last))[::-1] if last else ()
        self._first = iter(first)
        self._found = self._go_on()
        self._error: Exception | None = None
        """An error that `poll` met after it had found records; the next call raises it."""

    @property
    def cursor(self) -> str:
        """The position after the last yielded record; a later `follow` continues there."""
        return json.dumps(
            [{name: str(cursor) for name, cursor in followed.cursors().items()} for followed in self._followed]
        )

    def close(self) -> None:
        """End the iteration, also from another thread; at most one more record is yielded."""
        self._stopped.set()
        self._watch.wake()

    def __next__(self) -> dict[str, Any]:
        while not self._stopped.is_set():
            match = self._next()
            if match is not None:
                return self._selected(match.record)
            self._rest()
        raise StopIteration

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the same records, and let the running loop run other tasks while there is none."""
        while not self._stopped.is_set():
            match = self._next()
            if match is not None:
                yield self._selected(match.record)
            elif (seconds := self._seconds_to_rest()) is not None:
                await self._changed(seconds)

    def poll(self, limit: int = _MAX_AT_ONCE) -> list[Match]:
        """Return the new records in the order of time, without waiting.

        An error that comes after some records is raised by the next call, so that these records are not lost.

        Args:
            limit: largest number of records.
        """
        matches: list[Match] = []
        try:
            while len(matches) < limit and (match := self._next()) is not None:
                matches.append(match)
        except Exception as error:
            if not matches:
                raise
            self._error = error
        return sorted(matches, key=lambda match: match.time)

    def wait(self) -> bool:
        """Wait until the next check; return `False` if it was closed."""
        self._rest()
        return not self._stopped.is_set()

    def _next(self) -> Match | None:
        """Return the next new match, or `None`; after an error, the next call goes on from the cursor."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        try:
            return next(self._found)
        except BaseException:
            self._found = self._go_on()  # a generator that has raised an error yields nothing more
            raise

    def _go_on(self) -> Iterator[Match | None]:
        """Yield each new match, and `None` whenever there is no new match."""
        yield from self._first
        while True:
            for followed in self._followed:
                for stored in followed.new(self._subsystems):
                    self._found_at = clock.monotonic()
                    match = self._hidden(stored)
                    if self._matcher.is_in_time(match.line) and self._matcher.passes(
                        match.line, match.subsystem, match.origin
                    ):
                        yield match
                    elif self._check is not None:
                        self._check()
            yield None

    def _hidden(self, match: Match) -> Match:
        return match if self._redaction is None else match._replace(line=self._redaction.in_line(match.line))

    # -- between two readings

    def _rest(self) -> None:
        seconds = self._seconds_to_rest()
        if seconds is not None:
            self._watch.wait(seconds)

    def _seconds_to_rest(self) -> float | None:
        """Return how long to wait before the next look at most; `None`: look at once.

        While lines come, a watch would only cost the program that writes them. Where none has come for a moment, a
        watch is set, and the files are looked at once more, for what was written before it was set.
        """
        if clock.monotonic() - self._found_at < _BUSY_S:
            self._is_watching = False
            return min(_BUSY_S, self._poll_seconds)
        if self._is_watching:
            self._is_watching = False
            return _MAX_REST_S
        self._is_watching = self._watch.set(*self._directories())
        return None if self._is_watching else self._poll_seconds

    def _directories(self) -> tuple[list[Path], list[Path]]:
        """List the directories whose files are written, and those in which files get a name."""
        listed = [followed.directories(self._subsystems) for followed in self._followed]
        return [path for written, _ in listed for path in written], [path for _, named in listed for path in named]

    async def _changed(self, seconds: float) -> None:
        """Wait as `_rest` does, and let the running loop go on."""
        import asyncio

        loop, changed, descriptor = asyncio.get_running_loop(), asyncio.Event(), self._watch.descriptor
        try:
            if descriptor >= 0:
                loop.add_reader(descriptor, changed.set)
        except NotImplementedError:  # a loop that waits for sockets alone
            descriptor = -1
        try:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(changed.wait(), seconds)
        finally:
            if descriptor >= 0:
                loop.remove_reader(descriptor)
                self._watch.forget()


class _Followed(Protocol):
    """One source that is followed."""

    def begin(self, cursors: Mapping[str, Cursor]) -> None:
        """Begin each subsystem at a cursor; one without a cursor begins at its first record."""

    def begin_now(self, wanted: frozenset[str] | None) -> Iterable[Part]:
        """Begin after all that is there now; go through the parts of that."""

    def cursors(self) -> dict[str, Cursor]:
        """Return how far each subsystem of a home, or each log of a name, has come."""

    def new(self, wanted: frozenset[str] | None) -> Iterator[Match]:
        """Yield the records that have come since."""

    def directories(self, wanted: frozenset[str] | None) -> tuple[list[Path], list[Path]]:
        """List the directories whose files are written, and those in which files get a name."""


def _followed(source: Source) -> _Followed:
    if isinstance(source, HomeSource):
        return _Home(source)
    if isinstance(source, NamedSource):
        return NamedLogs(source)
    raise ConfigurationError(
        "only homes and names can be followed: what a CID names does not change",
        hint="Give a name that leads to the newest head, such as /ipns/k51….",
    )


def _parsed(text: str, homes: int) -> list[dict[str, Cursor]]:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError, TypeError) as error:
        raise FormatError("not a cursor", expected="the text of Following.cursor", found=ascii(text)[:80]) from error
    if not isinstance(given, list) or len(given) != homes or not all(isinstance(cursors, dict) for cursors in given):
        raise FormatError("the cursor is for another number of homes", expected=homes, found=ascii(text)[:80])
    return [{name: Cursor.parse(str(cursor)) for name, cursor in cursors.items()} for cursors in given]


class _Home:
    """One home that is followed."""

    def __init__(self, source: HomeSource) -> None:
        self._source = source
        self._tails: dict[str, _Tail] = {}
        self._others = None if source.imported is None else ImportedLogs(source.imported)

    def begin(self, cursors: Mapping[str, Cursor]) -> None:
        """Begin each subsystem at a cursor; one without a cursor begins at its first record."""
        others = {name: cursor for name, cursor in cursors.items() if "/" in name}  # names of logs
        if self._others is not None:
            self._others.at = others
        own = {name: cursor for name, cursor in cursors.items() if name not in others}
        self._tails = {name: _Tail(self._source, name, cursor) for name, cursor in own.items()}

    def begin_now(self, wanted: frozenset[str] | None) -> Iterator[Part]:
        """Begin after all records that are durable now; yield the parts of these."""
        for name in self._names():
            if wanted is None or name in wanted:
                parts, cursor = self._source.snapshot(name)
                self._tails[name] = _Tail(self._source, name, cursor)
                yield from parts
        if self._others is not None:
            yield from self._others.begin_now(wanted)

    def cursors(self) -> dict[str, Cursor]:
        """Return how far each subsystem has come."""
        own = {name: tail.cursor for name, tail in self._tails.items()}
        return own if self._others is None else own | self._others.at

    def new(self, wanted: frozenset[str] | None) -> Iterator[Match]:
        """Yield the records that have come since."""
        for name in self._names():
            if wanted is None or name in wanted:
                tail = self._tails.get(name)
                if tail is None:
                    tail = self._tails[name] = _Tail(self._source, name, Cursor())
                yield from tail.new()
        if self._others is not None:
            yield from self._others.new(wanted)

    def directories(self, wanted: frozenset[str] | None) -> tuple[list[Path], list[Path]]:
        """List the directories of the segments, and those in which heads and subsystems get their names."""
        home = self._source.reader.home
        chosen = [home.subsystem_dir(name) for name in self._names() if wanted is None or name in wanted]
        others = [] if self._others is None else self._others.directories()
        named = [home.path, *(directory.path for directory in chosen), *others]
        return [directory.spool for directory in chosen], named

    def _names(self) -> Sequence[str]:
        with suppress(FileNotFoundError):  # the home does not exist yet, or was removed
            return self._source.own_subsystems()
        return ()


class _Tail:
    """One subsystem that is followed."""

    def __init__(self, source: HomeSource, name: str, cursor: Cursor) -> None:
        self._source = source
        self._name = name
        self._reading = self._reading_after(cursor)
        self._state: Hashable = None
        self._count = 0

    def _reading_after(self, cursor: Cursor) -> Reading:
        return self._source.reader.reading(self._name, after=cursor)

    @property
    def cursor(self) -> Cursor:
        """The position in the subsystem."""
        return self._reading.cursor

    def new(self) -> Iterator[Match]:
        """Yield the new records; if no file has changed, no file is read."""
        state = self._source.state(self._name)
        if state == self._state:
            return
        imported = self._source.imported
        shows_origin = imported is not None and imported.is_used
        try:
            for line in self._reading:
                self._count += 1
                log = self._reading.cursor_log
                origin = (log or None) if shows_origin else None
                yield Match(time_of(line) or FIRST_MOMENT, log, 0, 0, self._count, self._name, line, origin=origin)
        except FormatError as error:
            self._lose_place(error)
            return
        self._state = state

    def _lose_place(self, error: FormatError) -> None:
        """Begin again if the followed log is no longer in the home; records that were yielded are not repeated."""
        lost = self._reading.cursor
        reason = f"the followed log is no longer in the home; the next log is read from its beginning: {error}"
        self._reading = self._reading_after(Cursor(seqs=lost.seqs))
        self._source.reader.on_gap(
            Gap(kind="damaged", subsystem=self._name, log=lost.log, index=None, reason=reason, segment="")
        )
