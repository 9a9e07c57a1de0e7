"""Split a structlog event dict into event, fields, exception and stack, without structlog's internal keys.

Event dicts arrive in two ways: in a chain, through `IPFSProcessor`, and as the message of a LogRecord, if
`ProcessorFormatter.wrap_for_formatter` of structlog ends a chain. An earlier processor may have turned the event dict
into a text, bytes, the arguments of a logging call, or a dict in which the event has another name.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any, Final

from ipfs_log_handlers.ingest.fields import exception_text, json_members

__all__ = [
    "INTERNAL_KEYS",
    "event_dict_of",
    "exception_and_stack",
    "fields_of",
    "is_wrapped",
    "level_of",
    "logger_of",
    "record_of",
    "with_arguments",
    "with_event",
]

INTERNAL_KEYS: Final = frozenset({"_record", "_from_structlog", "_logger", "_name"})
"""Keys that structlog adds to those of the caller; no record has them."""
_RECORD_KEYS: Final = INTERNAL_KEYS | {"level", "logger", "exc_info", "exception", "stack", "stack_info"}
"""Keys that become keys of the record or are left out, so that they are never fields. The caller handles `event`."""


_EVENT_KEYS: Final = ("message", "msg", "short_message", "_why")
"""Keys to which an event is usually renamed."""
Hide = Callable[[logging.LogRecord], logging.LogRecord]
_MAX_FRAMES: Final = 32
"""Frames between structlog and this module that are searched for the chain."""
_RUNNERS: Final = {"_process_event": "_processors", "_proxy_to_logger": "_processors", "format": "processors"}
"""Methods of structlog that run a chain or pass on its result, and the attribute that contains its processors."""
_CALL_KEYWORDS: Final = frozenset({"msg", "extra", "stacklevel", "stackLevel"})
"""Keywords of a logging call that are not keys of an event dict."""


def event_dict_of(arrived: object) -> Mapping[str, Any]:
    """Return the argument of a processor as an event dict, also after a renderer.

    Args:
        arrived: an event dict; text or bytes, from JSON or any other renderer; keyword arguments of a logging call
            (`render_to_log_kwargs`), or a tuple of positional and keyword arguments (`wrap_for_formatter`,
            `render_to_log_args_and_kwargs`). Not changed.
    """
    if isinstance(arrived, tuple) and len(arrived) == 2 and isinstance(arrived[0], tuple):
        return _from_call(arrived[0], arrived[1] if isinstance(arrived[1], Mapping) else {})
    if isinstance(arrived, (bytes, bytearray, memoryview)):
        arrived = bytes(arrived).decode("utf-8", "backslashreplace")
    if isinstance(arrived, str):
        members = json_members(arrived.strip("\ufeff \t\r\n"))
        return {"event": arrived} if members is None else with_event(members, arrived)
    if not isinstance(arrived, Mapping):
        return {"event": arrived}
    event_dict = _plain(arrived)
    if "event" not in event_dict and "msg" in event_dict and isinstance(event_dict.get("extra"), Mapping):
        return _from_call((event_dict["msg"],), event_dict)
    return with_event(event_dict)


def _plain(event_dict: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an event dict as a `dict`, whose methods are Python's own; its text if it cannot be read."""
    if type(event_dict) is dict:
        return event_dict
    try:
        return dict(event_dict) if isinstance(event_dict, dict) else {key: event_dict[key] for key in event_dict}
    except Exception:  # noqa: BLE001 - code of the program
        from ipfs_log_handlers.format.values import as_text

        return {"event": as_text(event_dict)}


