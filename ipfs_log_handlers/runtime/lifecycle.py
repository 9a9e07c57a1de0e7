"""Manage the keeper's threads, the end of the program, and forks, for the homes of this process.

A keeper's thread starts with the first record of a home and ends with its last handler. At the end of the program all
homes are flushed within one deadline. After a fork, the child has new writers and no thread (docs/home.md 15).
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ipfs_log_handlers.concurrency import clock, fork, logging_lock, uwsgi
from ipfs_log_handlers.concurrency.threads import IN_MAIN_INTERPRETER, RLock
from ipfs_log_handlers.errors import FormatError

if TYPE_CHECKING:
    from types import FrameType

    from ipfs_log_handlers.keeper.thread import KeeperThread
    from ipfs_log_handlers.runtime.process import HomeProcess

__all__ = [
    "STATE",
    "KeeperControl",
    "flush_at_exit",
    "interruptible_at_exit",
    "load_flush",
    "may_seal",
    "one_ctrl_c_at_exit",
    "prepare_for_workers",
]

_STOP_GRACE_S: Final = 0.3
"""Seconds that a request in flight has to finish when the keeper's thread ends."""


class _ProcessState:
    """The state that all homes of this process share."""

    def __init__(self) -> None:
        self.homes: dict[Path, HomeProcess] = {}
        """Every home that this process has, or had, a handler for."""
        self.keeper_threads: set[int] = set()
        """Numbers of the threads that are a keeper now."""
        self.prepared_for_workers = False
        """Whether the master process of uWSGI has loaded the keeper's libraries."""
        self.begin()

    def begin(self) -> None:
        """Set the state of a process that has just started, also of a child after a fork."""
        self.guard = RLock()
        """Guards the registries. A thread that holds it imports nothing and does not wait for logging's lock, since
        a thread inside dictConfig may wait for the guard."""
        self.exiting = False
        """Whether the interpreter is shutting down: some Pythons then refuse to start a thread, and some hang."""
        self.interrupted = False
        """Whether the user interrupted a flush at the end of the program: then no flush waits for a store any more."""
        self.waiting = False
        """Whether a flush waits for a store, and the user has not pressed Ctrl-C at the end of the program yet."""
        self.exit_registered = False
        self.forking = False
        """Whether a thread of this process is about to fork."""
        self.keeper_threads.clear()


STATE: Final = _ProcessState()


class KeeperControl:
    """Start and stop the keeper of one home in this process, as a thread or on the calling thread."""

    def __init__(self, process: HomeProcess) -> None:
        self._process = process
        self._thread: KeeperThread | None = None
        self._started = False
        """Whether the thread was started for the open handlers; it may have ended since."""

    def begin_process(self) -> None:
        """Reset the state in the child of a fork, where the thread does not exist."""
        self._started = False

    @property
    def is_keeper(self) -> bool:
        """Whether the thread of this process is the keeper now."""
        return self._thread is not None and self._thread.is_keeper

    @property
    def errors(self) -> dict[str, str]:
        """The current errors of the thread, by subsystem or address of a store."""
        return {} if self._thread is None else self._thread.last_errors

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.alive

    def start(self) -> bool:
        """Start the thread unless it runs; `False` if no thread can start: at exit, under limits, in uWSGI's master."""
        if STATE.exiting:
            return self.alive
        if uwsgi.is_master() or not uwsgi.threads_run():
            return False
        with contextlib.suppress(ImportError):  # a library that the keeper needs is missing
            return self._make_thread().start()
        return False

    def start_after_record(self) -> None:
        """Start the thread after the first record or archive of this process, if an open handler wants it."""
        with STATE.guard:
            if not STATE.exit_registered:
                STATE.exit_registered = True
                _register_exit()
            # After the last close a record is only written: no open handler would end a new thread.
            if self._started or STATE.exiting or not self._process.has_open_handlers:
                return
            if not self._process.wants_thread():
                return
            # Inside dictConfig asyncio may be half imported by a thread that waits for logging's lock.
            if logging_lock.inside_dictconfig() or uwsgi.is_master():
                self._process.notify_after_next_record()
                return
            self._started = True
        self.start()
        self.retire_if_unused()

    def keep_running(self) -> bool:
        """Keep the running thread for a handler that was just opened; `False` if a record must start a thread."""
        if not self._started and self._thread is not None and self._process.wants_thread():
            self._started = self._thread.cancel_retirement()
        return self._started

    def retire_if_unused(self) -> None:
        """Let the thread end when all batches are shipped or cannot be, unless a handler of the home is open then."""
        with STATE.guard:
            if self._process.has_open_handlers or STATE.exiting:
                return
            self._started = False
            if self._thread is not None and self._thread.alive:
                self._thread.retire()

    def ask(self) -> None:
        """Ask the thread to seal and ship, without waiting."""
        if self._thread is not None and self._thread.alive:
            self._thread.request_flush()

    def stop(self) -> None:
        """End the thread if it runs, and release the keeper's lock."""
        if self._thread is not None:
            self._thread.stop(_STOP_GRACE_S, at_exit=STATE.exiting)
        self._started = False

    def run_here(self, seconds: float, *, ship: bool = True) -> bool:
        """Be the keeper on the calling thread, because the interpreter is shutting down or no thread can be started.

        Args:
            seconds: largest number of seconds for the work.
            ship: whether to ship after sealing.

        Returns:
            `False` if another process is the keeper and must be asked.
        """
        self.stop()
        try:
            with fork.importing():
                from ipfs_log_handlers.keeper.thread import run_keeper_now

            return run_keeper_now(
                self._process.home,
                self._process,
                timeout=max(0.0, seconds),
                stores=None if ship else (),
                wait_for_lock=False,
            )
        except (OSError, FormatError, ImportError):
            return True  # this process can do no more; the next start of the program continues

    def _make_thread(self) -> KeeperThread:
        if self._thread is not None and fork.may_import():
            return self._thread  # without waiting for the thread, which may be importing the libraries of a store
        load_flush()
        with fork.importing():
            from ipfs_log_handlers.keeper.thread import KeeperThread
        with STATE.guard:
            if self._thread is None:
                self._thread = KeeperThread(self._process.home, self._process)
            return self._thread


