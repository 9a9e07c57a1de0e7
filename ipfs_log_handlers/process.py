"""This process in a home: its writers and archivers, its keeper's thread, and the one deadline of all its handlers.

Handlers and processors of one process with the same home share what is here. Nothing happens in a constructor; the
thread starts with the first record. A fork leaves the child with fresh writers and no thread (docs/home.md 15).
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import time
import weakref
from typing import TYPE_CHECKING, ClassVar, Final

from ipfs_log_handlers import logging_lock
from ipfs_log_handlers.config import Settings
from ipfs_log_handlers.errors import ConfigurationError, FormatError
from ipfs_log_handlers.home import disk  # noqa: F401 - here, for before a fork the hook of who came first runs last
from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.native import RLock, in_main_interpreter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from ipfs_log_handlers.archiver import Archiver
    from ipfs_log_handlers.keeper.thread import KeeperThread
    from ipfs_log_handlers.subsystems.registry import Subsystem
    from ipfs_log_handlers.writer import Writer

__all__ = ["HomeProcess", "Occupant"]

_GRACE: Final = 0.3
"""Seconds that a request in flight is left when the keeper's thread ends."""
_MOST_FAILURES: Final = 32


class Occupant:
    """One open handler, processor or manager: what it configured, for as long as it is open."""

    __slots__ = ("__weakref__", "home", "open", "records", "settings", "subsystem")

    def __init__(self, home: HomeProcess, subsystem: Subsystem | None, settings: Settings, *, records: bool) -> None:
        self.home = home
        self.subsystem = subsystem
        self.records = records
        self.settings = settings
        self.open = True


