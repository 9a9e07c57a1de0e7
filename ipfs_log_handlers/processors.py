"""IPFSProcessor: a structlog event dict becomes the same event and fields, and is passed on unchanged.

It may stand anywhere in a chain. Everything said of `IPFSHandler` holds: durable when it returns, never raises, never
waits for the network. `logging.shutdown()` flushes and closes it, though it is attached to no logger.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, Final

from ipfs_log_handlers.eventdict import told, without_envelope
from ipfs_log_handlers.process import HomeProcess
from ipfs_log_handlers.recorder import Chosen, Recorder
from ipfs_log_handlers.tracing import LOADED, OPENTELEMETRY, with_trace

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


class IPFSProcessor:
    """A structlog processor with the keywords of `IPFSHandler`.

    Args:
        subsystem: as for `IPFSHandler`; `None` routes each event.
        level: events below it are not recorded; they are passed on all the same.
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
        """Record the event; return the very dict that came in, unchanged."""
        try:
            self._record(logger, method_name, event_dict)
        except Exception as error:  # noqa: BLE001 - a guest: counted, never raised
            self._recorder.count_failure("a record was lost", error)
        return event_dict

    def _record(self, logger: object, method_name: str, event_dict: MutableMapping[str, Any]) -> None:
        self._recorder.prepare()
        from ipfs_log_handlers.format.record import as_text

        level = as_text(event_dict.get("level") or ("error" if method_name == "exception" else method_name))
        if _LEVELS.get(level.lower(), logging.INFO) < self._shutdown.level:
            return
        if threading.get_ident() in HomeProcess.own_threads:
            return
        exception, stack = told(event_dict)
        fields = without_envelope(event_dict)
        fields.pop("event", None)
        if OPENTELEMETRY in LOADED:
            fields = with_trace(fields)
        self._recorder.take(
            time.time(),
            level,
            as_text(event_dict.get("logger") or getattr(logger, "name", None) or ""),
            as_text(event_dict.get("event", "")),
            fields,
            exception=exception,
            stack=stack,
        )

    def flush(self) -> None:
        """As `IPFSHandler.flush`."""
        self._recorder.flush()

    def close(self) -> None:
        """As `IPFSHandler.close`."""
        self._shutdown.close()

    def status(self) -> list[dict[str, Any]]:
        """As `IPFSHandler.status`."""
        return self._recorder.status()


class _Shutdown(logging.Handler):
    """Attached to no logger; `logging.shutdown` knows every handler, and so the recorder too."""

    def __init__(self, recorder: Recorder, level: int | str) -> None:
        super().__init__(level)
        self._recorder = recorder

    def createLock(self) -> None:  # noqa: N802 - logging's name
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Nothing is ever sent here."""

    def flush(self) -> None:
        self._recorder.flush()

    def close(self) -> None:
        self._recorder.close()
        super().close()
