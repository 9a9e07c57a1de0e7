"""A structlog event dict, taken apart: fields, traceback, stack; what is structlog's own luggage stays behind.

Event dicts arrive in two ways: in a chain, through `IPFSProcessor`, and as the message of a LogRecord, where
`ProcessorFormatter.wrap_for_formatter` of structlog ends a chain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ipfs_log_handlers.fields import exception_text

__all__ = ["LUGGAGE", "is_wrapped", "told", "without_envelope"]

LUGGAGE: Final = frozenset({"_record", "_from_structlog", "_logger", "_name"})
"""What structlog puts beside the caller's keys."""
_TAKEN: Final = LUGGAGE | {"level", "logger", "exc_info", "exception", "stack", "stack_info"}
"""Keys that become part of the envelope, but for `event`."""


def is_wrapped(members: Mapping[str, Any]) -> bool:
    """Whether the message of a LogRecord is an event dict that `wrap_for_formatter` put there."""
    return "_logger" in members and "_name" in members and isinstance(members.get("msg"), dict)


def told(event_dict: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Exception and stack, whether structlog has formatted them already or not."""
    exception, stack = event_dict.get("exception"), event_dict.get("stack", event_dict.get("stack_info"))
    return (
        exception if isinstance(exception, str) else exception_text(event_dict.get("exc_info")),
        stack if isinstance(stack, str) else None,
    )


def without_envelope(event_dict: Mapping[str, Any]) -> dict[str, Any]:
    """What the caller gave, with `event`; an exception that a processor made a structure of is a field like others."""
    fields = {key: value for key, value in event_dict.items() if key not in _TAKEN}
    for name in ("exception", "stack"):
        if not isinstance(event_dict.get(name, ""), (str, type(None))):
            fields[name] = event_dict[name]
    return fields
