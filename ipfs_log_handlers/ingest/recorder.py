"""Define Recorder, the common part of handler and processor: the steps from a logged event to the writer.

Handler and processor differ only in how they are called. This module chooses the subsystem of an event, hides values,
adds trace ids, and leaves out the keeper's own records.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.concurrency import fork
from ipfs_log_handlers.concurrency.threads import isolated
from ipfs_log_handlers.config import Settings, resolved, source
from ipfs_log_handlers.errors import ConfigurationError, HomeError
from ipfs_log_handlers.ingest import drop_report
from ipfs_log_handlers.ingest.drop_report import DroppedError, is_reporting, reporting
from ipfs_log_handlers.ingest.fields import event_text, rename_clashing, resolve_event, without_repeats
from ipfs_log_handlers.ingest.log_record import Format, event_of
from ipfs_log_handlers.ingest.registration import register
from ipfs_log_handlers.ingest.tracing import LOADED, OPENTELEMETRY, with_trace
from ipfs_log_handlers.runtime.process import HomeProcess
from ipfs_log_handlers.subsystems.registry import Router, Subsystem

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipfs_log_handlers.format.record import RecordEncoder
    from ipfs_log_handlers.ingest.event import LoggedEvent
    from ipfs_log_handlers.ingest.fast_path import FastPath
    from ipfs_log_handlers.ingest.origin import Origin
    from ipfs_log_handlers.ingest.pseudonyms import Pseudonyms
    from ipfs_log_handlers.ingest.redaction import Redaction
    from ipfs_log_handlers.spool.writer import Writer

__all__ = ["Chosen", "Recorder"]

Chosen = str | Subsystem | Mapping[str, Any] | None
"""The types of the argument `subsystem` of a handler or processor."""

_WRITER_BYTES: Final = 64
"""Bytes that the writer adds to a record prefix: `pid`, `seq` and the checksum."""
_CUT_MARK_BYTES: Final = 256
"""Bytes kept free, when a record is cut, for the characters that JSON adds around its members."""
_HINT: Final = "Name a directory that this user can write, with home= or IPFS_LOGS_HOME."


class Recorder:
    """Records events for one open handler or processor.

    Args:
        subsystem: its name, the subsystem itself or a mapping of its fields, which is then registered; `None` routes
            each record.
        keywords: the keywords of `config.Settings`.
        level: the level of the handler; it is only checked, so that a wrong level leaves no open handler.
        owner: name of the class that takes the keywords, for an error.

    Raises:
        ConfigurationError: a name or value is wrong, or another open handler of the subsystem has other settings.
        HomeError: the home belongs to another user, is not a directory, cannot be written, or could not be made.
    """

    __slots__ = (
        "_encoder",
        "_max_prefix_bytes",
        "_open_handler",
        "_redaction",
        "_settings",
        "_told_private",
        "_writers",
        "chosen",
        "failed",
        "fast_path",
        "home",
        "origin",
    )

    def __init__(
        self,
        subsystem: Chosen,
        keywords: Mapping[str, Any],
        level: int | str = logging.NOTSET,
        *,
        owner: str = "IPFSHandler",
    ) -> None:
        self._settings = Settings.parse(keywords, owner=owner, also=("subsystem", "level"))
        self.chosen = _chosen(subsystem)
        """The one subsystem of all records; `None` if each record is routed."""
        subsystems.check_metadata(self.chosen, self._settings.metadata)
        _check_level(level)
        _check_home(self._settings.home, source(keywords, "home")[1], self.chosen)
        self._open_handler = HomeProcess.register(self.chosen, self._settings)
        self.home = self._open_handler.process
        self.origin: Origin | None = None
        """The parts of the origin that records get; `None`: none."""
        if self._settings.include:
            from ipfs_log_handlers.ingest.origin import Origin

            self.origin = Origin(self._settings.include)
        self._redaction: Redaction | None = None
        if self._settings.redact is not None:
            from ipfs_log_handlers.ingest.redaction import redaction

            self._redaction = redaction(self._settings.redact, self._settings.default, self._make_pseudonyms)
        self._writers: dict[str, Writer] = {}
        self._encoder: RecordEncoder | None = None
        self._max_prefix_bytes = self._settings.max_record_bytes - _WRITER_BYTES
        self.fast_path: FastPath | None = None
        """The objects for the fast path; `None` until all records go to one log without redaction."""
        self.failed = 0
        """Records for which even a substitute could not be written, and calls of flush and close that failed."""
        self._told_private: set[str] = set()
        """Private subsystems of which a line on stderr has said that batches stay in the home."""

    def take_record(self, record: logging.LogRecord, format_record: Format | None) -> None:
        """Record a LogRecord.

        Args:
            record: of any kind; not changed.
            format_record: makes the message, if the program has a formatter.
        """
        self.prepare()
        self.take(event_of(self.without_secrets(record), format_record, self.origin))

    def without_secrets(self, record: logging.LogRecord) -> logging.LogRecord:
        """Return a record whose message and arguments have no secrets that could not be found later in their text."""
        return record if self._redaction is None else self._redaction.hide_in_message(record)

    def take(self, logged: LoggedEvent) -> None:
        """Record one event, unless the keeper itself logged it.

        Raises:
            DroppedError: the event, or one that was logged during this call, could not be kept; it has been counted.
        """
        fork.notice()
        if _is_from_keeper(logged):
            return
        encoder = self.prepare()
        fields = with_trace(logged.fields) if OPENTELEMETRY in LOADED else logged.fields
        subsystem = self.chosen or self._route(logged.logger, logged.event, fields)
        logged = without_repeats(logged._replace(fields=fields))
        fields, origin = logged.fields, _origin_of(logged)
        event = resolve_event(logged.event, fields, subsystem.first_event, from_json=logged.from_json)
        writer = self._writer(subsystem)
        if subsystem.events and subsystem.lacks(event, fields, self._settings.metadata):
            writer.incomplete += 1
        from_json = logged.from_json and event is logged.event
        fields = {**origin, **rename_clashing(fields, origin)} if origin else rename_clashing(fields)
        logged = logged._replace(event=event, fields=fields, from_json=from_json)
        if self._redaction is not None:
            logged = self._redaction.apply(logged, subsystem.name)
        created, level, logger, event, fields, exception, stack, *_ = logged
        prefix = encoder.prefix(created, level, logger, event, fields, exception, stack)
        if len(prefix) > self._max_prefix_bytes:
            from ipfs_log_handlers.format.record import cut_down

            max_bytes = self._max_prefix_bytes - _CUT_MARK_BYTES
            default = self._settings.default
            event, fields, exception, stack = cut_down(event, fields, exception, stack, max_bytes, default)
            prefix = encoder.prefix(created, level, logger, event, fields, exception, stack)
        if not writer.append(prefix) or writer.unannounced:
            self._raise_dropped(writer)

    def _raise_dropped(self, writer: Writer) -> None:
        """Raise the error for `report`, unless the calling thread already reports.

        The counts are those that no other thread has reported, so this event itself may be missing in them.
        """
        if not is_reporting():
            raise DroppedError(writer.subsystem.name, self._settings.home, writer.take_unannounced(), writer.refused_by)

    def _make_pseudonyms(self) -> Pseudonyms:
        from ipfs_log_handlers.ingest.pseudonyms import Pseudonyms

        return Pseudonyms(self.home.home, self.count_failure)

    def report(self, error: Exception, handle_error: Callable[[], object]) -> None:
        """Report to the program that an event was not kept, with its `on_drop` and its `handleError`.

        Records that the program logs during the report are recorded, but begin no further report.

        Args:
            error: the reason.
            handle_error: function that calls `handleError`, or its replacement.
        """
        if isinstance(error, DroppedError):
            counts = error.counts
        else:
            counts = {type(error).__name__: 1}
            self.count_failure("a record was lost", error)
        with reporting() as outermost:
            if outermost:
                self._call_on_drop(counts)
                handle_error()

    def _call_on_drop(self, counts: Mapping[str, int]) -> None:
        if self._settings.on_drop is None:
            return
        for reason, count in counts.items():
            try:
                self._settings.on_drop(reason, count)
            except Exception as error:  # noqa: BLE001 - counted; logging must go on
                self.count_failure("on_drop", error)

    def print_line(self, error: BaseException | None) -> None:
        """Print one line on stderr that says why an event was not kept, at most one a minute for each reason."""
        drop_report.print_line(error, self._settings.home, "any subsystem" if self.chosen is None else self.chosen.name)

    def _report_rest(self, *, print_lines: bool) -> None:
        """Report the drops that no logging call has reported: records that were not synced, or too deeply nested."""
        for writer in list(self._writers.values()):
            try:
                if writer.unannounced:
                    self._raise_dropped(writer)
            except Exception as error:  # noqa: BLE001 - a DroppedError; or the interpreter is clearing its modules
                with suppress(ImportError):
                    self.report(error, partial(self.print_line, error) if print_lines else _nothing)

    def prepare(self) -> RecordEncoder:
        """Import the modules for a record and return the encoder; before its first record a handler imports none.

        No fork can happen during the import: a child would wait for ever for a module that is half imported.
        """
        if self._encoder is None:
            fork.notice()
            with fork.importing():
                import ipfs_log_handlers.ingest.fast_path
                import ipfs_log_handlers.spool.writer  # noqa: F401
                from ipfs_log_handlers.format.record import RecordEncoder

                subsystems.load()
                fast = not isolated()
                if fast:
                    with suppress(ImportError):  # `json` is used instead
                        import msgspec  # noqa: F401
                self._encoder = RecordEncoder(fast=fast, default=self._settings.default)
        return self._encoder

    def _route(self, logger: str, event: object, fields: dict[str, Any]) -> Subsystem:
        """Return the subsystem of a record; if the field `subsystem` decided, remove this field."""
        named = fields.get("subsystem")
        subsystem = subsystems.get(Router.route(logger, event_text(fields.get("event")) or event, named))
        if named is not None and named == subsystem.name:
            del fields["subsystem"]
        return subsystem

    def _writer(self, subsystem: Subsystem) -> Writer:
        writer = self._writers.get(subsystem.name)
        if writer is None:
            writer = self._writers[subsystem.name] = self.home.writer(subsystem, self._settings)
            if self.chosen is not None and self._redaction is None:
                from ipfs_log_handlers.ingest.fast_path import FastPath

                required = self.chosen.required(self._settings.metadata)
                self.fast_path = FastPath(
                    self.prepare(),
                    writer,
                    self._max_prefix_bytes,
                    required,
                    self.origin,
                    keeps_gil=self._settings.gil == "auto",
                )
        return writer

    @property
    def default(self) -> Callable[[Any], Any] | None:
        """The program's hook for values that JSON cannot hold."""
        return self._settings.default

    def flush(self, *, print_lines: bool) -> None:
        """Wait until all records of this process in the home are shipped (without `kubo`: sealed), or time is over.

        Args:
            print_lines: print on stderr the dropped records that are not reported yet, and once that batches of a
                private subsystem stay in the home.
        """
        try:
            self.home.flush(self._settings.flush_timeout)
        except Exception as error:  # noqa: BLE001 - counted; logging.shutdown must reach the other handlers
            self.count_failure("flush", error)
        self._report_rest(print_lines=print_lines)
        self._report_kept_here(print_lines=print_lines)

    def close(self, *, print_lines: bool) -> None:
        """Flush, once; the last recorder of a home releases the keeper's lock. A later record is still stored."""
        try:
            self.home.unregister(self._open_handler)
        except Exception as error:  # noqa: BLE001 - as above
            self.count_failure("close", error)
        self._report_rest(print_lines=print_lines)
        self._report_kept_here(print_lines=print_lines)

    def _report_kept_here(self, *, print_lines: bool) -> None:
        """Print once, for each private subsystem, that batches stay in the home, because strangers could find them."""
        if not print_lines or not self._settings.kubo or self._settings.allow_public:
            return
        with suppress(Exception):  # the home cannot be read, or the interpreter is clearing its modules
            for name, writer in list(self._writers.items()):
                if writer.subsystem.private and name not in self._told_private:
                    self._report_kept_subsystem(name)

    def _report_kept_subsystem(self, name: str) -> None:
        from ipfs_log_handlers.home import delivery_state

        states = delivery_state.load_all(self.home.home.subsystem_dir(name).current.shipped).values()
        errors = [state.last_error for state in states if state.last_error is not None]
        for message in [error.message for error in errors if error.kind == "public"][:1]:
            self._told_private.add(name)
            drop_report.print_notice(message)

    def count_failure(self, failure: str, error: Exception) -> None:
        """Count an error that must not reach the program; `status` shows its type, but no text, which may be secret."""
        self.failed += 1
        self.home.count_failure(f"{failure}: {type(error).__name__}")

    def status(self) -> list[dict[str, Any]]:
        """Return counters and health of the home: for each subsystem a mapping with the keys of `ipfs-logs status`."""
        from ipfs_log_handlers.monitoring.status import status

        own = subsystems.DEFAULT if self.chosen is None else self.chosen.name
        return [subsystem.as_json() for subsystem in status(self.home.home.path, self.home.counters, own=own)]


