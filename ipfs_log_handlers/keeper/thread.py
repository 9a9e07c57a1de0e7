"""Run the keeper in a thread: one for each process and home; it is a candidate until it has the lock.

It is a daemon thread with an event loop of its own. Stopping has two parts, because a request to a store may hang:
`stop` waits for the current step, then cancels the remaining tasks, and joins the thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import weakref
from collections.abc import Callable
from typing import Any, ClassVar, Final

from ipfs_log_handlers.concurrency import clock, fork, threads
from ipfs_log_handlers.home import lock
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.os_errors import explain_any
from ipfs_log_handlers.keeper import event_loop
from ipfs_log_handlers.keeper.acts import next_of_its_own
from ipfs_log_handlers.keeper.election import HANDOVER_PAUSE_S, Candidate
from ipfs_log_handlers.keeper.event_loop import KeeperEventLoop
from ipfs_log_handlers.keeper.host import Host
from ipfs_log_handlers.keeper.loop import Keeper
from ipfs_log_handlers.keeper.new_log import UnsettledError
from ipfs_log_handlers.keeper.seal import Sealer
from ipfs_log_handlers.keeper.ship import ShippedBatch

__all__ = ["KeeperThread", "run_keeper_now"]

_FIRST_TRY_DELAY_S: Final = 1.0
"""Seconds until a new thread first tries the lock; children of a pool end before that, and so stay cheap."""
_TRY_INTERVAL_S: Final = 1.0
"""Seconds between two tries at the lock."""
_REQUESTED_TRY_INTERVAL_S: Final = 0.05
"""The same while a flush request waits."""
_REQUEST_LASTS_S: Final = 10.0
"""Seconds for which a candidate tries more often after a flush request."""
_ERROR_DELAY_S: Final = 5.0
"""Seconds until the next try after an error."""
_LINGER_S: Final = 1.0
"""Seconds that a retired thread waits before it ends: dictConfig may just be making a handler that needs it."""
_STEP_AT_EXIT_S: Final = 10.0
"""Seconds that a step on a slow disk or a busy machine gets at the end of the program, unless the thread waits for a
name server: a thread that runs longer than the interpreter may abort the process."""
_JOIN_INTERVAL_S: Final = 0.1
"""Seconds between two checks of such a step."""
_CANCEL_GRACE_S: Final = 0.5
"""Seconds that a thread gets to end after its tasks are cancelled."""


class KeeperThread:
    """Run the keeper of one home in a thread; the program's own threads call these methods.

    Args:
        home: the home.
        host: the program around the keeper.
    """

    _all: ClassVar[weakref.WeakSet[KeeperThread]] = weakref.WeakSet()

    def __init__(self, home: HomeDir, host: Host) -> None:
        self.home = home
        self._host = host
        self._begin_anew()
        KeeperThread._all.add(self)

    def _begin_anew(self) -> None:
        """Set the state of a thread that is not started: at first, and in the child of a fork."""
        self.is_keeper = False
        self._last_error: str | None = None
        self._thread: threads.Thread | None = None
        self._woken = threads.Signal()
        self._flush_requested = False
        self._eager_until = self._handed_over_until = 0.0
        self._stopping = self._retiring = False
        self._grace = 0.0
        self._loop: KeeperEventLoop | None = None
        self._keeper: Keeper | None = None
        self._task: asyncio.Task[Any] | None = None
        self._starting = threads.RLock()
        self._candidate = Candidate(self.home, self._host.token)

    @property
    def alive(self) -> bool:
        """Check whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def ident(self) -> int | None:
        """Return the thread's identifier; records that are logged on this thread are not stored."""
        return self._thread.ident if self._thread is not None else None

    @property
    def last_errors(self) -> dict[str, str]:
        """Return why the keeper cannot seal or ship, by subsystem or address; `keeper`: why there is no keeper."""
        errors = {} if self._keeper is None else dict(self._keeper.last_errors)
        return errors | ({"keeper": self._last_error} if self._last_error else {})

    def start(self) -> bool:
        """Start the thread; return `False` if no thread can be started (interpreter shutdown, limits)."""
        with self._starting:
            self._retiring = False
            if self.alive:
                self._call_keeper(self._set_until_done)
                return True
            self._stopping = False
            thread = threads.new_thread(self._main, "ipfs-logs-keeper")
            try:
                thread.start()
            except RuntimeError:
                return False
            if thread.ident is None:  # `start` was replaced: uWSGI without threads, a sandbox
                return False
            self._thread = thread
            return True

    def request_flush(self) -> None:
        """Seal and ship all records; become the keeper for this as soon as the lock is free."""
        self._flush_requested = self._flush_requested or not self.is_keeper
        self._eager_until = clock.monotonic() + _REQUEST_LASTS_S
        self._woken.set()
        self._call_keeper(lambda keeper: keeper.request_flush())

    def retire(self) -> None:
        """Let the thread end when all batches are shipped, or cannot be; does not wait. `start` cancels this."""
        with self._starting:
            self._retiring = True
            self.request_flush()
            self._call_keeper(self._set_until_done)

    def cancel_retirement(self) -> bool:
        """Cancel a retirement; return `False` if the thread has ended."""
        with self._starting:
            if not self.alive or self._stopping:
                return False
            self._retiring = False
            self._call_keeper(self._set_until_done)
            return True

    def _set_until_done(self, keeper: Keeper) -> None:
        keeper.until_done = self._retiring

    def _end_if_retired(self) -> bool:
        """If the thread is retired, wait a moment for a handler that needs it; return whether the thread ends now."""
        if self._retiring:
            self._woken.wait(_LINGER_S)
        with self._starting:
            if self._retiring:
                self._thread = None  # the next `start` starts another
            return self._retiring

    def stop(self, grace_s: float, *, at_exit: bool = False) -> None:
        """End the thread, and join it.

        Args:
            grace_s: seconds after which a request to a store is cancelled.
            at_exit: the interpreter ends: wait longer for a step that cannot be cancelled.
        """
        thread = self._thread
        if thread is None or thread.ident == threads.get_ident():
            return
        self._grace = grace_s
        self._stopping = True
        self._woken.set()
        self._call_keeper(self._begin_stop)
        thread.join(grace_s + _CANCEL_GRACE_S)
        until = clock.monotonic() + _STEP_AT_EXIT_S
        while at_exit and thread.is_alive() and clock.monotonic() < until:
            if thread.ident in threads.IN_NAME_LOOKUP:
                break
            thread.join(_JOIN_INTERVAL_S)
        if not thread.is_alive():
            self._thread = None

    def _begin_stop(self, keeper: Keeper) -> None:
        keeper.begin_stop()
        if self._loop is not None and self._task is not None:
            self._loop.call_later(self._grace, self._task.cancel)

    def _call_keeper(self, function: Callable[[Keeper], None]) -> None:
        """Call a function with the keeper in the keeper's thread, if it is the keeper."""
        loop, keeper = self._loop, self._keeper
        if loop is not None and keeper is not None:
            with contextlib.suppress(RuntimeError):  # the loop was just closed
                loop.call_soon_threadsafe(function, keeper)

    # -- in the thread

    def _main(self) -> None:
        self._host.own_threads.add(threading.get_ident())
        try:
            self._wait(_jittered(_FIRST_TRY_DELAY_S))
            while not self._stopping:
                pause = self._try_once()
                if self._end_if_retired():
                    break
                if not self._stopping:
                    self._wait(pause)
        except BaseException as error:  # noqa: BLE001 - the keeper must not harm its program, and must not print
            self._last_error = explain_any(error)
        finally:
            self._candidate.withdraw()
            self._host.own_threads.discard(threading.get_ident())

    def _wait(self, seconds: float) -> None:
        self._host.check_segments()
        self._woken.wait(seconds)

    def _try_once(self) -> float:
        """Be the keeper if the lock is free, until it is stopped; return the seconds until the next try."""
        if (left := self._handed_over_until - clock.monotonic()) > 0:
            return left
        try:
            held = lock.take(self.home)
        except OSError as error:
            self._last_error = explain_any(error)
            return _ERROR_DELAY_S
        if held is None:
            if self._candidate.offer():
                self._eager_until = clock.monotonic() + _REQUEST_LASTS_S
            eager = clock.monotonic() < self._eager_until
            return _REQUESTED_TRY_INTERVAL_S if eager else _jittered(_TRY_INTERVAL_S)
        self._last_error = None
        self._candidate.withdraw()
        try:
            self._be_keeper(held)
        except Exception as error:  # noqa: BLE001 - `status` shows it, and it is tried again
            self._last_error = explain_any(error)
            return _ERROR_DELAY_S
        finally:
            self.is_keeper = False
            self._loop = self._keeper = self._task = None
            held.release()
            if not (self._stopping or self._retiring):  # the keeper ended by itself, and has not read later requests
                self._flush_requested = True
                self._woken.set()
        return _TRY_INTERVAL_S

    def _be_keeper(self, held: lock.KeeperLock) -> None:
        keeper = Keeper(held, self._host)

        def started(loop: KeeperEventLoop, task: asyncio.Task[Any]) -> None:
            self._loop, self._task, self._keeper = loop, task, keeper
            self.is_keeper = True
            keeper.until_done = self._retiring
            if self._flush_requested or self._retiring:
                self._flush_requested = False
                keeper.request_flush()
            if self._stopping:
                self._begin_stop(keeper)

        event_loop.run(keeper.run, started, self._host.failed)
        self._candidate.note_denied(keeper.denied_by)
        if keeper.handed_over:
            self._handed_over_until = clock.monotonic() + HANDOVER_PAUSE_S

    @classmethod
    def after_fork_in_child(cls) -> None:
        """Forget the thread, which the child does not have; keep its loop for ever, detached from the parent's."""
        event_loop.forget_threads()
        for thread in list(cls._all):
            event_loop.keep_forever(thread.__dict__.copy())
            if thread._loop is not None:
                thread._loop.detach()
            thread._begin_anew()


