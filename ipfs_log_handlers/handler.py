"""IPFSHandler, the `logging.Handler`: a LogRecord becomes event and fields, and durable before `emit` returns.

What survives what: the program killed: everything whose call returned. The daemon down: everything, it waits in the
home. The disk full: what was there; new records are counted and dropped, or wait, as `when_full` says. `emit` never
raises into the program, never waits for the network, and goes on working after `close`, in a fork, in a signal handler
and at exit.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
from typing import TYPE_CHECKING, Any

from ipfs_log_handlers.eventdict import LUGGAGE, is_wrapped, told, without_envelope
from ipfs_log_handlers.fields import NOT_FIELDS, exception_text, json_members
from ipfs_log_handlers.process import HomeProcess
from ipfs_log_handlers.recorder import Chosen, Recorder
from ipfs_log_handlers.tracing import LOADED, OPENTELEMETRY, with_trace

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ipfs_log_handlers.config import Keywords

__all__ = ["IPFSHandler"]


class IPFSHandler(logging.Handler):
    """Sends the records of a subsystem, or of all of them, into the signed log of a home.

    Args:
        subsystem: name of the subsystem, a `Subsystem` of your own, or a mapping of its fields as dictConfig gives it,
            which is then registered; `None` routes each record by its `subsystem` field, its event, its logger.
        level: records below it are ignored.
        settings: `home, kubo, token, replicas, batch, flush_timeout, durability, when_full, max_spool_bytes,
            max_store_bytes, keep_days, max_record_bytes, keeper, redact, metadata` as `config.Settings` describes them.
            Defaults of the first three come from `IPFS_LOGS_HOME`, `IPFS_LOGS_KUBO` and `IPFS_LOGS_TOKEN`.

    Raises:
        ConfigurationError: a name or value is wrong, or another open handler of the subsystem disagrees.
        HomeError: the home is another user's, or no directory.

    Constructing opens no file, touches no network and starts no thread; it looks whose the home is, if there is one.
    """

    def __init__(
        self, subsystem: Chosen = None, *, level: int | str = logging.NOTSET, **settings: Unpack[Keywords]
    ) -> None:
        recorder = Recorder(subsystem, settings, level)
        super().__init__(level)
        self.subsystem = None if recorder.chosen is None else recorder.chosen.name
        self._recorder = recorder

    def createLock(self) -> None:  # noqa: N802 - logging's name
        """No lock of its own: the writer has one, and flush must not hold one that `emit` needs."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool | logging.LogRecord:  # type: ignore[override]
        """Filter and record, without the lock that `logging.Handler` would take.

        Behind the first record of a handler for one subsystem the short way (`plain.py`) takes the place of this
        method, unless a subclass has a way of its own.
        """
        taken = self._handle_any(record)
        quick = self._recorder.quick
        if quick is not None and not self._differs():
            with contextlib.suppress(ImportError):  # the interpreter takes its modules apart
                from ipfs_log_handlers.plain import short_way

                self.__dict__["handle"] = short_way(self, *quick, long_way=self._handle_any)
        return taken

    def _handle_any(self, record: logging.LogRecord) -> bool | logging.LogRecord:
        passed = self.filter(record)
        if not passed:
            return passed
        if isinstance(passed, logging.LogRecord):
            record = passed
        self.emit(record)
        return record

    def _differs(self) -> bool:
        """Whether a subclass does differently what the short way would leave out."""
        own = type(self)
        return not (
            own.handle is IPFSHandler.handle and own.emit is IPFSHandler.emit and own.filter is IPFSHandler.filter
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Make a record durable; on return it survives the death of this process, or it is counted as dropped."""
        try:
            if not _is_ours(record.__dict__):
                self._emit_any(record)
        except Exception as error:  # noqa: BLE001 - counted; nothing more can be done
            self._recorder.count_failure("a record was lost", error)

    def _emit_any(self, record: logging.LogRecord) -> None:
        """Every kind of record: text, fields, JSON messages, exceptions, attributes that are missing."""
        self._recorder.prepare()
        members = record.__dict__
        text, args = self._text(record)
        fields = {name: value for name, value in members.items() if name not in NOT_FIELDS}
        found = self._members(members.get("msg"), text)
        exception, stack = members.get("exc_text"), members.get("stack_info")
        if found is not None and is_wrapped(members):
            exception, stack = told(found)
            found = without_envelope(found)
            fields = {name: value for name, value in fields.items() if name not in LUGGAGE}
        if found is not None:
            fields = {**found, **fields}
        if args is not None:
            fields["args"] = args
        if OPENTELEMETRY in LOADED:
            fields = with_trace(fields)
        self._recorder.take(
            members.get("created", 0.0),
            members.get("levelname", ""),
            members.get("name", ""),
            text,
            fields,
            from_json=found is not None,
            exception=exception_text(members.get("exc_info")) or exception or None,
            stack=stack or None,
        )

    def _members(self, message: object, text: str) -> dict[str, Any] | None:
        """The members of a message that is a mapping, or a text that is one JSON object."""
        if issubclass(type(message), dict):
            try:
                return dict(message)  # type: ignore[call-overload, no-any-return]
            except Exception:  # noqa: BLE001 - the message's own code
                return None
        if isinstance(message, str) and message[:1] != "{" and self.formatter is None:
            return None  # only the program's own text is taken apart, never what came in through an argument
        return json_members(text)

    def _text(self, record: logging.LogRecord) -> tuple[str, Any]:
        """The message; and its arguments, where they do not fit it."""
        if self._recorder.redaction is not None:
            shown = self._recorder.redaction.arguments(record.__dict__.get("args"))
            record = copy.copy(record)
            record.args = shown
        try:
            if self.formatter is None:
                return record.getMessage(), None
            bare = copy.copy(record)  # the record is other handlers' too, and tracebacks have a field of their own
            bare.exc_info = bare.exc_text = bare.stack_info = None
            return self.formatter.format(bare), None
        except Exception:  # noqa: BLE001 - bad format arguments, a `__str__` that raises
            from ipfs_log_handlers.format.record import as_text

            return as_text(record.__dict__.get("msg")), record.__dict__.get("args")

    def flush(self) -> None:
        """Wait until all that this process logged to the home is shipped (without `kubo`: sealed), or time is over.

        The time is `flush_timeout`, for all handlers of the home together. What is left stays on the disk for the next
        start. Never raises.
        """
        self._recorder.flush()

    def close(self) -> None:
        """As `flush`, once; the last handler of a home gives the keeper's lock back. A later record still lands."""
        self._recorder.close()
        super().close()

    def status(self) -> list[dict[str, Any]]:
        """The counters and the health of the home, one mapping for each subsystem, with the keys of `ipfs-logs status`.

        Read from the home alone: it needs no daemon, and works while one is down.
        """
        return self._recorder.status()


def _is_ours(members: dict[str, Any]) -> bool:
    """Whether the keeper's own thread logged this; a forked process may have another thread of that number."""
    try:
        return members.get("thread") in HomeProcess.own_threads and members.get("process") in (None, os.getpid())
    except TypeError:  # no number, and no hash
        return False
