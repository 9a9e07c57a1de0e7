"""The short way of a plain record: its members become a front in one encode.

Plain is what nearly all records are: text with or without arguments, `extra` fields whose names are the same each time
this line of the program logs, no exception. Those names are encoded once for each place in the program. Everything else
goes the long way, `IPFSHandler.emit`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from operator import itemgetter
from typing import Any, Final

from ipfs_log_handlers.fields import CLASHING
from ipfs_log_handlers.format.record import LEAVES, FrontEncoder, Shape, check
from ipfs_log_handlers.process import HomeProcess

__all__ = ["NOT_FIELDS", "NotPlainError", "PlainEncoder"]

NOT_FIELDS: Final = frozenset({*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName"})
"""Members of a LogRecord that nobody gave as `extra`."""
_ELSEWHERE: Final = CLASHING | {"event"}
_PARTS: Final = itemgetter(
    "thread", "msg", "args", "exc_info", "exc_text", "stack_info", "created", "levelname", "name", "pathname", "lineno"
)
_MOST_SITES: Final = 4096
_THREE_DIGITS: Final = tuple(f"{number:03}" for number in range(1000))
_own_threads: Final = HomeProcess.own_threads

Members = dict[str, Any]
_Place = tuple[str, int, int, int]
"""File, line, number of members, how many of these another handler's formatter left: together they tell the names."""


class NotPlainError(Exception):
    """A record that the short way cannot take."""


class PlainEncoder:
    """Encodes plain records; one per handler, safe to use from any number of threads."""

    __slots__ = ("_encoder", "_moment", "_sites")

    def __init__(self, encoder: FrontEncoder) -> None:
        self._encoder = encoder
        self._moment: tuple[int, str] = (0, encoder.moment(0))
        self._sites: dict[_Place, tuple[Shape, Callable[[Members], tuple[Any, ...]]]] = {}

    def encode(self, members: Members) -> bytes:
        """Encode a record.

        Args:
            members: the LogRecord's.

        Returns:
            Its front, as `FrontEncoder.front` would make it.

        Raises:
            Exception: of any kind, where the long way must be gone; nothing was done.
        """
        thread, text, args, exc_info, exc_text, stack, created, level, name, path, number = _PARTS(members)
        if (
            exc_info
            or exc_text
            or stack
            or text.__class__ is not str
            or text[:1] == "{"
            or name.__class__ is not str
            or thread in _own_threads
        ):
            raise NotPlainError
        formatted = 0 if "message" not in members else 2 if "asctime" in members else 1
        site = self._sites.get((path, number, len(members), formatted))
        if site is None:
            site = self._new_site((path, number, len(members), formatted), members)
        shape, values_of = site
        values = values_of(members)
        for value in values:
            kind = type(value)
            if kind is str or kind is int:
                continue
            if kind is dict:
                for key, inner in value.items():
                    if type(key) is not str or type(inner) not in LEAVES:
                        check(value, 0)
                        break
            elif kind is float:
                if value - value != 0.0:  # NaN or an infinity
                    raise NotPlainError
            elif kind not in LEAVES:
                check(value, 0)
        micros = int(created * 1e6 + 0.5)
        second = micros // 1_000_000
        cached, moment = self._moment
        if second != cached:
            moment = self._encoder.moment(second)
            self._moment = second, moment
        return shape.encode(
            shape.kind(
                f"{moment}{_THREE_DIGITS[micros // 1000 % 1000]}{_THREE_DIGITS[micros % 1000]}Z",
                level.lower(),
                name,
                text % args if args else text,
                *values,
            )
        )[:-1]

    def _new_site(self, place: _Place, members: Members) -> tuple[Shape, Callable[[Members], tuple[Any, ...]]]:
        """Remember which fields are logged at a place in the program. Where they vary, the long way is gone."""
        names = tuple(name for name in members if name not in NOT_FIELDS)
        shape = None if not _ELSEWHERE.isdisjoint(names) else self._encoder.shape(names)
        if shape is None:
            raise NotPlainError
        site = shape, _getter(names)
        if len(self._sites) < _MOST_SITES:
            self._sites[place] = site
        return site


def _getter(names: tuple[str, ...]) -> Callable[[Members], tuple[Any, ...]]:
    """A function that takes these members, as a tuple whatever their number."""
    if len(names) > 1:
        return itemgetter(*names)
    return (lambda members: (members[names[0]],)) if names else (lambda _: ())
