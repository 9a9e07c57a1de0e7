"""What was logged becomes event and fields: the part that handler and processor have in common.

A JSON-object message gives its members; an `event` among the fields is the event, and the message, where it differs,
becomes `message`; a field that clashes with the envelope gets a trailing `_`; what `redact` names is hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ipfs_log_handlers.format.envelope import OURS

__all__ = ["CLASHING", "exception_text", "json_members", "rename_clashing", "resolve_event", "with_redaction"]

CLASHING: Final = OURS - {"event"}
"""Names of the envelope that a field cannot have."""
HIDDEN: Final = "[redacted]"

Fields = dict[str, Any]


def json_members(text: str) -> Fields | None:
    """The members of a message that is one JSON object; `None` for any other message."""
    if text[:1] != "{" or text[-1:] != "}":
        return None
    import json  # noqa: PLC0415 - not needed by most programs

    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
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
    event = named if isinstance(named, str) else str(named)
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


def with_redaction(rule: Callable[[Fields], Fields] | tuple[str, ...] | None) -> Callable[[Fields], Fields] | None:
    """The function that applies a `redact` setting; `None` when there is nothing to hide.

    A function of the user's that raises hides the whole record's fields: better nothing than what it wanted hidden.
    """
    if rule is None:
        return None
    if callable(rule):
        return lambda fields: _guarded(rule, fields)
    import fnmatch  # noqa: PLC0415 - only where something is to be hidden
    import re  # noqa: PLC0415

    matches = re.compile("|".join(f"(?:{fnmatch.translate(each)})" for each in rule), re.IGNORECASE).match
    return lambda fields: {name: _hide(name, value, matches) for name, value in fields.items()}


def _guarded(rule: Callable[[Fields], Fields], fields: Fields) -> Fields:
    try:
        found = rule(dict(fields))
    except Exception as error:  # noqa: BLE001 - the user's own code
        return {"redact_failed": type(error).__name__}
    return found if isinstance(found, dict) else {"redact_failed": f"returned {type(found).__name__}"}


def _hide(name: object, value: Any, matches: Callable[[str], object]) -> Any:  # noqa: ANN401
    if isinstance(name, str) and matches(name):
        return HIDDEN
    if isinstance(value, Mapping):
        return {inner: _hide(inner, each, matches) for inner, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_hide(None, each, matches) for each in value]
    return value


def exception_text(told: object) -> str | None:
    """The traceback of an exception, an `exc_info` tuple, or of the one being handled (`True`); `None` without one."""
    if told is None or told is False:
        return None
    import sys  # noqa: PLC0415 - only when there is an exception
    import traceback  # noqa: PLC0415

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
