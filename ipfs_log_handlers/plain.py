"""The short way of a plain record: from a LogRecord's members to a line in one encode.

Plain is what nearly all records are: text with or without arguments, `extra` fields whose names, and whose `event`, are
the same each time this line of the program logs, no exception. What stays the same at a place in the program is worked
out once and kept for it, its `_Site`. Everything else goes the long way, `IPFSHandler.emit`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any, Final

from ipfs_log_handlers.fields import CLASHING, NOT_FIELDS
from ipfs_log_handlers.format.record import FrontEncoder, Shape, split
from ipfs_log_handlers.process import HomeProcess
from ipfs_log_handlers.tracing import LOADED, OPENTELEMETRY, with_trace

__all__ = ["short_way"]

_PARTS: Final = itemgetter(
    "thread", "msg", "args", "exc_info", "exc_text", "stack_info", "created", "levelname", "name", "pathname", "lineno"
)
_MOST_SITES: Final = 4096
_THREE_DIGITS: Final = tuple(f"{number:03}" for number in range(1000))

Members = dict[str, Any]
_Site = tuple[
    str,
    int,
    str,
    str,
    str,
    str,
    str | None,
    Shape,
    Callable[[Members], tuple[Any, ...]],
]
"""File; number of members; text, level and logger when it was first seen, that level in lower case, and the field
`event` if there is one; the shape of the record; what takes the values of the other fields."""


class _NotPlainError(Exception):
    """A record that the short way cannot take."""


def short_way(
    handler: logging.Handler,
    encoder: FrontEncoder,
    append: Callable[..., bool],
    most: int,
    required: Mapping[str, tuple[str, ...]],
    long_way: Callable[[logging.LogRecord], Any],
) -> Callable[[logging.LogRecord], Any]:
    """A function that handles the records of one handler, safe to call from any number of threads.

    One closure and no object: this is the path of every record, and what it costs is what the program pays.

    Args:
        handler: its filters and its formatter send every record the long way.
        encoder: the handler's.
        append: `Writer.append_plain`, which makes a record durable or says that it is not for it.
        most: the longest line, bytes.
        required: by event, the fields that it must have; a record that lacks one is counted on the long way.
        long_way: takes every record.

    Returns:
        What takes the place of `handler.handle`.
    """
    sites = _Sites(encoder, required)
    find, by_line = sites.find, sites.by_line
    moment_of = encoder.moment
    now: tuple[int, str] = (0, moment_of(0))
    own_threads, modules = HomeProcess.own_threads, LOADED
    plain, parts, digits = logging.LogRecord, _PARTS, _THREE_DIGITS

    def handle(record: logging.LogRecord) -> Any:
        nonlocal now
        if handler.filters or handler.formatter is not None or type(record) is not plain:
            return long_way(record)
        try:
            members = record.__dict__
            if OPENTELEMETRY in modules:
                members = with_trace(members)
            thread, text, args, exc_info, exc_text, stack, created, level, name, path, line = parts(members)
            if exc_info or exc_text or stack or thread in own_threads:
                raise _NotPlainError
            site = by_line.get(line)
            if site is None or site[0] is not path or site[1] != len(members) or "message" in members:
                site = find(members)
                if site is None:
                    raise _NotPlainError
            _, _, usual_text, usual_level, usual_name, low_level, named, shape, values_of = site
            if text is not usual_text or level is not usual_level or name is not usual_name:
                if text.__class__ is not str or text[:1] == "{" or name.__class__ is not str:
                    raise _NotPlainError
                low_level = level.lower()
            values = values_of(members)
            event = text % args if args else text
            if named is not None:
                if members["event"] != named or event == named:
                    raise _NotPlainError
                values, event = (*values, event), named
            elif required and (args or text is not usual_text) and event in required:
                raise _NotPlainError
            second, moment = now
            micros = int((created - second) * 1e6 + 0.5)
            if not 0 <= micros < 1_000_000:
                second, micros = split(created)
                moment = moment_of(second)
                now = second, moment
            time = f"{moment}{digits[micros // 1000]}{digits[micros % 1000]}Z"
        except Exception:  # noqa: BLE001 - not plain, or odd: the long way takes every record
            shape = None
        if shape is None or not append(shape, most, time, low_level, name, event, values):
            return long_way(record)  # not inside the `except`: there, `exc_info=True` would mean our own exception
        return record

    return handle


class _Sites:
    """The places in the program that log, with what stays the same at each."""

    def __init__(self, encoder: FrontEncoder, required: Mapping[str, tuple[str, ...]]) -> None:
        self.by_line: dict[int, _Site] = {}
        """The one that logged last, of all places on a line of that number."""
        self._encoder = encoder
        self._required = required
        self._sites: dict[tuple[str, int, int, int], _Site] = {}

    def find(self, members: Members) -> _Site | None:
        """The site of a record; `None` where the names of its fields want the long way.

        File, line, the number of members and how many of these another handler's formatter left tell the names: who
        has as many, and has all of the site's, has no other. Fields that are missing raise KeyError later.
        """
        path, line = members["pathname"], members["lineno"]
        formatted = 0 if "message" not in members else 2 if "asctime" in members else 1
        site = self._sites.get((path, line, len(members), formatted))
        if site is None:
            site = self._new(members)
            if site is None:
                return None
            if len(self._sites) < _MOST_SITES:
                self._sites[path, line, len(members), formatted] = site
        if not formatted and len(self.by_line) < _MOST_SITES:
            self.by_line[line] = site
        return site

    def _new(self, members: Members) -> _Site | None:
        names = tuple(name for name in members if name not in NOT_FIELDS)
        text, level, name = members["msg"], members["levelname"], members["name"]
        if not (type(text) is type(level) is type(name) is str) or text[:1] == "{":
            return None
        named = members.get("event")
        if named is not None:
            names = (*(each for each in names if each != "event"), "message")
        told = text if named is None else named
        if type(told) is not str or not CLASHING.isdisjoint(names):
            return None
        if not set(names).issuperset(self._required.get(told, ())):
            return None
        shape = self._encoder.shape(names)
        if shape is None:
            return None
        values_of = _getter(names if named is None else names[:-1])
        path, count = members["pathname"], len(members)
        return path, count, text, level, name, level.lower(), named, shape, values_of


def _getter(names: tuple[str, ...]) -> Callable[[Members], tuple[Any, ...]]:
    """A function that takes these members, as a tuple whatever their number."""
    if len(names) > 1:
        return itemgetter(*names)
    return (lambda members: (members[names[0]],)) if names else (lambda _: ())
