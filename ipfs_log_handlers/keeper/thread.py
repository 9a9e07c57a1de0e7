"""The keeper's thread: one per process and home; a candidate that tries the lock, and the keeper while it holds it.

It is a daemon thread with an event loop of its own. Leaving is in two parts, because a request may hang: `stop` lets
the step at hand end, cancels what is left after a grace, and joins. A fork leaves the child
without the thread but with its loop: that one is kept alive and its descriptors are pointed at /dev/null, for closing
it would change the parent's epoll set.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, ClassVar, Final

from ipfs_log_handlers import native
from ipfs_log_handlers.home import lock
from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.keeper.handover import PAUSE, Candidate
from ipfs_log_handlers.keeper.loop import Guest, Keeper
from ipfs_log_handlers.keeper.seal import LostLockError, Sealer
from ipfs_log_handlers.keeper.ship import Delivered

__all__ = ["KeeperThread", "keep_now"]

_FIRST_TRY: Final = 1.0
_TRY_EVERY: Final = 1.0
_ASKED_TRY_EVERY: Final = 0.05
_ASKED_FOR: Final = 10.0
"""Seconds for which a candidate tries more often after it was asked to."""
_AFTER_TROUBLE: Final = 5.0
_LINGERS: Final = 1.0

_abandoned: list[object] = []
"""What a fork left in a child: never destroyed, for destructors would reach into the parent."""


class _Loop(asyncio.SelectorEventLoop):
    """An event loop whose connections can be aborted before it is closed, so that nothing is left to complain."""

    def __init__(self) -> None:
        self.chosen = native.original("selectors", "DefaultSelector")()
        super().__init__(self.chosen)
        self._connections: weakref.WeakSet[asyncio.BaseTransport] = weakref.WeakSet()
        self._identities = {descriptor: os.fstat(descriptor).st_ino for descriptor in self.descriptors()}

    def __del__(self) -> None:
        """Say nothing and close nothing: a loop that was abandoned is not this process's, or not its descriptors."""

    async def create_connection(self, *args: Any, **options: Any) -> Any:
        made = await super().create_connection(*args, **options)
        self._connections.add(made[0])
        return made

    async def create_unix_connection(self, *args: Any, **options: Any) -> Any:
        made = await super().create_unix_connection(*args, **options)
        self._connections.add(made[0])
        return made

    def end(self) -> None:
        """Abort what is open, let the callbacks run once, close.

        A daemonizer may have closed the descriptors under us, and others may have got their numbers: then the loop is
        abandoned as it is.
        """
        if not self._intact():
            _abandoned.append(self)
            return
        for transport in list(self._connections):
            abort = getattr(transport, "abort", None)
            if abort is not None:
                abort()
        self.run_until_complete(asyncio.sleep(0))
        self.close()

    def _intact(self) -> bool:
        try:
            return all(os.fstat(each).st_ino == inode for each, inode in self._identities.items())
        except OSError:
            return False

    def descriptors(self) -> list[int]:
        """Everything that a child must not touch."""
        found = [key.fd for key in (self.chosen.get_map() or {}).values()]
        fileno = getattr(self.chosen, "fileno", None)
        return found if fileno is None else [*found, fileno()]


def _run(work: Callable[[], Any], started: Callable[[_Loop, asyncio.Task[Any]], None]) -> None:
    loop = _Loop()
    try:
        asyncio.set_event_loop(None)
        task = loop.create_task(work())
        started(loop, task)
        with contextlib.suppress(asyncio.CancelledError, LostLockError):
            loop.run_until_complete(task)
    finally:
        loop.end()