def _from_call(args: tuple[Any, ...], keywords: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the event dict that became the arguments of a logging call."""
    if args and isinstance(args[0], Mapping):
        return with_event(args[0])
    if keywords.get("_structlog") and len(args) == 1:  # text for twisted, in an object whose `repr` it is
        return event_dict_of(repr(args[0]))
    extra = keywords.get("extra")
    event_dict = dict(extra) if isinstance(extra, Mapping) else {}
    event_dict |= {name: value for name, value in keywords.items() if name not in _CALL_KEYWORDS}
    if not args:
        return with_event(event_dict)
    event_dict["event"] = args[0]
    if len(args) > 1:
        event_dict["positional_args"] = args[1:]
    return event_dict


def with_arguments(event_dict: Mapping[str, Any], hide: Hide | None = None) -> Mapping[str, Any]:
    """Return an event dict whose positional arguments stand in the event; those that do not fit become `args`.

    structlog's loggers put the arguments of a call into the key `positional_args`, until a processor formats them.

    Args:
        event_dict: not changed.
        hide: hides what must not be kept of a message and its arguments, before they become text.
    """
    event, args = event_dict.get("event"), event_dict.get("positional_args")
    if not isinstance(event, str) or not isinstance(args, (list, tuple)) or not args:
        return event_dict
    whole = args[0] if len(args) == 1 and isinstance(args[0], Mapping) and args[0] else tuple(args)
    message = logging.makeLogRecord({"msg": event, "args": whole})
    others = {key: value for key, value in event_dict.items() if key != "positional_args"}
    try:
        return {**others, "event": (message if hide is None else hide(message)).getMessage()}
    except Exception:  # noqa: BLE001 - arguments that do not fit, a `__str__` that raises
        return {**others, "args": args}


def with_event(event_dict: Mapping[str, Any], text: str | None = None) -> Mapping[str, Any]:
    """Return an event dict with its event under the key `event`, even if a processor has renamed this key.

    Args:
        event_dict: not changed.
        text: the event if the dict has none under any name; `None`: the dict stays without an event.
    """
    if event_dict.get("event") is not None:
        return event_dict
    if any(isinstance(key, bytes) for key in event_dict):
        event_dict = {
            key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else key: value
            for key, value in event_dict.items()
        }
        return with_event(event_dict, text)
    for name in _renamed_event_keys():
        if name in event_dict:
            others = {key: value for key, value in event_dict.items() if key not in {name, "event"}}
            return {"event": event_dict[name], **others}
    return event_dict if text is None else {**event_dict, "event": text}


def _renamed_event_keys() -> Iterator[str]:
    """Return the keys to which an event may have been moved; the keys of an `EventRenamer` of the chain come first."""
    structlog = sys.modules.get("structlog")
    if structlog is not None:
        for processor in (*_running_processors(), *structlog.get_config().get("processors", ())):
            if type(processor).__name__ == "EventRenamer":
                yield processor.to
    yield from _EVENT_KEYS


def _running_processors() -> Sequence[Any]:
    """Return the processors of the chain that is running in this thread: a logger may have a chain of its own."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - as logging does
    for _ in range(_MAX_FRAMES):
        if frame is None:
            break
        if frame.f_code.co_name in _RUNNERS and frame.f_globals.get("__name__", "").startswith("structlog."):
            owner = frame.f_locals.get("self")
            processors = getattr(owner, _RUNNERS[frame.f_code.co_name], None)
            return processors if isinstance(processors, (list, tuple)) else ()
        frame = frame.f_back
    return ()


def is_wrapped(members: Mapping[str, Any]) -> bool:
    """Return whether the message of a LogRecord with these members is an event dict from `wrap_for_formatter`."""
    return "_logger" in members and "_name" in members and isinstance(members.get("msg"), dict)


def exception_and_stack(event_dict: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return exception and stack as text, whether structlog has formatted them already or not."""
    exception, stack = event_dict.get("exception"), event_dict.get("stack", event_dict.get("stack_info"))
    return (
        exception if isinstance(exception, str) else exception_text(event_dict.get("exc_info")),
        stack if isinstance(stack, str) else None,
    )


def level_of(event_dict: Mapping[str, Any]) -> str | None:
    """Return the name of the level in an event dict; `None` if it has none, or only a number."""
    level = _decoded(event_dict.get("level"))
    return level if isinstance(level, str) and level else None


def logger_of(event_dict: Mapping[str, Any], logger: object) -> object:
    """Return the name of the logger from the event dict, else from its LogRecord, else from the logger."""
    record = record_of(event_dict)
    return (
        _decoded(event_dict.get("logger"))
        or (record is not None and record.name)
        or getattr(logger, "name", None)
        or ""
    )


def record_of(event_dict: Mapping[str, Any]) -> logging.LogRecord | None:
    """Return the LogRecord of an event dict, in the chain of a `ProcessorFormatter`; else `None`."""
    record = event_dict.get("_record")
    return record if isinstance(record, logging.LogRecord) else None


def _decoded(value: object) -> object:
    """Return text for bytes, which `UnicodeEncoder` makes; return any other value unchanged."""
    return bytes(value).decode("utf-8", "replace") if isinstance(value, (bytes, bytearray)) else value


def fields_of(event_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Return the caller's fields, with `event`.

    A value that cannot become a key of the record is a field too: an exception that a processor has turned into a
    structure or a text, a level that is not a name.
    """
    fields = {key: value for key, value in event_dict.items() if key not in _RECORD_KEYS}
    if event_dict.get("level") is not None and level_of(event_dict) is None:
        fields["level"] = event_dict["level"]
    if isinstance(event_dict.get("exc_info"), (list, dict, str)):
        fields["exc_info"] = event_dict["exc_info"]
    for name in ("exception", "stack"):
        if not isinstance(event_dict.get(name, ""), (str, type(None))):
            fields[name] = event_dict[name]
    return fields
