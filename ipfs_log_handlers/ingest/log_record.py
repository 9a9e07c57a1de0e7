"""Make a LoggedEvent from any LogRecord, also with a JSON message, an exception, or missing attributes."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ipfs_log_handlers.ingest.event import LoggedEvent
from ipfs_log_handlers.ingest.event_dict import (
    INTERNAL_KEYS,
    exception_and_stack,
    fields_of,
    is_wrapped,
    with_arguments,
    with_event,
)
from ipfs_log_handlers.ingest.fields import (
    NOT_FIELDS,
    exception_text,
    json_members,
    level_name,
    split_queued,
    without_colour,
)

if TYPE_CHECKING:
    from ipfs_log_handlers.ingest.origin import Origin

__all__ = ["Format", "event_of"]

Format = Callable[[logging.LogRecord], str]
"""Makes the text of a record."""


def event_of(record: logging.LogRecord, format_record: Format | None, origin: Origin | None = None) -> LoggedEvent:
    """Return a record as an event.

    Args:
        record: not changed: other handlers get it too.
        format_record: makes the message, if the program has a formatter; otherwise the record's own text is the
            message.
        origin: the parts of the origin that the record gets.
    """
    members = record.__dict__
    text, unused_args = _text_of(record, format_record)
    fields = {name: value for name, value in members.items() if name not in NOT_FIELDS}
    exception, stack = members.get("exc_text"), members.get("stack_info")
    if format_record is None and (queued := split_queued(members)) is not None:
        text, exception, stack = queued
    message_members = _message_members(members.get("msg"), text, formatted=format_record is not None)
    if message_members is not None:
        if is_wrapped(members):
            exception, stack = exception_and_stack(message_members)
            message_members = fields_of(with_arguments(with_event(message_members)))
            fields = {name: value for name, value in fields.items() if name not in INTERNAL_KEYS}
        fields = {**message_members, **fields}
    if unused_args is not None:
        fields["args"] = unused_args
    return LoggedEvent(
        created=members.get("created", 0.0),
        level=level_name(members.get("levelname", ""), members.get("levelno")),
        logger=without_colour(members.get("name", "")),
        event=text,
        fields=fields,
        exception=exception_text(members.get("exc_info")) or exception or None,
        stack=stack or None,
        from_json=message_members is not None,
        thread=members.get("thread"),
        process=members.get("process"),
        origin={} if origin is None else origin.of_record(members),
    )


def _text_of(record: logging.LogRecord, format_record: Format | None) -> tuple[str, Any]:
    """Return the message; if its arguments do not fit, also return these."""
    try:
        if format_record is None:
            return record.getMessage(), None
        bare = copy.copy(record)  # other handlers use the record, too, and tracebacks have a key of their own
        bare.exc_info = bare.exc_text = bare.stack_info = None
        return format_record(bare), None
    except Exception:  # noqa: BLE001 - bad format arguments, a `__str__` that raises
        from ipfs_log_handlers.format.values import as_text

        return as_text(record.__dict__.get("msg")), record.__dict__.get("args")


def _message_members(message: object, text: str, *, formatted: bool) -> dict[str, Any] | None:
    """Return the members of a message that is a mapping or the text of one JSON object."""
    if issubclass(type(message), dict):
        try:
            return dict(message)  # type: ignore[call-overload, no-any-return]
        except Exception:  # noqa: BLE001 - the message's own code
            return None
    if isinstance(message, str) and message[:1] != "{" and not formatted:
        return None  # only the program's own text is parsed, never an argument
    return json_members(text)