class KeeperThread:
    """The thread, and how the program's own threads speak to it."""

    _all: ClassVar[weakref.WeakSet[KeeperThread]] = weakref.WeakSet()

    def __init__(self, home: Home, guest: Guest) -> None:
        self.home = home
        self.keeping = False
        self.trouble: str | None = None
        self._guest = guest
        self._thread: native.Thread | None = None
        self._woken = native.Signal()
        self._asked = False
        self._eager_until = self._handed_over_until = 0.0
        self._stopping = self._retiring = False
        self._grace = 0.0
        self._loop: _Loop | None = None
        self._keeper: Keeper | None = None
        self._task: asyncio.Task[Any] | None = None
        self._starting = native.RLock()
        self._candidate = Candidate(home, guest.token)
        KeeperThread._all.add(self)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def ident(self) -> int | None:
        """The thread's identity, so that what is logged on it can be told apart."""
        return self._thread.ident if self._thread is not None else None

    @property
    def troubles(self) -> dict[str, str]:
        """What keeps the keeper from sealing or shipping, by subsystem or address."""
        found = {} if self._keeper is None else dict(self._keeper.troubles)
        return found | ({"keeper": self.trouble} if self.trouble else {})

    def start(self) -> bool:
        """Start the thread; `False` where none can be started (interpreter shutdown, limits)."""
        with self._starting:
            self._retiring = False
            if self.alive:
                self._tell(self._set_until_done)
                return True
            self._stopping = False
            thread = native.new_thread(self._main, "ipfs-logs-keeper")
            try:
                thread.start()
            except RuntimeError:
                return False
            if thread.ident is None:  # a `start` that somebody replaced: uWSGI without threads, a sandbox
                return False
            self._thread = thread
            return True

    def ask(self) -> None:
        """Become the keeper at once if that is possible; seal and ship everything."""
        self._asked = self._asked or not self.keeping
        self._eager_until = time.monotonic() + _ASKED_FOR
        self._woken.set()
        self._tell(lambda keeper: keeper.ask())

    def retire(self) -> None:
        """Leave when all that is there is sealed and shipped, or could not be; does not wait. `start` takes it back."""
        with self._starting:
            self._retiring = True
            self.ask()
            self._tell(self._set_until_done)

    def stay(self) -> bool:
        """Take a retirement back; `False` where the thread has ended."""
        with self._starting:
            if not self.alive or self._stopping:
                return False
            self._retiring = False
            self._tell(self._set_until_done)
            return True

    def _set_until_done(self, keeper: Keeper) -> None:
        keeper.until_done = self._retiring

    def _retired(self) -> bool:
        """Whether it ends now. It stays for a moment after its work: dictConfig may be about to make its successor."""
        if self._retiring:
            self._woken.wait(_LINGERS)
        with self._starting:
            if self._retiring:
                self._thread = None  # who wants to start one now starts another
            return self._retiring

    def stop(self, grace: float) -> None:
        """Leave: the step at hand ends, what hangs is cancelled after `grace` seconds. Joins."""
        thread = self._thread
        if thread is None or thread.ident == native.get_ident():
            return
        self._grace = grace
        self._stopping = True
        self._woken.set()
        self._tell(self._begin_stop)
        thread.join(grace + 0.5)
        if not thread.is_alive():
            self._thread = None

    def _begin_stop(self, keeper: Keeper) -> None:
        keeper.begin_stop()
        if self._loop is not None and self._task is not None:
            self._loop.call_later(self._grace, self._task.cancel)

    def _tell(self, what: Callable[[Keeper], None]) -> None:
        loop, keeper = self._loop, self._keeper
        if loop is not None and keeper is not None:
            with contextlib.suppress(RuntimeError):  # the loop was just closed
                loop.call_soon_threadsafe(what, keeper)

    def _main(self) -> None:
        self._guest.own_threads.add(threading.get_ident())
        try:
            self._wait(_FIRST_TRY * (0.9 + 0.2 * random.random()))  # noqa: S311 - jitter
            while not self._stopping:
                pause = self._try_once()
                if self._retired():
                    break
                if not self._stopping:
                    self._wait(pause)
        except BaseException as error:  # noqa: BLE001 - a guest never brings its host down, and never prints
            self.trouble = f"{type(error).__name__}: {error}"
        finally:
            self._candidate.withdraw()
            self._guest.own_threads.discard(threading.get_ident())

    def _wait(self, seconds: float) -> None:
        self._guest.tick()
        self._woken.wait(seconds)

    def _try_once(self) -> float:
        """Keep the home if the lock is free, until told to stop; how long to wait before the next try."""
        if (left := self._handed_over_until - time.monotonic()) > 0:
            return left
        try:
            held = lock.take(self.home)
        except OSError as error:
            self.trouble = str(error)
            return _AFTER_TROUBLE
        if held is None:
            if self._candidate.offer():
                self._eager_until = time.monotonic() + _ASKED_FOR
            eager = time.monotonic() < self._eager_until
            return _ASKED_TRY_EVERY if eager else _TRY_EVERY * (0.9 + 0.2 * random.random())  # noqa: S311
        self.trouble = None
        self._candidate.withdraw()
        try:
            self._keep(held)
        except Exception as error:  # noqa: BLE001 - shown by status, tried again
            self.trouble = f"{type(error).__name__}: {error}"
            return _AFTER_TROUBLE
        finally:
            self.keeping = False
            self._loop = self._keeper = self._task = None
            held.release()
            if not (self._stopping or self._retiring):  # it left by itself, and heard nobody any more
                self._asked = True
                self._woken.set()
        return _TRY_EVERY

    def _keep(self, held: lock.KeeperLock) -> None:
        keeper = Keeper(held, self._guest)

        def started(loop: _Loop, task: asyncio.Task[Any]) -> None:
            self._loop, self._task, self._keeper = loop, task, keeper
            self.keeping = True
            keeper.until_done = self._retiring
            if self._asked or self._retiring:
                self._asked = False
                keeper.ask()
            if self._stopping:
                self._begin_stop(keeper)

        _run(keeper.run, started)
        self._candidate.was_refused(keeper.refused)
        if keeper.handed_over:
            self._handed_over_until = time.monotonic() + PAUSE

    @classmethod
    def after_fork_in_child(cls) -> None:
        """Forget the thread, keep its loop alive for ever, and point its descriptors at nothing."""
        threads = list(cls._all)
        cls._all = weakref.WeakSet()
        for each in threads:
            _abandoned.append(each.__dict__.copy())
            if each._loop is not None:
                _detach(each._loop)
            each.__init__(each.home, each._guest)  # type: ignore[misc]


