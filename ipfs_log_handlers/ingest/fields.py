"""Turn a message and its fields into event and fields: the rules that handler and processor share.

The members of a JSON-object message become fields. A text `event` among the fields is the event; if the message differs
from it, the message becomes `message`. An `event` that is an object or a list stays a field, `event_`. A field with the
name of another key of the record gets a trailing `_`; if both have the same value, the field is left out.
"""

from __future__ import annotations

import enum
import logging
import os
import re
import sys
import traceback
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ipfs_log_handlers.ingest.event import LoggedEvent

__all__ = [
    "CLASHING",
    "NOT_FIELDS",
    "event_text",
    "exception_text",
    "json_members",
    "level_name",
    "rename_clashing",
    "resolve_event",
    "split_queued",
    "without_colour",
    "without_repeats",
]

CLASHING: Final = frozenset({"time", "level", "logger", "exception", "stack", "pid", "seq"})
"""Names that a field cannot keep: `format.record.RESERVED_FIELDS` without `event`, which has its own rule."""
NOT_FIELDS: Final = frozenset({*logging.LogRecord("", 0, "", 0, "", (), None).__dict__, "message", "asctime"})
"""Attributes that logging itself gives a LogRecord; all others come from `extra`."""
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;:]*[A-Za-z]")
"""Escape sequences of terminals: a program prints them to set a colour, or to move the cursor."""
_PRINTED: Final = re.compile(r"\n(?:(?:  \+ Exception Group )?Traceback|Stack) \(most recent call last\):\n")
"""Where Python begins to print a traceback or a stack after a message."""

Fields = dict[str, Any]


def json_members(text: str) -> Fields | None:
    """Parse a message that is one JSON object; return `None` for any other message."""
    if text[:1] != "{" or text[-1:] != "}":
        return None
    try:
        import json

        members = json.loads(text, object_pairs_hook=_merged)
    except (ValueError, RecursionError, ImportError):  # ImportError: the interpreter is clearing its modules
        return None
    return members if isinstance(members, dict) else None


def _merged(pairs: list[tuple[str, Any]]) -> Fields:
    """Return the members of a JSON object; where a key stands several times, its values are in one list."""
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    values: dict[str, list[Any]] = {}
    for key, value in pairs:
        values.setdefault(key, []).append(value)
    return {key: of_key[0] if len(of_key) == 1 else of_key for key, of_key in values.items()}


def resolve_event(text: str, fields: Fields, first_event: str | None, *, from_json: bool) -> str:
    """Return the event of a record; remove `event` from the fields, and add `message` if the text differs from it.

    Args:
        text: the message.
        fields: changed in place.
        first_event: the subsystem's first event, for a JSON-object message without `event`.
        from_json: the message is a JSON object whose members are among the fields.

    An `event` that is an object or a list becomes the field `event_`.
    """
    named = fields.pop("event", None)
    event = event_text(named)
    if event is None:
        if named is not None:
            name = "event_"
            while name in fields:
                name += "_"
            fields[name] = named
        return first_event if from_json and first_event is not None else text
    if not from_json and text != event:
        if "message" in fields:
            fields["message_"] = fields.pop("message")
        fields["message"] = text
    return event


def event_text(value: object) -> str | None:
    """Return the text of an `event`; `None` if it is missing, an object or a list."""
    if value is None or isinstance(value, str):
        return value
    from ipfs_log_handlers.format.values import as_text, items_of, members_of

    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "replace")
    try:
        structured = members_of(value) is not None or items_of(value) is not None
    except Exception:  # noqa: BLE001 - the value's own code
        structured = False
    return None if structured else as_text(value)


def level_name(name: object, number: object = None) -> Any:
    """Return the name that logging has for a level.

    A formatter of another handler may have added colours to the name in the record; then the name of the number is
    used.

    Args:
        name: name of the level, in the record.
        number: its number; `None` if it is not known.
    """
    if type(number) is int and (registered := logging.getLevelName(number)) != name:
        name = name if registered == f"Level {number}" else registered
    if not isinstance(name, str):
        return name
    return without_colour(name)