class HomeProcess:
    """Everything of this process that concerns one home."""

    own_threads: set[int] = set()  # noqa: RUF012 - one for the process
    """Threads of this process that are a keeper now."""
    _all: ClassVar[dict[Path, HomeProcess]] = {}
    _guard = RLock()
    """Who holds it imports nothing and waits for no lock of logging's; dictConfig waits for it."""
    _imports = RLock()
    _exiting = False
    _forking = 0
    """The process that is about to fork: in the child, until our own hook has run, this is another one."""

    def __init__(self, path: Path) -> None:
        self.home = Home(path)
        self.writers: dict[str, Writer] = {}
        self.archivers: dict[str, Archiver] = {}
        self._entered: list[weakref.ref[Occupant]] = []
        self._thread: KeeperThread | None = None
        self._threaded = False
        self.gave_up_at: float | None = None
        self.waited_in_vain = 0.0
        self._registered = False
        self.failures: dict[str, int] = {}

    # -- who is here

    @property
    def _occupants(self) -> list[Occupant]:
        """The open ones. What a dictConfig that failed half way had made was dropped unclosed: it is open no more."""
        return [occupant for each in self._entered if (occupant := each()) is not None]

    @classmethod
    def enter(cls, subsystem: Subsystem | None, settings: Settings, *, records: bool = True) -> Occupant:
        """Open a handler or processor; or, without `records`, what only archives, and need agree with none of them.

        Raises:
            ConfigurationError: another open one disagrees on a setting of the same subsystem.
        """
        with cls._guard:
            here = cls._all.setdefault(settings.home, cls(settings.home))
            occupant = Occupant(here, subsystem, settings, records=records)
            for other in here._occupants if records else ():
                if other.records and other.subsystem == subsystem and other.settings != settings:
                    raise _conflict(subsystem, other.settings, settings)
            here._entered.append(weakref.ref(occupant))
            if subsystem is not None and subsystem.name in here.writers:
                here.writers[subsystem.name].configure(settings.with_records(subsystem.records))
            if not here._threaded and here._thread is not None and here.wants_thread():
                here._threaded = here._thread.stay()
            if not here._threaded:
                for writer in here.writers.values():
                    writer.tell_of_next()
            return occupant

    @classmethod
    def importing(cls) -> AbstractContextManager[object]:
        """Within it rooms are imported that are paid at the first record; no fork happens in between.

        Inside dictConfig the fork waits for logging's lock; and who imports may wait for that one, so not we for him.
        """
        return contextlib.nullcontext() if logging_lock.inside_dictconfig() else cls._imports

    def writer(self, subsystem: Subsystem, settings: Settings) -> Writer:
        """The writer of a subsystem; made at its first record. A handler of that very subsystem has the word on it."""
        with HomeProcess.importing():
            from ipfs_log_handlers.writer import Writer
        with HomeProcess._guard:
            found = self.writers.get(subsystem.name)
            if found is None:
                for each in self._occupants:
                    if each.subsystem == subsystem:
                        settings = each.settings
                found = Writer(self.home, subsystem, settings.with_records(subsystem.records), self._first_record)
                if HomeProcess._forking:
                    found.before_fork()
                self.writers[subsystem.name] = found
            return found

    def archiver(self, subsystem: Subsystem, settings: Settings) -> Archiver:
        """The archiver of a subsystem; made at its first archive. It ships where a handler of that subsystem does."""
        with HomeProcess.importing():
            from ipfs_log_handlers.archiver import Archiver
        with HomeProcess._guard:
            found = self.archivers.get(subsystem.name)
            if found is None:
                for each in self._occupants:
                    if each.subsystem == subsystem:
                        settings = each.settings
                found = self.archivers[subsystem.name] = Archiver(self.home, subsystem, settings, self._first_record)
            return found

    def leave(self, occupant: Occupant) -> None:
        """Close a handler, processor or manager: flush; the last one of the home gives the keeper's lock back.

        dictConfig waits for nobody: there the thread goes on until all is shipped, or could not be, and then ends.
        """
        if not occupant.open:
            return
        occupant.open = False
        self.flush(occupant.settings.flush_timeout)
        with HomeProcess._guard:
            self._entered = [each for each in self._entered if each() not in {None, occupant}]
            last = not self._entered
        if last and (self.writers or self.archivers):
            if logging_lock.inside_dictconfig():
                self._retire_if_left()
            else:
                self.stop_thread()
            for writer in list(self.writers.values()):
                writer.close()

    # -- what the keeper asks (the Guest of keeper.loop)

    def activity(self) -> int:
        """A number that grows with every record and every archive of this process."""
        return sum(each.activity for each in self._sources())

    def tick(self) -> None:
        """Look after the open segments."""
        for writer in list(self.writers.values()):
            writer.tick()

    def token(self, address: str) -> str | None:
        """The credential that an open handler has for a store, else that of the environment."""
        for occupant in list(self._occupants):
            if address in occupant.settings.kubo and occupant.settings.token:
                return occupant.settings.token
        for each in self._sources():
            if address in each.settings.kubo and each.settings.token:
                return each.settings.token
        return os.environ.get("IPFS_LOGS_TOKEN")

    def failed(self, what: str, error: Exception) -> None:
        """Count something that failed where nobody can be told: `status` shows it."""
        self.count_failure(f"{what}: {type(error).__name__}: {error}"[:200])

    def count_failure(self, text: str) -> None:
        """Count a failure by its text, up to a number of different ones."""
        if text in self.failures or len(self.failures) < _MOST_FAILURES:
            self.failures[text] = self.failures.get(text, 0) + 1

    # -- the thread

    def _first_record(self) -> None:
        """The first record, or an archive, of this process is durable: now the keeper's thread may be."""
        if HomeProcess._forking not in {0, os.getpid()}:
            return
        with HomeProcess._guard:
            if not self._registered:
                self._registered = True
                _register_exit()
            # Behind the last close a record is written and nothing more: what would end the thread has run.
            if self._threaded or HomeProcess._exiting or not self._occupants or not self.wants_thread():
                return
            if logging_lock.inside_dictconfig():  # asyncio may be half imported by one who waits for logging's lock
                for writer in self.writers.values():
                    writer.tell_of_next()
                return
            self._threaded = True
        with contextlib.suppress(ImportError):  # a library that keeping needs is not there: a keeper elsewhere seals
            self._keeper_thread().start()
        self._retire_if_left()

    def wants_thread(self) -> bool:
        """Whether a handler of this process lets a thread of it be the keeper."""
        settings = [each.settings for each in self._occupants] or self._former_settings()
        return any(each.keeper == "thread" for each in settings) and in_main_interpreter()

    def _sources(self) -> list[Writer | Archiver]:
        return [*self.writers.values(), *self.archivers.values()]

    def _former_settings(self) -> list[Settings]:
        return [each.settings for each in self._sources()]

    def _keeper_thread(self) -> KeeperThread:
        with HomeProcess.importing():
            from ipfs_log_handlers.keeper.thread import KeeperThread
        with HomeProcess._guard:
            if self._thread is None:
                self._thread = KeeperThread(self.home, self)
            return self._thread

    @property
    def keeping(self) -> bool:
        """Whether this process is the keeper now."""
        return self._thread is not None and self._thread.keeping

    @property
    def troubles(self) -> dict[str, str]:
        """What the keeper of this process complains of."""
        return {} if self._thread is None else self._thread.troubles

    @property
    def thread_alive(self) -> bool:
        """Whether the keeper's thread runs in this process."""
        return self._thread is not None and self._thread.alive

    def stop_thread(self) -> None:
        """End the keeper's thread, if there is one, and give the lock back."""
        thread = self._thread
        if thread is not None:
            thread.stop(_GRACE)
        self._threaded = False

    def _retire_if_left(self) -> None:
        """Let the keeper's thread end by itself where no handler of the home is open, unless one is made before."""
        with HomeProcess._guard:
            if self._occupants or HomeProcess._exiting:
                return
            self._threaded = False
            if self._thread is not None and self._thread.alive:
                self._thread.retire()

    # -- flush

    def flush(self, timeout: float) -> bool:
        """Wait until everything that this process logged is shipped (without a store: sealed), or time is over.

        Args:
            timeout: seconds for all handlers of the home together. Once it has passed in vain, nobody waits again
                until a store has answered. A store that refuses the connection ends the wait at once.

        Returns:
            Whether all of it is shipped, or sealed where there is no store.
        """
        if not (self.writers or self.archivers):
            return True
        for writer in list(self.writers.values()):
            writer.tell_losses()
        if not in_main_interpreter():  # a keeper elsewhere seals
            return False
        with HomeProcess.importing():
            from ipfs_log_handlers.flush import flush  # the reading side of a home, not needed to log

        try:
            return flush(self, timeout)
        finally:
            self._retire_if_left()  # it may have started the thread, for a handler that was closed long ago

    def ask(self) -> None:
        """Ask for sealing and shipping without waiting."""
        if self._thread is not None and self._thread.alive:
            self._thread.ask()

    def start_thread(self) -> bool:
        """Have the keeper's thread run; `False` where none can: at exit, under limits, in a sub-interpreter."""
        if HomeProcess._exiting:
            return self.thread_alive
        with contextlib.suppress(ImportError):
            return self._keeper_thread().start()
        return False

    def keep_here(self, seconds: float, *, ship: bool = True) -> bool:
        """Be the keeper on this thread: the interpreter is going down, or no thread can start.

        Returns:
            `False` when another process is the keeper: that one is to be asked.
        """
        self.stop_thread()
        try:
            with HomeProcess.importing():
                from ipfs_log_handlers.keeper.thread import keep_now

            return keep_now(self.home, self, timeout=max(0.0, seconds), stores=None if ship else (), patient=False)
        except (OSError, FormatError, ImportError):
            return True  # as far as it goes here; the next start does the rest

    # -- the end, and forks

    @classmethod
    def everywhere(cls) -> Iterator[HomeProcess]:
        """Every home that this process has handlers for."""
        yield from list(cls._all.values())

    @classmethod
    def forget(cls, path: Path) -> None:
        """Close everything that this process has open in a home, and know nothing of it any more: the end of a test."""
        with cls._guard:
            here = cls._all.get(path)
        if here is not None:
            for occupant in list(here._occupants):
                here.leave(occupant)
            with cls._guard:
                cls._all.pop(path, None)

    def at_exit(self, begun: float) -> None:
        """Before `logging.shutdown`: flush and end the thread, whatever other handlers do after us.

        Args:
            begun: since when the homes of this process are waited for, by `time.monotonic`: they share their time.
        """
        settings = [each.settings for each in self._occupants] + self._former_settings()
        until = begun + max((each.flush_timeout for each in settings), default=0.0)
        self.flush(max(0.0, until - time.monotonic()))
        self.stop_thread()

    def after_fork_in_child(self) -> None:
        """Begin anew in the child."""
        for each in self._sources():
            each.after_fork_in_child()
        self._threaded = False
        self._registered = False
        self.gave_up_at, self.waited_in_vain = None, 0.0
        self.failures.clear()