fork.register("keeper", fork.Step(in_child=KeeperThread.after_fork_in_child))


def _jittered(seconds: float) -> float:
    return seconds * (0.9 + 0.2 * random.random())  # noqa: S311 - jitter


def run_keeper_now(
    home: HomeDir,
    host: Host,
    *,
    timeout: float,
    stores: tuple[str, ...] | None = None,
    on_shipped: Callable[[ShippedBatch], None] | None = None,
    wait_for_lock: bool = True,
) -> bool:
    """Be the keeper on the calling thread until all batches are sealed and shipped, or the time is over.

    This is for the end of a program, when no thread can start. Inside a running event loop it only seals, because a
    loop cannot run in another loop.

    Args:
        home: the home.
        host: the program around the keeper.
        timeout: seconds.
        stores: addresses to ship to in place of the configured ones; `()` seals only.
        on_shipped: called for each batch that a store confirmed.
        wait_for_lock: wait while another process is the keeper, within `timeout`.

    Returns:
        Whether this process was the keeper; `False` if another one is.
    """
    until = clock.monotonic() + timeout
    held = None
    while held is None:
        held = lock.take(home)
        if held is None:
            if not wait_for_lock or clock.monotonic() >= until or event_loop.inside_event_loop():
                return False
            clock.pause(min(_REQUESTED_TRY_INTERVAL_S, timeout))
    host.own_threads.add(threading.get_ident())
    try:
        if event_loop.inside_event_loop():
            _seal_only(held, until)
            return True
        keeper = Keeper(held, host, stores=stores, on_shipped=on_shipped)
        keeper.until_done = True
        keeper.request_flush()

        def started(loop: KeeperEventLoop, task: asyncio.Task[Any]) -> None:
            left = max(0.0, until - clock.monotonic())
            loop.call_later(left, keeper.begin_stop)
            loop.call_later(left + _CANCEL_GRACE_S, task.cancel)

        event_loop.run(keeper.run, started, host.failed)
    finally:
        host.own_threads.discard(threading.get_ident())
        held.release()
    return True


def _seal_only(held: lock.KeeperLock, until: float) -> None:
    for subsystem_dir in held.home.subsystem_dirs():
        try:
            sealer = Sealer.open(held, subsystem_dir)
        except UnsettledError:
            continue  # a backup is copied over it just now: the next keeper seals
        while clock.monotonic() < until and (steps := next_of_its_own(sealer)) is not None:
            for _ in steps:
                pass
            sealer.delete_consumed()
        wanted = sealer.spool.sizes()
        while clock.monotonic() < until and any(sealer.consumed.get(name, 0) < size for name, size in wanted.items()):
            now = clock.monotonic()
            due = sealer.schedule.due_batch(sealer.backlog(now), now, urgent=True)
            if due is None:
                break
            for _ in sealer.seal(due, urgent=True):
                pass
        sealer.delete_consumed()
