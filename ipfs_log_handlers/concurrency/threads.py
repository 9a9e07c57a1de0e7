"""Provide locks and threads of the operating system, also in a program that gevent or eventlet has patched.

Both libraries replace locks and threads by their own. A lock of gevent belongs to the event loops of the threads that
wait for it: threads of a pool that logged waited for ever (gevent 26.9). Their threads run only while the thread that
started them is idle. A real lock belongs to the whole thread, that is, to all its greenlets together. So a greenlet
that logs while another greenlet of the thread is inside the writer is treated like a signal handler, and its record is
queued.
"""

from __future__ import annotations

import _thread
import builtins
import contextlib
import importlib
import importlib.util
import sys
import threading
from _queue import Empty, SimpleQueue
from _thread import RLock as NativeLock
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

__all__ = [
    "IN_MAIN_INTERPRETER",
    "IN_NAME_LOOKUP",
    "NativeLock",
    "RLock",
    "Signal",
    "Thread",
    "get_ident",
    "is_owned",
    "is_patched",
    "isolated",
    "new_thread",
    "original",
    "ownership_test",
]

_GEVENT: Final = "gevent.monkey"
"""The module that is loaded when gevent has patched the program."""
_EVENTLET: Final = "eventlet.patcher"
"""The module that is loaded when eventlet may have patched the program."""
_eventlet_originals: Final[dict[str, Any]] = {}
"""Modules as they were before eventlet patched them, by name."""


def is_patched(module: str) -> bool:
    """Return whether gevent or eventlet has patched a module: `time`, `socket` or `threading`."""
    gevent, eventlet = sys.modules.get(_GEVENT), sys.modules.get(_EVENTLET)
    if gevent is not None and gevent.is_module_patched(module):
        return True
    name = "thread" if module == "threading" else module  # what eventlet calls it
    return eventlet is not None and bool(eventlet.is_monkey_patched(name))


def original(module: str, name: str) -> Any:
    """Return the original object of a name in a standard module, from before gevent or eventlet replaced it."""
    gevent, eventlet = sys.modules.get(_GEVENT), sys.modules.get(_EVENTLET)
    if eventlet is not None and eventlet.already_patched:
        return getattr(_before_eventlet(module), name)
    if gevent is not None:
        return gevent.get_original(module, name)
    return getattr(importlib.import_module(module), name)


def _before_eventlet(module: str) -> Any:
    """Return a copy of a module that eventlet has not patched."""
    if module not in _eventlet_originals:
        eventlet = sys.modules[_EVENTLET]
        _eventlet_originals[module] = _original_selectors() if module == "selectors" else eventlet.original(module)
    return _eventlet_originals[module]


def _original_selectors() -> Any:
    """Run the code of `selectors` with an unpatched `select`; eventlet's own copy has no epoll."""
    specification: Any = importlib.util.find_spec("selectors")
    module = importlib.util.module_from_spec(specification)
    select = _before_eventlet("select")

    def import_original(name: str, *args: Any) -> Any:
        return select if name == "select" else __import__(name, *args)

    vars(module)["__builtins__"] = {**vars(builtins), "__import__": import_original}
    specification.loader.exec_module(module)
    return module


def get_ident() -> int:
    """Return the number of the calling thread, which all its greenlets share."""
    ident: int = original("_thread", "get_ident")()
    return ident


class RLock:
    """A reentrant lock of the interpreter which eventlet does not replace by its own, whenever it patches.

    A `NativeLock` is a little faster, and safe in a slot of an object, which eventlet does not search. All methods are
    those of a lock in a slot, so that no line of Python, and thus no Ctrl-C, can come between `with` and the lock.
    """

    __slots__ = ("__enter__", "__exit__", "_is_owned", "acquire", "release")

    if TYPE_CHECKING:

        def __enter__(self) -> bool: ...
        def __exit__(self, *args: object) -> None: ...

    def __init__(self) -> None:
        lock = NativeLock()
        self.__enter__ = lock.__enter__  # type: ignore[method-assign]
        self.__exit__ = lock.__exit__  # type: ignore[method-assign,assignment]
        self.acquire = lock.acquire
        self.release = lock.release
        self._is_owned = ownership_test(lock)


def ownership_test(lock: NativeLock) -> Callable[[], bool]:
    """Return a function that returns whether the calling thread holds a lock, for code that often calls it."""
    is_owned: Callable[[], bool] = lock._is_owned  # type: ignore[attr-defined]  # noqa: SLF001 - logging asks it, too
    return is_owned


def is_owned(lock: Any) -> bool:
    """Return whether the calling thread holds a lock, also if the lock was replaced by another one."""
    test = getattr(lock, "_is_owned", None)
    return test is not None and bool(test())


def isolated() -> bool:
    """Return whether this is an interpreter with a GIL of its own, one of several in the process (3.12 and newer).

    Do not try to load extension modules there: a failed load damages the heap of the process on some Pythons (3.13.0 if
    `datetime` was loaded before; 3.12.1 cannot unload OpenSSL there).
    """
    allowed = getattr(_thread, "daemon_threads_allowed", None)
    return allowed is not None and not allowed()


def _in_main_interpreter() -> bool:
    if isolated():
        return False
    for name in ("_interpreters", "_xxsubinterpreters"):
        with contextlib.suppress(ImportError, AttributeError):
            module = importlib.import_module(name)
            return bool(module.get_current() == module.get_main())
    return True


IN_MAIN_INTERPRETER: Final = _in_main_interpreter()
"""Whether this is the first interpreter of the process. Only this interpreter may have a keeper.

The first interpreter that loads `cryptography` owns it for the life of the process, so a keeper in another interpreter
would take it away from the main one.
"""


IN_NAME_LOOKUP: Final[set[int]] = set()
"""Numbers of threads that wait for a name server; this may take half a minute and cannot be interrupted."""


class Signal:
    """Wake one waiting thread. A signal that is set while no thread waits ends the next wait at once."""

    __slots__ = ("_queue",)

    def __init__(self) -> None:
        self._queue: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        """Wake the waiting thread."""
        self._queue.put(None)

    def wait(self, seconds: float) -> None:
        """Wait until the signal is set or the time is over, and clear it."""
        with contextlib.suppress(Empty):
            self._queue.get(timeout=seconds)
            while True:
                self._queue.get_nowait()


class Thread(Protocol):
    """The part of `threading.Thread` that this package uses."""

    @property
    def ident(self) -> int | None:
        """Number of the thread; `None` before it is started."""

    def start(self) -> None:
        """Start the thread. Raises RuntimeError if no thread can be started."""

    def is_alive(self) -> bool:
        """Return whether the thread runs."""

    def join(self, timeout: float) -> None:
        """Wait until the thread has ended, at most `timeout` seconds."""


def new_thread(run: Callable[[], None], name: str) -> Thread:
    """Make a daemon thread, not started yet.

    In a program that gevent or eventlet has patched, `threading` does not know the thread, because it uses patched
    locks.
    """
    if is_patched("threading"):
        return _UnpatchedThread(run)
    return _Thread(target=run, name=name, daemon=True)


class _Thread(threading.Thread):
    """A thread that prints no error at its end if eventlet has patched `threading` after its start."""

    def _delete(self) -> None:
        with contextlib.suppress(KeyError):  # after the patch, the thread has another number
            super()._delete()  # type: ignore[misc]


class _UnpatchedThread:
    """A thread of the operating system that gevent and eventlet do not know of."""

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
