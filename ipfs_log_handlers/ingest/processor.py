"""Define IPFSProcessor, the structlog processor: an event is durable before the next processor gets it, unchanged.

It may be anywhere in a chain, also after a renderer: then the event is the output of the renderer. Like `IPFSHandler`,
it never raises an exception into the program and never waits for the network. `logging.shutdown()` flushes and closes
it, although it is attached to no logger.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Final

from ipfs_log_handlers.ingest.event import LoggedEvent
from ipfs_log_handlers.ingest.event_dict import (
    event_dict_of,
    exception_and_stack,
    fields_of,
    level_of,
    logger_of,
    record_of,
    with_arguments,
)
from ipfs_log_handlers.ingest.fields import event_text, level_name
from ipfs_log_handlers.ingest.recorder import Chosen, Recorder

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ipfs_log_handlers.config import Keywords

__all__ = ["IPFSProcessor"]

_LEVELS: Final = {
    "critical": 50,
    "fatal": 50,
    "exception": 40,
    "error": 40,
    "err": 40,
    "warning": 30,
    "warn": 30,
    "info": 20,
    "msg": 20,
    "debug": 10,
    "notset": 0,
}
"""Number of each level that has a method in structlog; any other level counts as `info`."""


class IPFSProcessor:
    """Store structlog events, as `IPFSHandler` stores records; the keywords are the same.

    Args:
        subsystem: as for `IPFSHandler`; `None` routes each event.
        level: events below it are not recorded, but are passed on.
        settings: as for `IPFSHandler`.

    Raises:
        ConfigurationError: a name or value is wrong.
    """

    def __init__(
        self, subsystem: Chosen = None, *, level: int | str = logging.NOTSET, **settings: Unpack[Keywords]
    ) -> None:
        self._recorder = Recorder(subsystem, settings, level, owner="IPFSProcessor")
        self._shutdown = _Shutdown(self._recorder, level)

    def __call__(
        self, logger: object, method_name: str, event_dict: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Record the event; return the same dict, unchanged."""
        try:
            self._recorder.prepare()
            self._record(logger, method_name, event_dict)
        except Exception as error:  # noqa: BLE001 - counted and reported, never raised into the program
            self._report(error)
        return event_dict

    def _report(self, error: Exception) -> None:
        def print_line() -> None:
            if logging.raiseExceptions:
                self._recorder.print_line(error)

        with contextlib.suppress(Exception):  # the interpreter is clearing its modules, or its stack is full
            self._recorder.report(error, print_line)

    def _record(self, logger: object, method_name: str, arrived: object) -> None:
        from ipfs_log_handlers.format.values import as_text, encode_total

        event_dict = with_arguments(event_dict_of(arrived), self._recorder.without_secrets)
        level = level_name(level_of(event_dict) or as_text(_level_of(method_name)))
        if _LEVELS.get(level.lower(), logging.INFO) < self._shutdown.level:
            return
        exception, stack = exception_and_stack(event_dict)
        fields = fields_of(event_dict)
        event = fields.pop("event", None)
        text = "" if event is None else event_text(event)
        record = record_of(event_dict)
        logged = LoggedEvent(
            created=time.time() if record is None else record.created,
            level=level,
            logger=as_text(logger_of(event_dict, logger)),
            event=encode_total(event, self._recorder.default).decode() if text is None else text,
            fields=fields,
            exception=exception,
            stack=stack,
            thread=threading.get_ident() if record is None else record.thread,
            process=None if record is None else record.process,
            origin=self._origin(record),
        )
        self._recorder.take(logged)

    def _origin(self, record: logging.LogRecord | None) -> Mapping[str, Any]:
        origin = self._recorder.origin
        if origin is None:
            return {}
        return origin.of_caller() if record is None else origin.of_record(record.__dict__)

    def flush(self) -> None:
        """Do as `IPFSHandler.flush`."""
        self._recorder.flush(print_lines=logging.raiseExceptions)

    def close(self) -> None:
        """Do as `IPFSHandler.close`."""
        self._shutdown.close()

    def status(self) -> list[dict[str, Any]]:
        """Return the same as `IPFSHandler.status`."""
        return self._recorder.status()


def _level_of(method_name: str) -> str:
    return "error" if method_name == "exception" else method_name


class _Shutdown(logging.Handler):
    """Close the recorder in `logging.shutdown`, which knows every handler; attached to no logger."""

    def __init__(self, recorder: Recorder, level: int | str) -> None:
        super().__init__(level)
        self._recorder = recorder

    def createLock(self) -> None:  # noqa: N802 - logging's name
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Do nothing: no logger sends records here."""

    def flush(self) -> None:
        self._recorder.flush(print_lines=logging.raiseExceptions)

    def close(self) -> None:
        self._recorder.close(print_lines=logging.raiseExceptions)
        super().close()
