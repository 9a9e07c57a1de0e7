"""Manage one home in this process: its open handlers, their writers and archivers, and its counters.

Handlers and processors of one process that have the same home share these objects. A constructor does no work; the
keeper's thread starts with the first record (`runtime.lifecycle`).
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, ClassVar, Final

from ipfs_log_handlers.concurrency import fork, logging_lock
from ipfs_log_handlers.concurrency.threads import IN_MAIN_INTERPRETER
from ipfs_log_handlers.config import Settings
from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.os_errors import explain_any
from ipfs_log_handlers.runtime.lifecycle import (
    STATE,
    KeeperControl,
    interruptible_at_exit,
    load_flush,
    may_seal,
    one_ctrl_c_at_exit,
    prepare_for_workers,
)

if TYPE_CHECKING:
    from pathlib import Path

    from ipfs_log_handlers.spool.archiver import Archiver
    from ipfs_log_handlers.spool.writer import Writer
    from ipfs_log_handlers.subsystems.registry import Subsystem
from ipfs_log_handlers.stores.credentials import Credentials

__all__ = ["HomeProcess", "OpenHandler", "ProcessCounters", "configured_pins", "configured_stores", "forget_home"]

_MAX_FAILURE_TEXTS: Final = 32
"""Number of different failures that are counted; further texts are left out, so that memory stays bounded."""
_MAX_FAILURE_CHARS: Final = 200
"""Length at which the text of a failure is cut off."""


class OpenHandler:
    """One open handler, processor or manager and its settings, for as long as it is open."""

    __slots__ = ("__weakref__", "open", "process", "records", "settings", "subsystem")

    def __init__(self, process: HomeProcess, subsystem: Subsystem | None, settings: Settings, *, records: bool) -> None:
        self.process = process
        """This process in the home that the settings name."""
        self.subsystem = subsystem
        """Its subsystem; `None`: any subsystem."""
        self.records = records
        """Whether it logs records, or only archives files."""
        self.settings = settings
        self.open = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessCounters:
    """The counters that only this process has for a home, at one moment."""

    unreported: Mapping[str, Mapping[str, int]]
    """By subsystem and reason: number of dropped records that no segment reports yet."""
    incomplete: Mapping[str, int]
    """By subsystem: records without the fields that their event requires."""
    failures: Mapping[str, int]
    """By text: number of failures that could not be raised."""
    keeper_errors: Mapping[str, str]
    """By subsystem or address of a store: the current error of the keeper of this process."""
    refusals: Mapping[str, str] = field(default_factory=dict)
    """By subsystem: the reason why records are dropped now."""


class HomeProcess:
    """One home in this process. `keeper.host.Host` lists the methods that the keeper calls."""

    own_threads: set[int] = STATE.keeper_threads
    """Threads of this process that are a keeper now; records that libraries log on them are never recorded."""
    _all: ClassVar[dict[Path, HomeProcess]] = STATE.homes

    def __init__(self, path: Path) -> None:
        self.home = HomeDir(path)
        self.writers: dict[str, Writer] = {}
        """The writers by subsystem; each is made at the first record."""
        self.archivers: dict[str, Archiver] = {}
        """The archivers by subsystem; each is made at the first archive."""
        self.keeper = KeeperControl(self)
        self.flush_gave_up_at: float | None = None
        """Start of the last flush whose deadline passed without success, seconds since 1970; `None`: none."""
        self.flush_waited_s = 0.0
        """Seconds that the flushes of all handlers together have waited since then."""
        self._handlers: list[weakref.ref[OpenHandler]] = []
        self._failures: dict[str, int] = {}

    # -- open handlers

    @classmethod
    def register(cls, subsystem: Subsystem | None, settings: Settings, *, records: bool = True) -> OpenHandler:
        """Open a handler, a processor or a manager.

        Args:
            subsystem: its subsystem; `None`: any.
            settings: its settings.
            records: whether it logs records. A handler that only archives files may have other settings.

        Raises:
            ConfigurationError: another open handler of the same subsystem has other settings.
        """
        fork.notice()
        if settings.keeper == "thread":
            prepare_for_workers(settings.kubo, pins=bool(settings.pins))
        with STATE.guard:
            process = STATE.homes.setdefault(settings.home, cls(settings.home))
            handler = OpenHandler(process, subsystem, settings, records=records)
            for other in process.open_handlers if records else ():
                if other.records and other.subsystem == subsystem and other.settings != settings:
                    raise _conflict(subsystem, other.settings, settings)
            process._add(handler)
            return handler

    def _add(self, handler: OpenHandler) -> None:
        self._handlers.append(weakref.ref(handler))
        subsystem = handler.subsystem
        if subsystem is not None and subsystem.name in self.writers:
            self.writers[subsystem.name].configure(handler.settings.with_records(subsystem.records))
        if not self.keeper.keep_running():
            self.notify_after_next_record()

    def unregister(self, handler: OpenHandler) -> None:
        """Close a handler: flush; after the last handler of the home, release the keeper's lock.

        Inside dictConfig this does not wait: the keeper's thread ends when all batches are shipped or cannot be.
        """
        fork.notice()
        if not handler.open:
            return
        handler.open = False
        with one_ctrl_c_at_exit():
            self._unregister(handler)

    def _unregister(self, handler: OpenHandler) -> None:
        self.flush(handler.settings.flush_timeout)
        with STATE.guard:
            self._handlers = [other for other in self._handlers if other() not in {None, handler}]
            is_last = not self._handlers
        if is_last and (self.writers or self.archivers):
            if logging_lock.inside_dictconfig():
                self.keeper.retire_if_unused()
            else:
                self.keeper.stop()
            for writer in list(self.writers.values()):
                writer.close()

    @property
    def open_handlers(self) -> list[OpenHandler]:
        """The open handlers. Handlers of a dictConfig that failed no longer exist, although they were never closed."""
        return [handler for reference in self._handlers if (handler := reference()) is not None]

    @property
    def has_open_handlers(self) -> bool:
        """Whether a handler, processor or manager of the home is open."""
        return bool(self.open_handlers)

    def wants_thread(self) -> bool:
        """Return whether the open handlers (else the former ones) allow a thread of this process to be the keeper."""
        return any(settings.keeper == "thread" for settings in self._settings()) and IN_MAIN_INTERPRETER

    def longest_flush_timeout(self) -> float:
        """Return the longest `flush_timeout` of any handler, open or closed, seconds."""
        every = [handler.settings for handler in self.open_handlers] + [part.settings for part in self._sources()]
        return max((settings.flush_timeout for settings in every), default=0.0)

    def _settings(self) -> list[Settings]:
        opened = [handler.settings for handler in self.open_handlers]
        return opened or [source.settings for source in self._sources()]

    @classmethod
    def everywhere(cls) -> Iterator[HomeProcess]:
        """Yield every home that this process has, or had, a handler for."""
        yield from list(STATE.homes.values())

    # -- writers and archivers

    def writer(self, subsystem: Subsystem, settings: Settings) -> Writer:
        """Return the writer of a subsystem, made at its first record.

        Args:
            subsystem: the subsystem.
            settings: used if the subsystem has no open handler of its own.
        """
        fork.notice()
        writer = self.writers.get(subsystem.name)
        if writer is not None:
            return writer
        make_writer = _load_writer()
        with STATE.guard:
            writer = self.writers.get(subsystem.name)
            if writer is None:
                chosen = self._settings_of(subsystem, settings).with_records(subsystem.records)
                writer = make_writer(self.home, subsystem, chosen, self.keeper.start_after_record)
                if STATE.forking:
                    writer.before_fork()
                self.writers[subsystem.name] = writer
            return writer

    def archiver(self, subsystem: Subsystem, settings: Settings) -> Archiver:
        """Return the archiver of a subsystem, made at its first archive; arguments as for `writer`."""
        fork.notice()
        archiver = self.archivers.get(subsystem.name)
        if archiver is not None:
            return archiver
        with fork.importing():
            from ipfs_log_handlers.spool.archiver import Archiver
        with STATE.guard:
            archiver = self.archivers.get(subsystem.name)
            if archiver is None:
                chosen = self._settings_of(subsystem, settings)
                archiver = Archiver(self.home, subsystem, chosen, self.keeper.start_after_record)
                self.archivers[subsystem.name] = archiver
            return archiver

    def _settings_of(self, subsystem: Subsystem, settings: Settings) -> Settings:
        own = [handler.settings for handler in self.open_handlers if handler.subsystem == subsystem]
        return own[-1] if own else settings

    def _sources(self) -> list[Writer | Archiver]:
        return [*self.writers.values(), *self.archivers.values()]

    def notify_after_next_record(self) -> None:
        """Have each writer call `KeeperControl.start_after_record` once more, after its next record."""
        for writer in self.writers.values():
            writer.notify_after_next_record()

    # -- methods that the keeper calls

    def activity(self) -> int:
        """Return a number that grows with every record and every archive of this process."""
        return sum(source.activity for source in self._sources())

    def check_segments(self) -> None:
        """Check the open segments, because the program may have closed a descriptor."""
        for writer in list(self.writers.values()):
            writer.check_segment()

    def token(self, address: str) -> str | None:
        """Return the credential that was configured with this address: by a handler, else by the environment."""
        for settings in (part.settings for part in (*self.open_handlers, *self._sources())):
            if address in settings.kubo and settings.token:
                return settings.token
            if address in settings.pins and settings.pins_token:
                return settings.pins_token
        return Credentials.named().with_pins().token(address)

    def failed(self, what: str, error: Exception) -> None:
        """Count an error that cannot be raised; `status` shows it."""
        self.count_failure(f"{what}: {explain_any(error)}"[:_MAX_FAILURE_CHARS])

    def count_failure(self, text: str) -> None:
        """Count a failure by its text; see `_MAX_FAILURE_TEXTS`."""
        if text in self._failures or len(self._failures) < _MAX_FAILURE_TEXTS:
            self._failures[text] = self._failures.get(text, 0) + 1

    def counters(self) -> ProcessCounters:
        """Return the counters that only this process has for the home."""
        fork.notice()
        writers = dict(self.writers)
        return ProcessCounters(
            unreported={name: writer.unreported for name, writer in writers.items()},
            incomplete={name: writer.incomplete for name, writer in writers.items()},
            failures=dict(self._failures),
            keeper_errors=self.keeper.errors,
            refusals={name: why for name, writer in writers.items() if (why := writer.refusal) is not None},
        )

    # -- flush and fork

    def flush(self, timeout: float) -> bool:
        """Wait until all records of this process are shipped (without a store: sealed), or the time is over.

        Args:
            timeout: seconds for all handlers of the home together. If a deadline passes without success, no flush waits
                again until a store has answered. A store that refuses the connection ends the wait at once.

        Returns:
            Whether all records are shipped; without a store, whether they are sealed.
        """
        fork.notice()
        if not self._sources():
            return True
        for writer in list(self.writers.values()):
            writer.report_drops()
        if STATE.interrupted or not (IN_MAIN_INTERPRETER and may_seal()):  # another process seals, or the next start
            return False
        try:
            flush = load_flush()
        except ImportError:
            return False
        with one_ctrl_c_at_exit():
            try:
                return interruptible_at_exit(lambda: flush(self, timeout))
            finally:
                self.keeper.retire_if_unused()  # the flush may have started it for a handler that was closed long ago

    def before_fork(self) -> None:
        """Prepare the writers for a fork."""
        for writer in list(self.writers.values()):
            writer.before_fork()

    def after_fork_in_parent(self) -> None:
        """Let the writers continue in the parent."""
        for writer in list(self.writers.values()):
            writer.after_fork_in_parent()

    def after_fork_in_child(self) -> None:
        """Reset the state in the child."""
        for source in self._sources():
            source.after_fork_in_child()
        self.keeper.begin_process()
        self.flush_gave_up_at, self.flush_waited_s = None, 0.0
        self._failures.clear()


@functools.cache
def _load_writer() -> type[Writer]:
    """Import the class of writers, once: a record of another subsystem must not wait while the keeper imports."""
    with fork.importing():
        from ipfs_log_handlers.spool.writer import Writer

        return Writer


def configured_pins() -> dict[str, str | None]:
    """Return the pin services that open handlers of this process name, in any home: the token by address."""
    pins: dict[str, str | None] = {}
    for process in HomeProcess.everywhere():
        for handler in process.open_handlers:
            for address in handler.settings.pins:
                pins[address] = handler.settings.pins_token or pins.get(address)
    return pins


def configured_stores() -> dict[str, str | None]:
    """Return the stores that open handlers of this process name, in any home: the token by address."""
    stores: dict[str, str | None] = {}
    for process in HomeProcess.everywhere():
        for handler in process.open_handlers:
            for address in handler.settings.kubo:
                stores[address] = handler.settings.token or stores.get(address)
    return stores


def forget_home(path: Path) -> None:
    """Close all files that this process has open in a home, and forget the home, for example at the end of a test."""
    fork.notice()
    with STATE.guard:
        process = STATE.homes.get(path)
    if process is not None:
        for handler in list(process.open_handlers):
            process.unregister(handler)
        with STATE.guard:
            STATE.homes.pop(path, None)


def _conflict(subsystem: Subsystem | None, one: Settings, two: Settings) -> ConfigurationError:
    compared = [field.name for field in fields(Settings) if field.compare]
    names = [name for name in compared if getattr(one, name) != getattr(two, name)]
    shown = "token" not in names[:1]
    return ConfigurationError(
        "two open handlers of one subsystem have different settings",
        where=f"{subsystem.name if subsystem else 'routed'}: {', '.join(names)}",
        expected=repr(getattr(one, names[0])) if shown else "the same token",
        found=repr(getattr(two, names[0])) if shown else "another token",
        hint="Give both the same settings, or attach one handler to both loggers.",
    )
