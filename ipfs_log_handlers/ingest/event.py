"""Define LoggedEvent, one event as a program logged it, with logging or with structlog."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["LoggedEvent"]


class LoggedEvent(NamedTuple):
    """One event on its way from the logging call to the encoder.

    Each step of `Recorder.take` makes a new value; objects of the program are never changed.
    """

    created: float
    """Seconds since 1970."""
    level: str
    """Name of the level."""
    logger: str
    """Name of the logger."""
    event: str
    """The message; after the step that reads the field `event`, the event."""
    fields: dict[str, Any]
    """The caller's fields; a dict that belongs to this value alone."""
    exception: str | None = None
    """Text of the traceback."""
    stack: str | None = None
    """Text of the stack."""
    from_json: bool = False
    """Whether `event` is the text of a JSON object, or a mapping, whose members are among the fields."""
    thread: object = None
    """Identifier of the thread that logged it, if that is known."""
    process: object = None
    """Id of the process that logged it, if that is known."""
    origin: Mapping[str, Any] = {}
    """Keys with the origin of the record (`origin.py`)."""
