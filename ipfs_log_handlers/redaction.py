"""Redaction: what must not be kept is hidden before the disk, in every part of a record that can hold it.

Names are exact where there is structure: fields at any depth, arguments of the message, members of a JSON message. In
free text (the message, a traceback, a stack, the text in a field, the `repr` of an object) what follows a name is
hidden where it reads `name=value`, `name: value` or `"name": "value"`. A secret that stands in a text without its name
cannot be known: that is a function's business.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import fnmatch
import json
import re
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Final

__all__ = ["HIDDEN", "Parts", "Redaction", "redaction"]

HIDDEN: Final = "[redacted]"
"""What stands in the place of a hidden value."""
_DEEPEST: Final = 64
_BARE: Final = (int, float, type(None), dt.date, dt.time, dt.timedelta, decimal.Decimal, uuid.UUID)
"""Types whose values hold no name."""
_OURS: Final = ("event", "exception", "stack")
_NAMED: Final = re.compile(r"""(?<![\w.-])(['"]?)([\w.-]+)\1\s*[=:]\s*""")
_VALUE: Final = re.compile(
    r'(?:"(?:[^"\\]|\\.)*"?'  # a quoted text, or the rest of one that was cut
    r"|'(?:[^'\\]|\\.)*'?"
    r"|[\[{(].*"  # the rest of the line: where a structure ends cannot be told
    r"|(?:(?:bearer|basic|digest)\s+)?[^\s,;&)}\]]+)",
    re.IGNORECASE,
)

Fields = dict[str, Any]
Parts = tuple[str, Fields, "str | None", "str | None"]
"""Event, fields, exception and stack of a record."""


def redaction(rule: Callable[[Fields], Fields] | tuple[str, ...] | None) -> Redaction | None:
    """What applies a `redact` setting; `None` when there is nothing to hide."""
    if rule is None:
        return None
    return _Function(rule) if callable(rule) else _Names(rule)


class Redaction(ABC):
    """Applies one `redact` setting."""

    def arguments(self, args: Any) -> Any:
        """The arguments of a message, before they become text. What is handed in is not changed."""
        return args

    @abstractmethod
    def apply(self, parts: Parts, *, remake: bool) -> Parts:
        """Hide what is to be hidden in a record.

        Args:
            parts: event, fields, exception and stack. Nothing of the caller's own is changed.
            remake: the event is the text of an object whose members are the fields: it is made anew from these.
        """


class _Function(Redaction):
    """A function of the program's: it sees the record as one dict, and what it returns is recorded.

    One that raises, or returns no dict, hides the whole record: better nothing than what it wanted hidden.
    """

    def __init__(self, rule: Callable[[Fields], Fields]) -> None:
        self._rule = rule

    def apply(self, parts: Parts, *, remake: bool) -> Parts:
        event, fields, exception, stack = parts
        told = {"exception": exception, "stack": stack}
        given = {"event": event, **fields, **{name: text for name, text in told.items() if text is not None}}
        if remake:
            del given["event"]
        try:
            found = self._rule(given)
        except Exception as error:  # noqa: BLE001 - the program's own code
            return HIDDEN, {"redact_failed": type(error).__name__}, None, None
        if not isinstance(found, dict):
            return HIDDEN, {"redact_failed": f"returned {type(found).__name__}"}, None, None
        rest = {name: value for name, value in found.items() if name not in _OURS}
        shown, exception, stack = (_text(found.get(name)) for name in _OURS)
        if remake:
            shown = _as_json(rest)
        return HIDDEN if shown is None else shown, rest, exception, stack


class _Names(Redaction):
    """Names and patterns (`*`, `?`, `[…]`; case does not matter) of fields whose values are hidden."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._matches = re.compile("|".join(f"(?:{fnmatch.translate(each)})" for each in names), re.IGNORECASE).match

    def arguments(self, args: Any) -> Any:
        if isinstance(args, Mapping):
            return self._hide(None, args, 0)
        if not isinstance(args, tuple):
            return args
        return tuple(self._hide(None, each, 0) if type(each) in {dict, list, tuple} else each for each in args)

    def apply(self, parts: Parts, *, remake: bool) -> Parts:
        event, fields, exception, stack = parts
        hidden = {name: self._hide(name, value, 0) for name, value in fields.items()}
        event = _as_json(hidden) if remake else self._part("event", event) or ""
        return event, hidden, self._part("exception", exception), self._part("stack", stack)

    def _part(self, name: str, text: str | None) -> str | None:
        if text is None:
            return None
        return HIDDEN if self._matches(name) else self._in_text(text)

    def _in_text(self, text: str) -> str:
        kept, done, at = [], 0, 0
        while (named := _NAMED.search(text, at)) is not None:
            at = named.end()
            value = _VALUE.match(text, at) if self._matches(named[2]) else None
            if value is not None:
                kept += [text[done:at], HIDDEN]
                done = at = value.end()
        return "".join((*kept, text[done:]))

    def _hide(self, name: object, value: Any, depth: int) -> Any:
        """The value with everything hidden in it that has a name to hide; what cannot be searched is hidden whole."""
        if isinstance(name, str) and self._matches(name):
            return HIDDEN
        try:
            if dataclasses.is_dataclass(value) and not isinstance(value, type):
                value = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
            if isinstance(value, str):
                return self._in_text(value)
            if isinstance(value, enum.Enum):
                return self._hide(name, value.value, depth + 1)
            if not isinstance(value, (Mapping, list, tuple, set, frozenset)):
                return value if isinstance(value, _BARE) else self._hide_in_other(value)
            if depth > _DEEPEST:
                return HIDDEN
            if isinstance(value, Mapping):
                return {inner: self._hide(inner, each, depth + 1) for inner, each in list(value.items())}
            names = getattr(value, "_fields", ()) if isinstance(value, tuple) else ()
            each_name = names if len(names) == len(value) else (None,) * len(value)
            return [self._hide(inner, each, depth + 1) for inner, each in zip(each_name, list(value), strict=True)]
        except Exception:  # noqa: BLE001 - the value's own code
            return HIDDEN

    def _hide_in_other(self, value: Any) -> Any:
        """A value of which the record will hold the bytes, or what `repr` says: the text of that, where it tells."""
        kept = isinstance(value, (bytes, bytearray, memoryview))
        try:
            text = bytes(value).decode("utf-8", "replace") if kept else repr(value)
        except Exception:  # noqa: BLE001 - the value's own code: nothing of it will be written
            return value
        shown = self._in_text(text)
        return value if shown == text else shown


def _as_json(fields: Fields) -> str:
    try:
        return json.dumps(fields, default=str)
    except Exception:  # noqa: BLE001 - cycles, and values' own code; the fields tell it all the same
        return HIDDEN


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else HIDDEN
