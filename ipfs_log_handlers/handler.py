"""IPFSHandler, the `logging.Handler`: a LogRecord becomes event and fields, and durable before `emit` returns.

What survives what: the program killed: everything whose call returned. The daemon down: everything, it waits in the
home. The disk full: what was there; new records are counted and dropped, or wait, as `when_full` says. `emit` never
raises into the program, never waits for the network, and goes on working after `close`, in a fork, in a signal handler
and at exit.
"""

from __future__ import annotations

import copy
import logging
from itertools import islice
from typing import Any, Final

from ipfs_log_handlers.fields import CLASHING, exception_text, json_members
from ipfs_log_handlers.process import HomeProcess
from ipfs_log_handlers.recorder import Recorder

__all__ = ["IPFSHandler"]

_STANDARD: Final = tuple(logging.makeLogRecord({}).__dict__)
_LAST: Final = _STANDARD[-1]
_BEFORE_LAST: Final = len(_STANDARD) - 1
_NOT_FIELDS: Final = frozenset({*_STANDARD, "message", "asctime", "taskName"})
_SPECIAL: Final = CLASHING | {"event", "message", "asctime"}
"""Names of fields that the quick path leaves to the other one."""


class IPFSHandler(logging.Handler):
    """Sends the records of a subsystem, or of all of them, into the signed log of a home.

    Args:
        subsystem: name of the subsystem; `None` routes each record by its `subsystem` field, its event, its logger.
        level: records below it are ignored.
        settings: `home, kubo, token, replicas, batch, flush_timeout, durability, when_full, max_spool_bytes,
            max_store_bytes, keep_days, max_record_bytes, keeper, redact` as `config.Settings` describes them. Defaults
            of the first three come from `IPFS_LOGS_HOME`, `IPFS_LOGS_KUBO` and `IPFS_LOGS_TOKEN`.

    Raises:
        ConfigurationError: a name or value is wrong, or another open handler of the subsystem disagrees.

    Constructing touches no disk, no network and starts no thread.
    """

    def __init__(self, subsystem: str | None = None, *, level: int | str = logging.NOTSET, **settings: Any) -> None:  # noqa: ANN401
        recorder = Recorder(subsystem, settings)
        super().__init__(level)
        self.subsystem = subsystem
        self._recorder = recorder

    def createLock(self) -> None:  # noqa: N802 - logging's name
        """No lock of its own: the writer has one, and flush must not hold one that `emit` needs."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool | logging.LogRecord:  # type: ignore[override]
        """Filter, then emit; without the lock that `logging.Handler` would take."""
        if self.filters:
            passed = self.filter(record)
            if not passed:
                return passed
            if isinstance(passed, logging.LogRecord):
                record = passed
        self.emit(record)
        return record

    def emit(self, record: logging.LogRecord) -> None:
        """Make a record durable; on return it survives the death of this process, or it is counted as dropped."""
        try:
            members = record.__dict__
            if members["thread"] in HomeProcess.own_threads:
                return
            recorder = self._recorder
            quick = recorder.quick
            text = members["msg"]
            added = islice(members.items(), _BEFORE_LAST, None)
            if (
                quick is None
                or next(added)[0] != _LAST
                or members["exc_info"]
                or members["exc_text"]
                or members["stack_info"]
                or text.__class__ is not str
                or text[:1] == "{"
                or self.formatter is not None
            ):
                self._emit_any(record)
                return
            fields = dict(added)
            if not _SPECIAL.isdisjoint(fields):
                self._emit_any(record)
                return
            if members["args"]:
                text = text % members["args"]
            encode, append = quick
            front = encode(members["created"], members["levelname"], members["name"], text, fields)
            if len(front) > recorder.most:
                self._emit_any(record)
                return
            append(front)
        except Exception:  # noqa: BLE001 - a guest: whatever a record is, it does not hurt its host
            self._emit_odd(record)

    def _emit_odd(self, record: logging.LogRecord) -> None:
        try:
            self._emit_any(record)
        except Exception:  # noqa: BLE001 - counted; nothing more can be done
            self._recorder.failed += 1

    def _emit_any(self, record: logging.LogRecord) -> None:
        """Every kind of record: text, fields, JSON messages, exceptions, attributes that are missing."""
        members = record.__dict__
        text, args = self._text(record)
        fields = {name: value for name, value in members.items() if name not in _NOT_FIELDS}
        message = members.get("msg")
        found = dict(message) if isinstance(message, dict) else json_members(text)
        if found is not None:
            fields = {**found, **fields}
        if args is not None:
            fields["args"] = args
        self._recorder.take(
            members.get("created", 0.0),
            members.get("levelname", ""),
            members.get("name", ""),
            text,
            fields,
            from_json=found is not None,
            exception=exception_text(members.get("exc_info")) or members.get("exc_text") or None,
            stack=members.get("stack_info") or None,
        )

    def _text(self, record: logging.LogRecord) -> tuple[str, Any]:
        """The message; and its arguments, where they do not fit it."""
        try:
            if self.formatter is None:
                return record.getMessage(), None
            bare = copy.copy(record)  # the record is other handlers' too, and tracebacks have a field of their own
            bare.exc_info = bare.exc_text = bare.stack_info = None
            return self.formatter.format(bare), None
        except Exception:  # noqa: BLE001 - bad format arguments, a `__str__` that raises
            return _raw_text(record.__dict__.get("msg")), record.__dict__.get("args")

    def flush(self) -> None:
        """Wait until all that this process logged to the home is shipped (without `kubo`: sealed), or time is over.

        The time is `flush_timeout`, for all handlers of the home together. What is left stays on the disk for the next
        start. Never raises.
        """
        self._recorder.flush()

    def close(self) -> None:
        """The same as `flush`, once; the last handler of a home gives the keeper's lock back. A later record still lands."""
        self._recorder.close()
        super().close()

    def status(self) -> list[dict[str, Any]]:
        """The counters and the health of the home, one mapping for each subsystem, with the keys of `ipfs-logs status`.

        Read from the home alone: it needs no daemon, and works while one is down.
        """
        return self._recorder.status()


def _raw_text(message: object) -> str:
    try:
        return str(message)
    except Exception as error:  # noqa: BLE001 - the message's own code
        return f"<{type(message).__name__}: __str__ raised {type(error).__name__}>"
