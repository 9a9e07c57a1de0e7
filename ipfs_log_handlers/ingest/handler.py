"""Define IPFSHandler, the `logging.Handler`: a record is durable before `emit` returns.

If the program is killed, every record whose call returned is kept. If the daemon is down, all records wait in the home.
If the disk is full, new records are counted and dropped, or wait, as `when_full` says. `emit` never raises an exception
into the program, never waits for the network, and also works after `close`, in a fork, in a signal handler and at exit.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ipfs_log_handlers.ingest.recorder import Chosen, Recorder

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ipfs_log_handlers.config import Keywords

__all__ = ["IPFSHandler"]


class _NoLock:
    """Stand in for the lock that methods of a subclass may take, as `with self.lock` or by `self.acquire()`."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:  # noqa: FBT001, FBT002 - as of threading
        return True

    def release(self) -> None:
        pass

    def __enter__(self) -> bool:
        return True

    def __exit__(self, *_: object) -> None:
        pass


class IPFSHandler(logging.Handler):
    """Store the records of a subsystem, or of all subsystems, in the signed logs of a home.

    Args:
        subsystem: name of the subsystem, a `Subsystem` of your own, or a mapping of its fields as dictConfig gives it,
            which is then registered; `None` routes each record by its `subsystem` field, its event, its logger.
        level: records below it are ignored.
        settings: `home, kubo, token, replicas, batch, flush_timeout, durability, when_full, max_spool_bytes,
            max_store_bytes, keep_days, retention, max_record_bytes, keeper, gil, publish, encrypt, allow_public,
            redact, metadata, include, default, on_drop` as `config.Settings` describes them. Defaults of the first
            three come from `IPFS_LOGS_HOME`, `IPFS_LOGS_KUBO` and `IPFS_LOGS_TOKEN`, and recipients for `encrypt` from
            `IPFS_LOGS_RECIPIENTS`.

    Raises:
        ConfigurationError: a name or value is wrong, or another open handler of the subsystem has other settings.
        HomeError: the home belongs to another user, is not a directory, cannot be written, or could not be made.

    The constructor opens no file, uses no network and starts no thread. It only checks the home, or the directory in
    which the home will be made.
    """

    def __init__(
        self, subsystem: Chosen = None, *, level: int | str = logging.NOTSET, **settings: Unpack[Keywords]
    ) -> None:
        recorder = Recorder(subsystem, settings, level)
        super().__init__(level)
        self.subsystem = None if recorder.chosen is None else recorder.chosen.name
        self._recorder = recorder

    def createLock(self) -> None:  # noqa: N802 - logging's name
        """Have a lock that excludes nobody: the writer has one, and flush must not hold a lock that `emit` needs."""
        self.lock = _NoLock()  # type: ignore[assignment]

    def handle(self, record: logging.LogRecord) -> bool | logging.LogRecord:  # type: ignore[override]
        """Filter and record, without the lock that `logging.Handler` would take.

        After the first record of a handler for one subsystem, the fast path (`fast_path.py`) replaces this method,
        unless the program overrides a method that the fast path does not call. This method comes back as soon as one of
        these methods, the formatter or the filters are replaced.
        """
        result = self._handle_slowly(record)
        fast_path = self._recorder.fast_path
        if fast_path is not None and self.formatter is None and not self._overrides(*_LEFT_OUT):
            with contextlib.suppress(ImportError):  # the interpreter is clearing its modules
                from ipfs_log_handlers.ingest.fast_path import fast_path_of

                self._fast_path = fast_path_of(self, fast_path, slow_path=self._handle_slowly)
                self.__dict__["handle"] = self._fast_path
            if self.formatter is not None or self._overrides("emit", "filter", "format"):
                self._leave_fast_path()  # another thread has just replaced a method
        return result

    def __setattr__(self, name: str, value: object) -> None:
        if name in _LEFT_OUT or name in {"formatter", "filters"}:
            self._leave_fast_path()
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self._leave_fast_path()

    def _leave_fast_path(self) -> None:
        """Let the next record take the slow path, which decides again whether later records take the fast path."""
        members = self.__dict__
        if "_fast_path" in members and members.get("handle") is members["_fast_path"]:
            del members["handle"]

    def _handle_slowly(self, record: logging.LogRecord) -> bool | logging.LogRecord:
        passed = self.filter(record)
        if not passed:
            return passed
        if isinstance(passed, logging.LogRecord):
            record = passed
        self.emit(record)
        return record

    def _overrides(self, *names: str) -> bool:
        """Return whether a subclass or this handler itself overrides one of these methods."""
        members = self.__dict__
        return any(name in members or getattr(type(self), name) is not _METHODS[name] for name in names)

    def emit(self, record: logging.LogRecord) -> None:
        """Make a record durable; on return it survives a kill of this process, or it is counted as dropped."""
        formats = self.formatter is not None or self._overrides("format")
        try:
            self._recorder.take_record(record, self.format if formats else None)
        except Exception as error:  # noqa: BLE001 - counted and reported; nothing more can be done
            try:
                self._recorder.report(error, lambda: self.handleError(record))
            except RecursionError:  # the record is counted; the stack has no room for a report
                return

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Print one line on stderr that says why records are lost, at most one a minute for each reason.

        This method is called for each record that could not be kept, with the reason as the current exception; the
        record has been counted. Like the handlers of `logging`, it prints nothing if `logging.raiseExceptions` is
        false. Override it to report such records in another way; exceptions of the override reach the program.
        """
        if logging.raiseExceptions:
            self._recorder.print_line(sys.exc_info()[1])

    def flush(self) -> None:
        """Wait until all records of this process in the home are shipped (without `kubo`: sealed).

        Waits at most `flush_timeout`, for all handlers of the home together. Records that are left then stay on the
        disk for the next start of the program. Never raises.
        """
        self._recorder.flush(print_lines=self._prints_lines())

    def close(self) -> None:
        """Flush, once; the last handler of a home releases the keeper's lock. A later record is still stored."""
        self._recorder.close(print_lines=self._prints_lines())
        super().close()

    def _prints_lines(self) -> bool:
        return logging.raiseExceptions and not self._overrides("handleError")

    def status(self) -> list[dict[str, Any]]:
        """Return counters and health of the home, one mapping for each subsystem, with the keys of `ipfs-logs status`.

        Reads only the home: it needs no daemon, and works while a daemon is down.
        """
        return self._recorder.status()


_LEFT_OUT: Final = ("emit", "filter", "format", "handle")
"""Methods that the fast path does not call."""
_METHODS: Final[Mapping[str, object]] = {name: getattr(IPFSHandler, name) for name in (*_LEFT_OUT, "handleError")}
"""These methods of the class itself, to check whether a subclass overrides them."""