def _nothing() -> None:
    """Do nothing."""


def _origin_of(logged: LoggedEvent) -> Mapping[str, Any]:
    """Return the origin of an event; if another process logged it, with the id of this process (`logged_pid`)."""
    if type(logged.process) is not int or logged.process == os.getpid():
        return logged.origin
    return {**logged.origin, "logged_pid": logged.process}


def _is_from_keeper(logged: LoggedEvent) -> bool:
    """Return whether the keeper's thread logged this event; a thread of another process may have the same number."""
    try:
        return logged.thread in HomeProcess.own_threads and logged.process in {None, os.getpid()}
    except TypeError:  # not a number, and not hashable
        return False


def _chosen(subsystem: Chosen) -> Subsystem | None:
    with fork.importing():
        if isinstance(subsystem, Mapping):
            subsystem = Subsystem.parse(resolved(subsystem))
        if isinstance(subsystem, Subsystem):
            return register(subsystem)
        return None if subsystem is None else subsystems.get(subsystem)


def _check_level(level: object) -> None:
    try:
        logging.Logger("", level)  # type: ignore[arg-type]  # noqa: LOG001 - only to check the level
    except (TypeError, ValueError) as error:
        raise ConfigurationError("no such level", where="level", found=repr(level)) from error


def _check_home(path: Path, named: str, chosen: Subsystem | None) -> None:
    """Refuse a home that belongs to another user, or that cannot be written or made, when the handler is made.

    No file is written: a missing home is made at the first record.

    Args:
        path: the home.
        named: the keyword or variable with the path.
        chosen: the one subsystem of all records.
    """
    from ipfs_log_handlers.home.writable import why_not_made, why_not_written

    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError:
        obstacle = why_not_made(path)
        if obstacle is not None:
            raise HomeError(f"the home cannot be made: {obstacle}", where=f"{named}: {path}", hint=_HINT) from None
        return
    from ipfs_log_handlers.home.layout import HomeDir

    try:
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            from ipfs_log_handlers.home.disk import check_owner

            check_owner(path)
        with suppress(PermissionError):
            HomeDir(path).refuse_other_things()
        obstacle = why_not_written(path, None if chosen is None else chosen.name)
        if obstacle is not None:
            raise HomeError(f"the home cannot be written: {obstacle}", where=path, hint=_HINT)
    except HomeError as error:
        error.where = f"{named}: {error.where}"
        raise