def _conflict(subsystem: Subsystem | None, one: Settings, two: Settings) -> ConfigurationError:
    names = [name for name in Settings.__slots__ if getattr(one, name) != getattr(two, name)]
    shown = "token" not in names[:1]
    return ConfigurationError(
        "two open handlers of one subsystem disagree",
        where=f"{subsystem.name if subsystem else 'routed'}: {', '.join(names)}",
        expected=repr(getattr(one, names[0])) if shown else "the same token",
        found=repr(getattr(two, names[0])) if shown else "another token",
        hint="Give both the same settings, or attach one handler to both loggers.",
    )


def _register_exit() -> None:
    """At the end of this process, flush: by atexit, and in a multiprocessing child by its own finalizers."""
    atexit.unregister(_at_exit)
    atexit.register(_at_exit)
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, _at_exit, exitpriority=0)


def _at_exit() -> None:
    HomeProcess._exiting = True  # no thread is started from now on: some Pythons refuse, some hang
    begun = time.monotonic()
    for each in HomeProcess.everywhere():
        each.ask()
    for each in HomeProcess.everywhere():
        try:
            each.at_exit(begun)
        except Exception as error:  # noqa: BLE001 - the other homes, and the program's own end, go on
            each.failed("exit", error)


def _after_fork_in_child() -> None:
    HomeProcess._guard = RLock()
    HomeProcess._imports = RLock()
    HomeProcess._exiting = False
    HomeProcess._forking = 0
    HomeProcess.own_threads.clear()
    for each in HomeProcess.everywhere():
        each.after_fork_in_child()
    thread = sys.modules.get("ipfs_log_handlers.keeper.thread")
    if thread is not None:
        thread.KeeperThread.after_fork_in_child()


def _before_fork() -> None:
    """Wait until no thread is importing our rooms: a child would wait for ever for a module half imported.

    In the one order that fits dictConfig and imports: a second thread may be inside either. It may wait for the mutex
    of `home.disk` there, which is taken behind these.
    """
    HomeProcess._imports.acquire()
    logging_lock.acquire()
    HomeProcess._guard.acquire()
    HomeProcess._forking = os.getpid()
    for each in HomeProcess.everywhere():
        for writer in list(each.writers.values()):
            writer.before_fork()


def _after_fork_in_parent() -> None:
    HomeProcess._forking = 0
    for each in HomeProcess.everywhere():
        for writer in list(each.writers.values()):
            writer.after_fork_in_parent()
    HomeProcess._guard.release()
    logging_lock.release()
    HomeProcess._imports.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
