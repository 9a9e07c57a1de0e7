"""Merge the records of many parts by time; a part is opened only when its first record is due."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from ipfs_log_handlers.errors import LogStoreError, VerificationError
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.query.clues import best_clues, lines_with
from ipfs_log_handlers.query.filters import Condition, Filter
from ipfs_log_handlers.query.plan import Planner, Stats
from ipfs_log_handlers.query.read_ahead import TextOf, read_ahead, text_of
from ipfs_log_handlers.reader.lines import record_of, with_subsystem
from ipfs_log_handlers.reader.parts import OpenText, Part, time_of

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["Match", "Matcher", "distinct_parts", "merged", "with_neighbours"]


class Match(NamedTuple):
    """One record. Its first five members are its place in the order of all records."""

    time: bytes
    """Its time as text; if it has none, the time of the first record of its batch."""
    log: str
    """Its log."""
    batch: int
    """Number of its batch; for a line that is in no batch yet, the number of the next batch."""
    part: int
    """Number of its part in one reading."""
    number: int
    """Its number in its batch, from 0."""
    subsystem: str
    """Its subsystem."""
    line: bytes
    """Its stored JSON."""
    is_context: bool = False
    """Whether it does not match itself, but is near a record that matches."""
    origin: str | None = None
    """The name of its log, if the records of the source show it."""

    @property
    def record(self) -> dict[str, Any]:
        """The record as a mapping, with its subsystem, and with its origin."""
        return record_of(self.line, self.subsystem, self.origin)

    @property
    def json(self) -> bytes:
        """Its JSON with its subsystem, and with its origin."""
        return with_subsystem(self.line, self.subsystem, self.origin)


class _Head(msgspec.Struct):
    """The keys of a record that conditions on its head use."""

    level: Any = None
    logger: Any = None
    event: Any = None


_decode_head: Final = msgspec.json.Decoder(_Head).decode
_PLACE: Final = itemgetter(0, 1, 2, 3, 4)


class Matcher:
    """Find the matching records of a part.

    Args:
        chosen: the filter.
        stats: counters of the reading.
        check: called before each part is read; what it raises ends the reading.
    """

    def __init__(self, chosen: Filter, stats: Stats, check: Callable[[], None] | None = None) -> None:
        self.planner = Planner(chosen)
        self.stats = stats
        self._check = check
        self._clues = best_clues(condition.clues for condition in chosen.conditions)
        self._words = [
            condition.clues[0].word
            for condition in chosen.conditions
            if condition.clues is not None and len(condition.clues) == 1
        ]
        self._head = [condition for condition in chosen.conditions if condition.head_only]
        self._whole = [condition for condition in chosen.conditions if not condition.head_only]

    def matches(self, part: Part, ordinal: int, read: TextOf = text_of) -> list[Match]:
        """Read a part; return its matching records in their stored order.

        Args:
            part: the part.
            ordinal: its number among all parts of the reading.
            read: returns its text, or `None` if its lines must be read one by one.
        """
        if self._check is not None:
            self._check()
        stats, since, until = self.stats, self.planner.since, self.planner.until
        stats.opened += 1
        stats.bytes += part.size
        log, index, subsystem, origin = part.log, part.index, part.subsystem, part.origin
        passes = self.passes if self._head or self._whole else None
        candidates, number_at = self._candidates(part, read(part))
        matches = []
        for place, line in candidates:
            time = time_of(line)
            if time is None:
                time = part.first
            elif not since <= time < until:
                continue
            if passes is None or passes(line, subsystem, origin):
                matches.append(Match(time, log, index, ordinal, number_at(place), subsystem, line, False, origin))
        stats.matched += len(matches)
        return matches

    def _candidates(self, part: Part, text: bytes | None) -> tuple[Iterable[tuple[int, bytes]], Callable[[int], int]]:
        """Return the lines that can match, each with its place, and what gives the number of a place in the part."""
        clues = self._clues
        if text is None or clues is None:
            return self._all(part, text), int
        self.stats.records += part.records
        return ((begin, text[begin:end]) for begin, end in lines_with(text, clues)), _Numbers(text).at

    def _all(self, part: Part, text: bytes | None) -> Iterator[tuple[int, bytes]]:
        """Yield all lines, each with its number in the part; count them."""
        if text is not None:
            self.stats.records += part.records
            lines = text.split(b"\n")
            lines.pop()
            yield from enumerate(lines)
            return
        number = -1
        for number, line in enumerate(part.lines()):
            yield number, line
        self.stats.records += number + 1

    def is_in_time(self, line: bytes) -> bool:
        """Return whether the time of a record matches; a record without a time matches."""
        time = time_of(line)
        return time is None or self.planner.since <= time < self.planner.until

    def passes_match(self, match: Match) -> bool:
        """Return whether a match of a wider filter also matches this one; if so, count it."""
        passed = self.passes(match.line, match.subsystem, match.origin)
        self.stats.matched += passed
        return passed

    def passes(self, line: bytes, subsystem: str, origin: str | None) -> bool:
        """Return whether a record meets all conditions but the one on its time."""
        for word in self._words:
            if word not in line and b"\\u" not in line:
                return False
        if self._head:
            try:
                head = _decode_head(line)
                record = {"level": head.level, "logger": head.logger, "event": head.event}
            except (msgspec.MsgspecError, ValueError, RecursionError):
                record = record_of(line, subsystem, origin)
            if not _all(self._head, record):
                return False
        return not self._whole or _all(self._whole, record_of(line, subsystem, origin))


class _Numbers:
    """Number the lines of a text that are asked for, in their order."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._number = self._counted = 0

    def at(self, start: int) -> int:
        """Return the number of the line that begins at an offset; no smaller offset is asked for later."""
        self._number += self._text.count(b"\n", self._counted, start)
        self._counted = start
        return self._number