@functools.cache
def load_flush() -> Callable[[HomeProcess, float], bool]:
    """Import the function that flushes a home: it reads files of the home, and is not needed to log.

    This is done before the keeper's thread starts, because a flush must not wait while that thread imports libraries.

    Raises:
        ImportError: nothing can be imported; see `fork.importing`.
    """
    with fork.importing():
        from ipfs_log_handlers.runtime.flush import flush

        return flush


def prepare_for_workers(stores: tuple[str, ...], *, pins: bool = False) -> None:
    """Load the keeper's modules, and use OpenSSL, in the master process of uWSGI: see `concurrency.uwsgi`.

    Args:
        stores: addresses to which the workers will ship.
        pins: whether they will use pin services.
    """
    if not uwsgi.is_master():
        return
    STATE.prepared_for_workers = True
    with contextlib.suppress(ImportError):  # a library that the keeper needs is missing
        from ipfs_log_handlers.keeper import preload

        preload.load_for_sealing()
        for address in stores:
            preload.load_for_store(address)
        if pins:
            preload.load_for_pin_services()


def may_seal() -> bool:
    """Return whether hashes and signatures can be made now; at the end of some workers of uWSGI they cannot."""
    return STATE.prepared_for_workers or not (STATE.exiting and uwsgi.is_present())


# -- the end of the program


def _register_exit() -> None:
    """Flush at the end of this process: by atexit, and in a child of multiprocessing by its own finalizers."""
    atexit.unregister(flush_at_exit)
    atexit.register(flush_at_exit)
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, flush_at_exit, exitpriority=0)


def interruptible_at_exit(wait: Callable[[], bool]) -> bool:
    """Run a wait, which Ctrl-C ends at the end of the program; earlier, the program itself handles Ctrl-C.

    Args:
        wait: returns whether what it waited for has come.

    Returns:
        The same; `False` if Ctrl-C has ended the wait.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed before the end of the program.
    """
    try:
        STATE.waiting = not STATE.interrupted
        done = wait()
        STATE.waiting = False  # here, and not only below: what is raised there would leave this function
    except KeyboardInterrupt:
        if not STATE.exiting:
            raise
        STATE.interrupted = True
        return False
    else:
        return done
    finally:
        STATE.waiting = False


class _CtrlCAtExit:
    """A handler of SIGINT for the end of the program: the first Ctrl-C ends a wait, and no other one raises.

    Another one would be raised while the first one is handled, and Python would print it.

    Args:
        previous: the handler of the program, which is called first.
    """

    def __init__(self, previous: Callable[[int, FrameType | None], object]) -> None:
        self._previous = previous

    def __call__(self, number: int, frame: FrameType | None) -> None:
        try:
            self._previous(number, frame)
        except KeyboardInterrupt:
            ends_wait = STATE.waiting
            STATE.waiting, STATE.interrupted = False, True
            if ends_wait:
                raise


@contextlib.contextmanager
def one_ctrl_c_at_exit() -> Iterator[None]:
    """Let Ctrl-C at the end of the program only end a wait for a store, because threads must end before Python.

    A handler that the program has set is still called. Inside another one, this does nothing.
    """
    previous = signal.getsignal(signal.SIGINT)
    in_main_thread = IN_MAIN_INTERPRETER and threading.get_ident() == threading.main_thread().ident
    if not (STATE.exiting and callable(previous) and in_main_thread) or isinstance(previous, _CtrlCAtExit):
        yield
        return
    signal.signal(signal.SIGINT, _CtrlCAtExit(previous))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def flush_at_exit() -> None:
    """Flush all homes and end their threads before `logging.shutdown`, where another handler may raise."""
    fork.notice()
    STATE.exiting = True
    with one_ctrl_c_at_exit():
        _flush_homes()
        for process in list(STATE.homes.values()):
            try:
                process.keeper.stop()
            except Exception as error:  # noqa: BLE001 - the other homes and the end of the program must go on
                process.failed("exit", error)


def _flush_homes() -> None:
    """Flush all homes within one deadline, which Ctrl-C ends."""
    begun = clock.monotonic()
    homes = list(STATE.homes.values())
    for process in homes if may_seal() else ():
        process.keeper.ask()
    for process in homes:
        try:
            deadline = begun + process.longest_flush_timeout()
            process.flush(max(0.0, deadline - clock.monotonic()))
        except Exception as error:  # noqa: BLE001 - as for the threads
            process.failed("exit", error)


# -- forks


def _before_fork() -> None:
    STATE.guard.acquire()
    STATE.forking = True
    for process in list(STATE.homes.values()):
        process.before_fork()


def _after_fork_in_parent() -> None:
    STATE.forking = False
    for process in list(STATE.homes.values()):
        process.after_fork_in_parent()
    STATE.guard.release()


def _after_fork_in_child() -> None:
    STATE.begin()
    for process in list(STATE.homes.values()):
        process.after_fork_in_child()


fork.register("homes", fork.Step(before=_before_fork, in_parent=_after_fork_in_parent, in_child=_after_fork_in_child))
