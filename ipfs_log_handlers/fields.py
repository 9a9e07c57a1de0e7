"""What was logged becomes event and fields: the part that handler and processor have in common.

A JSON-object message gives its members; an `event` among the fields is the event, and the message, where it differs,
becomes `message`; a field that clashes with the envelope gets a trailing `_`.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any, Final

from ipfs_log_handlers.format.envelope import OURS

__all__ = ["CLASHING", "NOT_FIELDS", "exception_text", "json_members", "rename_clashing", "resolve_event"]

CLASHING: Final = OURS - {"event"}
"""Names of the envelope that a field cannot have."""
NOT_FIELDS: Final = frozenset({*logging.makeLogRecord({}).__dict__, "message", "asctime"})
"""Members of a LogRecord that nobody gave as `extra`."""

Fields = dict[str, Any]


def json_members(text: str) -> Fields | None:
    """The members of a message that is one JSON object; `None` for any other message."""
    if text[:1] != "{" or text[-1:] != "}":
        return None
    try:
        import json

        found = json.loads(text)
    except (ValueError, RecursionError, ImportError):  # the last one as the interpreter takes its modules apart
        return None
    return found if isinstance(found, dict) and all(isinstance(key, str) for key in found) else None


def resolve_event(text: str, fields: Fields, first_event: str | None, *, from_json: bool) -> str:
    """The event of a record; takes `event` out of the fields and leaves `message` where the text differs from it.

    Args:
        text: the message.
        fields: changed in place.
        first_event: the subsystem's, for a JSON-object message that names none.
        from_json: the message was a JSON object whose members are among the fields.
    """
    named = fields.pop("event", None)
    if named is None:
        return first_event if from_json and first_event is not None else text
    event: str = named
    if not isinstance(named, str):
        from ipfs_log_handlers.format.record import as_text

        event = as_text(named)
    if not from_json and text != event:
        if "message" in fields:
            fields["message_"] = fields.pop("message")
        fields["message"] = text
    return event


def rename_clashing(fields: Fields) -> Fields:
    """The fields with a trailing `_` on every name that is the envelope's."""
    if CLASHING.isdisjoint(fields):
        return fields
    renamed: Fields = {}
    for key, value in fields.items():
        name = key
        while name in CLASHING or (name != key and name in fields):
            name += "_"
        renamed[name] = value
    return renamed


def exception_text(told: object) -> str | None:
    """The traceback of an exception, an `exc_info` tuple, or of the one being handled (`True`); `None` without one."""
    if told is None or told is False:
        return None
    if told is True:
        told = sys.exc_info()
    if isinstance(told, BaseException):
        told = (type(told), told, told.__traceback__)
    if not isinstance(told, tuple) or len(told) != 3 or told[1] is None:
        return None
    kind, value, trace = told
    try:
        return "".join(traceback.format_exception(kind, value, trace)).rstrip("\n")
    except Exception as error:  # noqa: BLE001 - a `__str__` of the exception, or of one it holds
        return f"{getattr(kind, '__name__', kind)}: <its traceback cannot be written: {type(error).__name__}>"
