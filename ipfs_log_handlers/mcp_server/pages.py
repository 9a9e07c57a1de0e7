"""Divide records into pages: each answer says where the next one begins.

A cursor holds the time of the last record, and a short hash of each record of exactly that time that was shown. So the
next page begins after it also where a keeper has sealed the records between two calls, or the server was started again.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from ipfs_log_handlers.mcp_server.answers import Room, cut
from ipfs_log_handlers.mcp_server.reading import Refused

if TYPE_CHECKING:
    from ipfs_log_handlers.api import Dataset, Match

__all__ = ["Order", "Page", "page_of"]

Order = Literal["newest", "oldest"]
"""The record that comes first."""
_HASH_BYTES: Final = 6
"""Bytes of the hash of a record in a cursor."""
_MAX_SAME_TIME: Final = 2000
"""Records of one microsecond that a cursor can name."""
_MAX_CURSOR: Final = 100_000
"""Characters of a cursor that is read."""
_CURSOR_BYTES: Final = 200
"""Bytes of a cursor, at most, beside its hashes."""
_CURSOR_BYTES_OF_HASH: Final = 16
"""Bytes of a cursor, at most, for each hash: eight characters with quotes and a comma, in base64."""
_SHARED: Final[tuple[str, ...]] = ("subsystem", "origin", "level", "logger", "pid")
"""Members that stand once before the records, if they are the same in all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some records, and where the next page begins."""

    records: list[dict[str, Any]]
    """The records, cut; without the members in `shared`."""
    shared: dict[str, Any]
    """Members that all records have, with the same value."""
    next_cursor: str | None
    """The cursor of the next page; `None`: this is the last one."""

    def as_json(self) -> dict[str, Any]:
        """Return the members of an answer."""
        shared = {"shared_by_all_records": self.shared} if self.shared else {}
        return {**shared, "records": self.records, "next_cursor": self.next_cursor}


@dataclass(frozen=True, slots=True)
class _Cursor:
    """A place in the records of one filter, in one order."""

    order: Order
    time: str
    """The time of the last record that was shown; empty for one without a time."""
    shown: frozenset[str]
    """Hashes of the records of that time that were shown."""

    def __str__(self) -> str:
        members = [self.order, self.time, sorted(self.shown)]
        return base64.urlsafe_b64encode(json.dumps(members, separators=(",", ":")).encode()).decode()

    @classmethod
    def parse(cls, text: str, order: Order) -> _Cursor:
        """Read a cursor.

        Raises:
            Refused: it is none, or one of the other order.
        """
        try:
            if len(text) > _MAX_CURSOR:
                raise ValueError("too long")
            given, time, shown = json.loads(base64.urlsafe_b64decode(text.encode("ascii")))
            if time:
                _moment(time)
            cursor = cls(given, str(time), frozenset(map(str, shown)))
        except (ValueError, TypeError, RecursionError):
            raise Refused("not a cursor: give the `next_cursor` of an answer of this tool, unchanged") from None
        if cursor.order != order:
            raise Refused(f"the cursor is of the order {str(given)[:20]!r}: use the same arguments for each page")
        return cursor

    def rest_of(self, dataset: Dataset) -> Dataset:
        """Return the records of this time and after it."""
        if not self.time:
            return dataset
        moment = _moment(self.time)
        if self.order == "oldest":
            return dataset.filter(since=moment)
        return dataset.filter(until=moment + dt.timedelta(microseconds=1))

    def is_shown(self, match: Match) -> bool:
        """Say whether an earlier page has shown a record."""
        time = _time(match)
        if time == self.time:
            return _hash(match) in self.shown
        return time < self.time if self.order == "oldest" else time > self.time


def page_of(dataset: Dataset, matches: Any, *, order: Order, limit: int, cursor: str | None) -> Page:
    """Read one page of records.

    Args:
        dataset: the records to choose from; a filter may still be added.
        matches: yields the matches of such a dataset, in the order.
        order: the record that comes first.
        limit: largest number of records.
        cursor: where the page before has ended; `None`: the first page.

    Raises:
        Refused: the cursor is malformed, or leaves no room for a record.
    """
    at = None if cursor is None else _Cursor.parse(cursor, order)
    found: Iterable[Match] = matches(dataset if at is None else at.rest_of(dataset))
    builder = _Builder(order, at)
    for match in found if at is None else _after(at, found):
        if builder.count == limit or not builder.add(dataset, match):
            if builder.count == 0:
                raise Refused("too many records have the same time: choose fewer of them, or fewer `fields`")
            return builder.page(ended=False)
    return builder.page(ended=True)


def _after(at: _Cursor, matches: Iterable[Match]) -> Iterator[Match]:
    return (match for match in matches if not at.is_shown(match))


class _Builder:
    def __init__(self, order: Order, at: _Cursor | None) -> None:
        self._order = order
        self._room = Room()
        self._records: list[dict[str, Any]] = []
        self._time = "" if at is None else at.time
        self._same_time = set() if at is None else set(at.shown)

    @property
    def count(self) -> int:
        return len(self._records)

    def add(self, dataset: Dataset, match: Match) -> bool:
        """Add a record; return `False` if it does not fit any more."""
        record = cut(dataset.selected(match.record))
        hashes = 1 + (len(self._same_time) if _time(match) == self._time else 0)
        if not self._room.take(record, beside=_CURSOR_BYTES + hashes * _CURSOR_BYTES_OF_HASH):
            return False
        if _time(match) != self._time:
            self._time = _time(match)
            self._same_time.clear()
        elif len(self._same_time) >= _MAX_SAME_TIME:
            raise Refused(f"more than {_MAX_SAME_TIME} records have the time {self._time}: choose fewer of them")
        self._same_time.add(_hash(match))
        self._records.append(record)
        return True

    def page(self, *, ended: bool) -> Page:
        records, shared = _without_shared(self._records)
        cursor = None if ended else str(_Cursor(self._order, self._time, frozenset(self._same_time)))
        return Page(records=records, shared=shared, next_cursor=cursor)


def _without_shared(records: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Take the members out of records that all of them have with the same value."""
    if len(records) < 2:
        return records, {}
    first = records[0]
    shared = {
        name: first[name]
        for name in _SHARED
        if name in first and all(name in record and record[name] == first[name] for record in records)
    }
    return [{name: value for name, value in record.items() if name not in shared} for record in records], shared


def _time(match: Match) -> str:
    return match.time.decode("ascii", "replace")


def _moment(time: str) -> dt.datetime:
    return dt.datetime.strptime(time, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=dt.timezone.utc)


def _hash(match: Match) -> str:
    digest = hashlib.blake2s(match.line, digest_size=_HASH_BYTES, person=match.subsystem.encode()[:8]).digest()
    return base64.urlsafe_b64encode(digest).decode()