def without_colour(name: Any) -> Any:
    """Return a name without colours of a terminal; if it had colours, also without spaces around it."""
    if not isinstance(name, str) or "\x1b" not in name:
        return name
    return _ESCAPES.sub("", name).strip() or name


def without_repeats(logged: LoggedEvent) -> LoggedEvent:
    """Return an event without fields that repeat keys of the record.

    structlog's renderers put level, logger and traceback into the message or into `extra`, although the record has them
    already. If only a field has a traceback or stack, it becomes the traceback or stack of the record.
    """
    fields, exception, stack = logged.fields, logged.exception, logged.stack
    if CLASHING.isdisjoint(fields):
        return logged
    exception = _printed(fields.get("exception")) if exception is None else exception
    stack = _printed(fields.get("stack")) if stack is None else stack
    own = {"logger": logged.logger, "exception": exception, "stack": stack, "pid": os.getpid()}
    repeated = {name for name, value in own.items() if name in fields and type(fields[name]) is type(value)}
    repeated = {name for name in repeated if fields[name] == own[name]}
    level = fields.get("level")
    if isinstance(level, str) and isinstance(logged.level, str) and level_name(level).lower() == logged.level.lower():
        repeated.add("level")
    repeated |= {name for name in ("exception", "stack") if fields.get(name, "") is None}
    kept = {name: value for name, value in fields.items() if name not in repeated}
    return logged._replace(fields=kept, exception=exception, stack=stack)


def _printed(text: object) -> str | None:
    """Return the text of a value that is a printed traceback or stack; `None` for other values."""
    return text if isinstance(text, str) and "(most recent call last)" in text else None


def split_queued(members: Mapping[str, Any]) -> tuple[str, str | None, str | None] | None:
    """Return message, traceback and stack of a record in which a `QueueHandler` has put them together.

    Args:
        members: the attributes of a LogRecord.

    Returns:
        `None` for any other record, and for one that has neither traceback nor stack.
    """
    text = members.get("msg")
    if members.get("args", ()) is not None or members.get("message") is not text or type(text) is not str:
        return None
    found = _PRINTED.search(text)
    if found is None:
        return None
    stack = text.rfind("\nStack (most recent call last):\n", found.start())
    printed = text[found.start() + 1 :] if stack < 0 else text[found.start() + 1 : max(stack, found.start() + 1)]
    return text[: found.start()], printed or None, None if stack < 0 else text[stack + 1 :]


def rename_clashing(fields: Fields, others: Collection[str] = ()) -> Fields:
    """Return the fields with a trailing `_` on every name that is another key of the record.

    Args:
        fields: not changed.
        others: further keys of this record, besides the keys of every record.
    """
    taken = CLASHING.union(others)
    if taken.isdisjoint(fields):
        return fields
    renamed: Fields = {}
    for key, value in fields.items():
        name = key
        while name in taken or (name != key and name in fields):
            name += "_"
        renamed[name] = value
    return renamed


def exception_text(exc_info: object) -> str | None:
    """Return a traceback as text; `None` if there is no exception.

    Args:
        exc_info: an exception, an `exc_info` tuple, or `True` for the exception that is being handled.
    """
    if exc_info is None or exc_info is False:
        return None
    if exc_info is True:
        exc_info = sys.exc_info()
    if isinstance(exc_info, BaseException):
        exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
    if not isinstance(exc_info, tuple) or len(exc_info) != 3 or exc_info[1] is None:
        return None
    kind, value, trace = exc_info
    try:
        return "".join(traceback.format_exception(kind, value, trace)).rstrip("\n")
    except Exception as error:  # noqa: BLE001 - a `__str__` of the exception, or of one inside it, fails
        return f"{getattr(kind, '__name__', kind)}: <its traceback cannot be written: {type(error).__name__}>"