def _all(conditions: Sequence[Condition], record: dict[str, Any]) -> bool:
    return all(condition.matches(record) for condition in conditions)


def distinct_parts(parts: Sequence[Part]) -> list[Part]:
    """Return the parts; a batch that several sources have becomes one part, which is read from any of them.

    Acts in one source count for batches in the others.
    """
    from ipfs_log_handlers.reader.acts_of_parts import mark_acts
    from ipfs_log_handlers.reader.chain_part import ChainPart

    mark_acts([part for part in parts if isinstance(part, ChainPart)])
    places: dict[object, list[Part]] = {}
    for number, part in enumerate(parts):
        place = (part.log, part.index) if part.sealed and part.log else number
        places.setdefault(place, []).append(part)
    return [_one_of(copies) for copies in places.values()]


def _one_of(copies: Sequence[Part]) -> Part:
    if len(copies) == 1:
        return copies[0]
    return _Copies(copies)


class _Copies:
    """One batch that several sources have: the next source is tried when one cannot be read.

    Args:
        parts: the batch in each source, in the order of the sources.
    """

    sealed = True
    number = 0

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._known = next((part for part in parts if part.records), parts[0])
        self.subsystem, self.log, self.index = parts[0].subsystem, parts[0].log, parts[0].index
        self.origin = next((part.origin for part in parts if part.origin is not None), None)
        self.first, self.last = self._known.first, self._known.last
        self.records, self.size = self._known.records, self._known.size
        self.prefetch: Callable[[], Future[bytes] | None] | None = getattr(parts[0], "prefetch", None)
        self._is_one_history = False

    def zone(self) -> Mapping[str, Any]:
        """Return the zone map of the first source that knows the batch."""
        return self._known.zone()

    def may_hold(self, name: str, hashes: Sequence[int]) -> bool:
        """Ask the filter of the first source that knows the batch."""
        return self._known.may_hold(name, hashes)

    def manifest(self) -> Manifest | None:
        """Return the manifest of the first source whose manifest can be read."""
        return next((manifest for part in self._parts if (manifest := part.manifest()) is not None), None)

    def _check_history(self) -> None:
        """Compare the manifests of all sources that have the batch, once.

        Raises:
            VerificationError: two of them differ.
        """
        if self._is_one_history:
            return
        manifests = [manifest for part in self._parts if (manifest := part.manifest()) is not None]
        if any(manifest != manifests[0] for manifest in manifests):
            raise VerificationError(
                "two sources have different batches of one number: the log was rolled back or forged in one of them",
                where=f"{self.log} batch {self.index}",
            )
        self._is_one_history = True

    def open_text(self) -> OpenText | None:
        """Open the text of the first source that can be opened; if it cannot be inflated, `lines` reads the next one.

        Raises:
            OSError, LogStoreError: as the last source.
            VerificationError: two sources have different batches of this number.
        """
        self._check_history()
        for part in self._parts[:-1]:
            with suppress(OSError, LogStoreError):
                return part.open_text()
        return self._parts[-1].open_text()

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the first source that can be read; only the last source reports a gap."""
        return self._lines(self._parts[-1].lines)

    def lines_or_error(self) -> Iterator[bytes]:
        """Yield the same lines; report no gap. Raises what the last source raises."""
        return self._lines(self._parts[-1].lines_or_error)

    def _lines(self, of_last: Callable[[], Iterator[bytes]]) -> Iterator[bytes]:
        self._check_history()
        count = 0
        for part in self._parts[:-1]:
            with suppress(OSError, LogStoreError):
                for line in islice(part.lines_or_error(), count, None):
                    count += 1
                    yield line
                return
        yield from islice(of_last(), count, None)


def merged(parts: Iterable[Part], matcher: Matcher, *, descending: bool = False) -> Iterator[Match]:
    """Yield the matching records in the order of time, log, batch and number.

    Only the records of parts with overlapping times are in memory.

    Args:
        parts: the parts.
        matcher: finds the records of one part.
        descending: yield the last one first.
    """
    due: Callable[[Part], bytes]
    due = _last if descending else _first
    in_time = sorted(enumerate(matcher.planner.in_time(parts)), key=lambda item: due(item[1]), reverse=descending)
    ordered = _sharpened(in_time, due, descending=descending)
    pending: list[Match] = []  # the next one is the last item
    chosen = (item for item in ordered if matcher.planner.refusal(item[1]) is None)
    for ordinal, part, read in read_ahead(chosen):
        bound = due(part)
        while pending and (pending[-1].time > bound if descending else pending[-1].time < bound):
            yield pending.pop()
        matches = matcher.matches(part, ordinal, read)
        if matches:
            pending.extend(matches)
            pending.sort(key=_PLACE, reverse=not descending)
    while pending:
        yield pending.pop()


def _sharpened(
    parts: Iterable[tuple[int, Part]], due: Callable[[Part], bytes], *, descending: bool
) -> Iterator[tuple[int, Part]]:
    """Yield parts in the order of their exact times, where encrypted batches have told only their minutes.

    Otherwise all batches of a minute would overlap, and be in memory together. The exact times of a batch are asked for
    when its minute is due, and not of all batches at the beginning.

    Args:
        parts: the parts with their numbers, in the order of the times that they tell.
        due: gives the time by which they are ordered.
        descending: the last one comes first.
    """
    waiting: list[tuple[int, Part]] = []  # the next one is the last item
    for item in parts:
        told = due(item[1])
        while waiting and (due(waiting[-1][1]) >= told if descending else due(waiting[-1][1]) <= told):
            yield waiting.pop()
        sharpen = getattr(item[1], "sharpen", None)
        if sharpen is None:
            waiting.append(item)
            if len(waiting) == 1:
                continue
        else:
            sharpen()
            waiting.append(item)
        waiting.sort(key=lambda other: due(other[1]), reverse=not descending)
    while waiting:
        yield waiting.pop()


def with_neighbours(
    candidates: Iterable[Match], passes: Callable[[Match], bool], count: int, limit: int | None
) -> Iterator[Match]:
    """Yield the matches, and a number of records before and after each, in the given order.

    Args:
        candidates: matches, and records near them.
        passes: returns whether a candidate is a match.
        count: number of records before and after a match.
        limit: largest number of matches; `None`: all.
    """
    before: deque[Match] = deque(maxlen=count)
    after, left = 0, limit
    for match in candidates if limit != 0 else ():
        if left != 0 and passes(match):
            yield from before
            before.clear()
            yield match
            after, left = count, None if left is None else left - 1
        elif after:
            after -= 1
            yield match._replace(is_context=True)
        elif left == 0:
            return
        else:
            before.append(match._replace(is_context=True))


def _first(part: Part) -> bytes:
    return part.first


def _last(part: Part) -> bytes:
    return part.last
