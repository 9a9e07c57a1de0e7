"""Locks and threads of the operating system, also in a program where gevent has put its own in their place.

A lock of gevent's belongs to the event loops of the threads that wait for it: threads of a pool that logged waited for
ever (gevent 26.9), and a thread of gevent's runs only while the thread that started it has nothing to do. All greenlets
of a thread hold a real lock together: one that comes to the writer while another waits inside for room on the disk is
taken for a signal handler, and its record is queued.
"""

from __future__ import annotations

import _thread
import contextlib
import importlib
import sys
import threading
from _queue import Empty, SimpleQueue
from _thread import RLock
from collections.abc import Callable
from typing import Any, Final, Protocol

__all__ = ["RLock", "Signal", "Thread", "get_ident", "in_main_interpreter", "isolated", "new_thread", "original"]

_GEVENT: Final = "gevent.monkey"


def original(module: str, name: str) -> Any:
    """What a name of a module of the standard library stood for before gevent."""
    monkey = sys.modules.get(_GEVENT)
    if monkey is None:
        return getattr(importlib.import_module(module), name)
    return monkey.get_original(module, name)


def get_ident() -> int:
    """The number of the thread, which all its greenlets have in common."""
    ident: int = original("_thread", "get_ident")()
    return ident


def isolated() -> bool:
    """Whether this is an interpreter with a GIL of its own, one of several in the process (3.12 and newer).

    Libraries that refuse to load in it leave the heap of the process damaged on some Pythons (3.13.0: with `datetime`
    loaded before; 3.12.1 cannot even unload OpenSSL there), so they must not be tried.
    """
    allowed = getattr(_thread, "daemon_threads_allowed", None)
    return allowed is not None and not allowed()


def in_main_interpreter() -> bool:
    """Whether this is the interpreter that the process began with.

    Only there may a keeper be: the first interpreter that loads `cryptography` has it to itself for the life of the
    process, so a keeper in another one would take it from the main one.
    """
    if isolated():
        return False
    for name in ("_interpreters", "_xxsubinterpreters"):
        with contextlib.suppress(ImportError, AttributeError):
            module = importlib.import_module(name)
            return bool(module.get_current() == module.get_main())
    return True


class Signal:
    """Wakes one thread that waits; what is set while none waits is not forgotten."""

    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        """Wake it."""
        self._told.put(None)

    def wait(self, seconds: float) -> None:
        """Return once it was set, or time is over; what was set until then is done with."""
        with contextlib.suppress(Empty):
            self._told.get(timeout=seconds)
            while True:
                self._told.get_nowait()


class Thread(Protocol):
    """As much of `threading.Thread` as is used of a thread that was started."""

    @property
    def ident(self) -> int | None:
        """Its number; `None` when it was not started."""

    def start(self) -> None:
        """Start it; RuntimeError where none can be."""

    def is_alive(self) -> bool:
        """Whether it runs."""

    def join(self, timeout: float) -> None:
        """Wait for its end."""


def new_thread(run: Callable[[], None], name: str) -> Thread:
    """A daemon thread, not started yet. Beside greenlets it is in no list of `threading`, whose locks are gevent's."""
    monkey = sys.modules.get(_GEVENT)
    if monkey is not None and monkey.is_module_patched("threading"):
        return _BesideGreenlets(run)
    return threading.Thread(target=run, name=name, daemon=True)


class _BesideGreenlets:
    """A thread that gevent knows nothing of."""

    __slots__ = ("_run", "_running", "ident")

    def __init__(self, run: Callable[[], None]) -> None:
        self._run = run
        self._running = original("_thread", "allocate_lock")()
        self.ident: int | None = None

    def start(self) -> None:
        self._running.acquire()
        try:
            self.ident = original("_thread", "start_new_thread")(self._main, ())
        except BaseException:
            self._running.release()
            raise

    def _main(self) -> None:
        try:
            self._run()
        finally:
            self._running.release()

    def is_alive(self) -> bool:
        return bool(self._running.locked())

    def join(self, timeout: float) -> None:
        if self._running.acquire(timeout=timeout):
            self._running.release()
