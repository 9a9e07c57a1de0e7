"""Give the records of a dataset to SQL part by part: facts on a part, its columns, and its records as Arrow batches."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ipfs_log_handlers.query.aggregates import stated_counts
from ipfs_log_handlers.query.columns import Layout, LayoutBuilder, time_micros
from ipfs_log_handlers.query.filters import Filter, TimeBounds
from ipfs_log_handlers.query.merge import Match, Matcher
from ipfs_log_handlers.query.plan import Stats
from ipfs_log_handlers.query.read_ahead import TextOf, read_ahead
from ipfs_log_handlers.query.rows import mappings_in
from ipfs_log_handlers.reader.parts import FIRST_MOMENT, LAST_MOMENT, Part

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ALL_SUBSYSTEMS", "MatchReader", "MatchTable", "PartFacts", "PartReader", "PartTable", "Table"]

ALL_SUBSYSTEMS: Final = "logs_all"
"""Name of the table with the records of all subsystems."""
_ROWS: Final = 10_000
"""Largest number of records in an Arrow batch."""
_MAX_HELD_BYTES: Final = 64 << 20
"""Bytes of records that a table keeps in memory, so that a second reading need not read them from the disk."""
_BYTES_OF_MATCH: Final = 300
"""About the number of bytes of memory that a record needs beside its line."""
_SAMPLED: Final = 1
"""Number of the newest parts of a subsystem whose columns a query is tried with."""


Content = bytes | list[Match]
"""The chosen records of a part: the text of all its lines, or the matches."""


class PartFacts(NamedTuple):
    """The facts that hold for every record of a part; `None`: unknown."""

    subsystem: str | None
    first: int | None
    """No record is earlier than this time, µs since 1970."""
    last: int | None
    """No record is later than this time."""
    origin: str | None = None
    """The origin that the records show; `None`: none, or not the same."""


class Table(ABC):
    """Records in parts; the parts have numbers from 0 on."""

    facts: Sequence[PartFacts]
    """The facts on each part."""
    check: Callable[[], None] = staticmethod(lambda: None)
    """Called for each part and each Arrow batch while records are read; what it raises ends the reading."""

    @abstractmethod
    def names(self, key: str, parts: Sequence[int]) -> list[frozenset[str] | None]:
        """Return, for each part, every value of `level` or `logger` in it; `None` when they are not known.

        They are known only when this field of each record of the part is a text.
        """

    @abstractmethod
    def layout(self, parts: Collection[int]) -> Layout:
        """Return the columns of these parts, and of those of earlier calls."""

    @abstractmethod
    def batches(self, layout: Layout, parts: Sequence[int], only: Collection[str]) -> Iterator[pa.RecordBatch]:
        """Yield the records of some parts as Arrow batches.

        Args:
            layout: the columns.
            parts: the parts.
            only: the columns that are made.
        """

    @property
    def sample(self) -> list[int]:
        """The newest parts of each subsystem."""
        newest: dict[str | None, list[int]] = {}
        for number, facts in enumerate(self.facts):
            newest.setdefault(facts.subsystem, []).append(number)
        return [number for numbers in newest.values() for number in numbers[-_SAMPLED:]]


class _Records(Table):
    """Records whose lines this process can read itself."""

    def __init__(self, selected: Callable[[dict[str, Any]], dict[str, Any]], chosen: Sequence[str] | None) -> None:
        self._selected = selected
        self._shows_all = chosen is None
        self._builder = LayoutBuilder(chosen)
        self._known: set[int] = set()

    @abstractmethod
    def _read(self, parts: Sequence[int]) -> Iterator[tuple[int, Content]]:
        """Yield the records of some parts."""

    @abstractmethod
    def _matches_in(self, part: int, content: Content) -> list[Match]:
        """Return the records of a part as matches."""

    def layout(self, parts: Collection[int]) -> Layout:
        for part, content in self._read(sorted(set(parts) - self._known)):
            self.check()
            if self._shows_all and self.facts[part].origin is not None:
                self._builder.add([{"origin": self.facts[part].origin}])
            for records in self._records_in(part, content):
                self.check()
                self._builder.add(records)
            self._known.add(part)
        return self._builder.layout()

    def _records_in(self, part: int, content: Content) -> Iterator[list[dict[str, Any]]]:
        """Yield the records of a part in groups; their subsystem may be left out."""
        whole = None
        if isinstance(content, bytes) and self._shows_all:
            whole = mappings_in(content, self.facts[part].origin)
        if whole is not None:
            yield from (whole[start : start + _ROWS] for start in range(0, len(whole), _ROWS))
            return
        matches = self._matches_in(part, content)
        for start in range(0, len(matches), _ROWS):
            yield [self._selected(match.record) for match in matches[start : start + _ROWS]]

    def batches(self, layout: Layout, parts: Sequence[int], only: Collection[str]) -> Iterator[pa.RecordBatch]:
        from ipfs_log_handlers.query import arrow

        schema = arrow.schema_of(layout, for_duckdb=True)
        for part, content in self._read(parts):
            self.check()
            facts = self.facts[part]
            if isinstance(content, bytes) and self._shows_all and facts.subsystem is not None:
                batch = arrow.batch_of_text(layout, schema, content, facts.subsystem, only=only, origin=facts.origin)
                if batch is not None:
                    for start in range(0, batch.num_rows, _ROWS):
                        self.check()
                        yield batch.slice(start, _ROWS)
                    continue
            matches, first = self._matches_in(part, content), facts.first
            for start in range(0, len(matches), _ROWS):
                self.check()
                some = matches[start : start + _ROWS]
                moments = (time_micros(match.time.decode("ascii", "replace")) for match in some)
                times = [first if moment is None else moment for moment in moments]
                records = [self._selected(match.record) for match in some]
                yield arrow.record_batch(layout, schema, records, only=only, times=times)


class MatchReader:
    """Reads the records of all tables of a query at once, when the query first needs some of them.

    Args:
        read: yields them; while it reads, it calls the function that it is given.
    """

    def __init__(self, read: Callable[[Callable[[], None]], Iterator[Match]]) -> None:
        self._read = read
        self._matches: list[Match] | None = None
        self._lock = threading.Lock()

    def read(self, check: Callable[[], None]) -> list[Match]:
        """Return the records.

        Args:
            check: called for each part that is read; what it raises ends the reading.
        """
        with self._lock:
            if self._matches is None:
                self._matches = list(self._read(check))
            return self._matches


class MatchTable(_Records):
    """Records that are chosen among all of a dataset, such as the newest ten: no part of them can be read alone.

    Args:
        reader: reads them.
        subsystem: the subsystem whose records these are; `None`: of all.
        selected: makes the mapping that is shown of a record.
        chosen: the fields that are columns; `None`: all.
    """

    def __init__(
        self,
        reader: MatchReader,
        subsystem: str | None,
        *,
        selected: Callable[[dict[str, Any]], dict[str, Any]],
        chosen: Sequence[str] | None,
    ) -> None:
        super().__init__(selected, chosen)
        self.facts = [PartFacts(None, None, None)]
        self._reader = reader
        self._subsystem = subsystem

    def names(self, key: str, parts: Sequence[int]) -> list[frozenset[str] | None]:
        """Return `None` for each part: no facts on these records are known."""
        return [None for _ in parts]

    def _read(self, parts: Sequence[int]) -> Iterator[tuple[int, Content]]:
        for part in parts:
            matches = self._reader.read(self.check)
            yield part, [match for match in matches if self._subsystem in (None, match.subsystem)]

    def _matches_in(self, part: int, content: Content) -> list[Match]:
        del part
        return content if isinstance(content, list) else []


class PartReader:
    """Reads batches and segments for the tables of one query; reads each of them once if the memory is large enough.

    Args:
        parts: the batches and segments.
        chosen: which records of them.
        stats: counts what is read: each part once, however often a query reads it.
    """

    def __init__(self, parts: Sequence[Part], chosen: Filter, stats: Stats) -> None:
        self._matcher = Matcher(chosen, Stats())
        self._takes_all = not chosen.conditions and chosen.time == TimeBounds()
        self.parts = [part for part in parts if self._matcher.planner.refusal(part) is None]
        """The parts that can hold a chosen record."""
        self._stats = stats
        self._counted: set[int] = set()
        self._held: dict[int, Content] = {}
        self._room = _MAX_HELD_BYTES

    def read(self, numbers: Sequence[int]) -> Iterator[tuple[int, Content]]:
        """Yield the chosen records of some parts, each with the number of its part."""
        left = []
        for number in numbers:
            if number in self._held:
                yield number, self._held[number]
            else:
                left.append((number, self.parts[number]))
        for number, part, read in read_ahead(left):
            content = self._content(number, part, read)
            size = len(content)
            if not isinstance(content, bytes):
                size = sum(len(match.line) + _BYTES_OF_MATCH for match in content)
            if size <= self._room:
                self._room -= size
                self._held[number] = content
            yield number, content

    def _content(self, number: int, part: Part, read: TextOf) -> Content:
        """Read a part: its text, if every record of it is chosen, else its chosen records."""
        before = self._matcher.stats.records
        text = read(part)
        if text is not None and self._takes_all:
            self._count(number, part, part.records, text.count(b"\n"))
            return text
        matches = self._matcher.matches(part, number, lambda _: text)
        self._count(number, part, self._matcher.stats.records - before, len(matches))
        return matches

    def matches_in(self, number: int, content: Content) -> list[Match]:
        """Return what `read` has given for a part as matches."""
        if isinstance(content, bytes):
            return self._matcher.matches(self.parts[number], number, lambda _: content)
        return content

    def _count(self, number: int, part: Part, records: int, matched: int) -> None:
        if number in self._counted:
            return
        self._counted.add(number)
        self._stats.opened += 1
        self._stats.bytes += part.size
        self._stats.records += records
        self._stats.matched += matched


class PartTable(_Records):
    """Records of batches and segments; only the parts that a query needs are read.

    Args:
        reader: reads them.
        subsystem: the subsystem whose records these are; `None`: of all.
        selected: makes the mapping that is shown of a record.
        chosen: the fields that are columns; `None`: all.
    """

    def __init__(
        self,
        reader: PartReader,
        subsystem: str | None,
        *,
        selected: Callable[[dict[str, Any]], dict[str, Any]],
        chosen: Sequence[str] | None,
    ) -> None:
        super().__init__(selected, chosen)
        self._reader = reader
        parts = enumerate(reader.parts)
        self._numbers = [number for number, part in parts if subsystem is None or part.subsystem == subsystem]
        self.facts = [_facts(reader.parts[number]) for number in self._numbers]

    @property
    def parts(self) -> list[Part]:
        """The parts by their numbers."""
        return [self._reader.parts[number] for number in self._numbers]

    def names(self, key: str, parts: Sequence[int]) -> list[frozenset[str] | None]:
        """Return the names that the manifests have counted."""
        return [self._names(key, part) for part in parts]

    def _names(self, key: str, part: int) -> frozenset[str] | None:
        self.check()
        counts = stated_counts(self._reader.parts[self._numbers[part]], key)
        return None if counts is None or any(map(_may_be_no_text, counts)) else frozenset(counts)

    def _read(self, parts: Sequence[int]) -> Iterator[tuple[int, Content]]:
        own = {self._numbers[part]: part for part in parts}
        for number, content in self._reader.read(list(own)):
            yield own[number], content

    def _matches_in(self, part: int, content: Content) -> list[Match]:
        return self._reader.matches_in(self._numbers[part], content)


def _facts(part: Part) -> PartFacts:
    bounded = part.first != FIRST_MOMENT and part.last != LAST_MOMENT
    first, last = (
        time_micros(time.decode("ascii", "replace")) if bounded else None for time in (part.first, part.last)
    )
    if first is None or last is None:
        first = last = None
    return PartFacts(part.subsystem, first, last, part.origin)


def _may_be_no_text(name: str) -> bool:
    """Return whether a manifest may have counted a number or a boolean of this name; no column of text holds one."""
    return name in ("true", "false", "True", "False") or name[:1] in tuple("+-.0123456789")