def _detach(loop: _Loop) -> None:
    try:
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return
    for descriptor in loop.descriptors():
        with contextlib.suppress(OSError):
            os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)


def keep_now(
    home: Home,
    guest: Guest,
    *,
    timeout: float,
    stores: tuple[str, ...] | None = None,
    delivered: Callable[[Delivered], None] | None = None,
    patient: bool = True,
) -> bool:
    """Be the keeper on the calling thread until all is sealed and shipped, or time is over.

    For the end of a program, where no thread can start, and for `ipfs-logs ship`. Inside a running event loop it only
    seals: a loop cannot run in a loop.

    Args:
        home: the home.
        guest: the program around it.
        timeout: seconds.
        stores: addresses to ship to in place of the configured ones; `()` seals only.
        delivered: called for each batch that a store confirmed.
        patient: wait for the lock while another process is the keeper, within `timeout`.

    Returns:
        Whether this process was the keeper; `False` when another one is.
    """
    until = time.monotonic() + timeout
    held = None
    while held is None:
        held = lock.take(home)
        if held is None:
            if not patient or time.monotonic() >= until or _inside_a_loop():
                return False
            time.sleep(min(_ASKED_TRY_EVERY, timeout))
    guest.own_threads.add(threading.get_ident())
    try:
        if _inside_a_loop():
            _seal_only(held, until)
            return True
        keeper = Keeper(held, guest, stores=stores, delivered=delivered)
        keeper.until_done = True
        keeper.ask()

        def started(loop: _Loop, task: asyncio.Task[Any]) -> None:
            loop.call_later(max(0.0, until - time.monotonic()), keeper.begin_stop)
            loop.call_later(max(0.0, until - time.monotonic()) + 0.5, task.cancel)

        _run(keeper.run, started)
    finally:
        guest.own_threads.discard(threading.get_ident())
        held.release()
    return True


def _inside_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _seal_only(held: lock.KeeperLock, until: float) -> None:
    for room in held.home.rooms():
        sealer = Sealer(held, room)
        while time.monotonic() < until and (archive := sealer.next_archive()) is not None:
            for _ in sealer.seal_archive(archive):
                pass
        target = sealer.spool.sizes()
        while time.monotonic() < until and any(sealer.consumed.get(name, 0) < size for name, size in target.items()):
            now = time.monotonic()
            cut = sealer.cut(sealer.survey(now), now, asked=True, hasty=True)
            if cut is None:
                break
            for _ in sealer.seal(cut, hasty=True):
                pass
        sealer.retire()
