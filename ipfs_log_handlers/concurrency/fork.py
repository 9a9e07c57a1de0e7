"""Run the steps of a fork in a fixed order: before it, and after it in the parent and in the child.

A module that must act at a fork registers a step under its place in `ORDER`; no other module calls
`os.register_at_fork`. Before a fork the steps run in this order, afterwards in the parent and in the child in the
reverse order.

The order is also the order of our locks: a thread that holds one of them may wait only for locks that come after it.

Some programs fork without Python's hooks: uWSGI by default, and C libraries. Such a child notices the fork by itself:
`FORK_HANDLED[0]` is false in a child until it has run its steps, and `notice()` runs them. Every function that a
program calls checks this before it takes a lock, because another thread may have held that lock at the fork.
"""

from __future__ import annotations

import _imp
import contextlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

from ipfs_log_handlers.concurrency import logging_lock
from ipfs_log_handlers.concurrency.threads import RLock

__all__ = ["FORK_HANDLED", "ORDER", "Step", "importing", "may_import", "notice", "register"]

ORDER: Final = (
    "imports",  # no thread imports: a child would wait for ever for a module that is half imported
    "logging",  # logging's lock: dictConfig holds it, and waits for the locks below it
    "homes",  # runtime: the open handlers, writers and archivers of this process
    "files",  # home.locked_files: no descriptor is between being opened and being known as locked
    "keeper",  # keeper.thread: the child has no keeper's thread, and touches none of its descriptors
    "manager",  # the lock of the shared datasets manager
)
"""The places of a step, in the order before a fork."""


_MADV_WIPEONFORK: Final = 18
"""Linux 4.14 and later: a page of memory is full of zeros in the child of any fork. `mmap` has no name for it."""


class _PidMark:
    """Compare process numbers, on a system that cannot clear memory at a fork. This is slower, but equally safe."""

    __slots__ = ("_pid",)

    def __init__(self) -> None:
        self._pid = 0

    def __getitem__(self, index: int) -> bool:
        return os.getpid() == self._pid

    def __setitem__(self, index: int, value: int) -> None:
        self._pid = os.getpid()


def _new_mark() -> Any:
    try:
        import mmap

        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        page.madvise(_MADV_WIPEONFORK)
    except (ImportError, AttributeError, OSError, ValueError):
        return _PidMark()
    return page


FORK_HANDLED: Final[Any] = _new_mark()
"""`FORK_HANDLED[0]` is false in the child of a fork until the steps of a child have run. Reading it takes 12 ns."""


def _nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The step of one module at a fork. If a step raises an exception, the other steps still run."""

    before: Callable[[], object] = _nothing
    """Called in the process that will fork, before the fork."""
    in_parent: Callable[[], object] = _nothing
    """Called in the same process after the fork, if `before` was called."""
    in_child: Callable[[], object] = _nothing
    """Called in the child. It must wait for no lock, because the thread that holds the lock may not exist there."""


_steps: dict[str, Step] = {}
_prepared: list[str] = []
"""Places whose `before` has run in the current fork: a module may be imported between the hooks of one fork."""
_imports = RLock()
_imports_locked = False
"""Whether an import in this process would never return; see `importing`."""
_noticing: dict[int, RLock] = {}
"""The lock on which the threads of a process wait while one of them runs the steps of a child, by process."""


def register(place: str, step: Step) -> None:
    """Register the step that a module runs at each fork from now on.

    Args:
        place: one of `ORDER`; each place has one module.
        step: the step.
    """
    if place not in ORDER or place in _steps:
        raise AssertionError(f"no free place at a fork: {place!r}")
    _steps[place] = step


def may_import() -> bool:
    """Return whether this process can import modules; see `importing`."""
    return not _imports_locked


def importing() -> AbstractContextManager[object]:
    """Import modules inside this context when they are imported late: no fork happens in between.

    Inside dictConfig this context does nothing. There, a fork waits for logging's lock anyway. A thread that imports
    may wait for logging's lock, so the thread inside dictConfig must not wait for the thread that imports.

    Raises:
        ImportError: another thread was importing when this process was forked without Python's hooks. An import would
            wait for ever for a lock of that thread, which does not exist in this process.
    """
    if not may_import():
        raise ImportError("nothing can be imported: this process was forked while another thread imported a module")
    return contextlib.nullcontext() if logging_lock.inside_dictconfig() else _imports


def notice() -> None:
    """Run the steps of a child, once, in the child of a fork without Python's hooks; in other processes do nothing.

    In a child of `os.fork` it does the same if the hook of another library logs before our own hook has run.
    """
    if not FORK_HANDLED[0]:
        with _noticing.setdefault(os.getpid(), RLock()):  # an inherited lock might be held for ever
            _after_fork_in_child()


def _before_fork() -> None:
    notice()
    _prepared.clear()

    def prepare(place: str) -> None:
        _steps[place].before()
        _prepared.append(place)

    _at_each([place for place in ORDER if place in _steps], prepare)


def _after_fork_in_parent() -> None:
    places = _prepared[::-1]
    _prepared.clear()
    _at_each(places, lambda place: _steps[place].in_parent())


def _after_fork_in_child() -> None:
    if FORK_HANDLED[0]:
        return
    _prepared.clear()
    try:
        _at_each([place for place in reversed(ORDER) if place in _steps], lambda place: _steps[place].in_child())
    finally:
        FORK_HANDLED[0] = 1


def _at_each(places: list[str], run: Callable[[str], object]) -> None:
    """Run a function for each place, and raise the last exception afterwards."""
    raised: BaseException | None = None
    for place in places:
        try:
            run(place)
        except BaseException as error:  # noqa: BLE001 - also Ctrl-C: without its step, a lock stays held for ever
            raised = error
    if raised is not None:
        raise raised


def _take_import_lock() -> None:
    _imports.acquire()


def _free_import_lock() -> None:
    _imports.release()


def _renew_import_lock() -> None:
    """Make a new lock; the thread that may hold the old one does not exist in the child.

    `os.fork` takes Python's own import lock before the fork and releases it in the child. After another fork this lock
    may stay held for ever in the child.
    """
    global _imports, _imports_locked  # noqa: PLW0603 - one lock for the process
    _imports_locked = _imports_locked or _imp.lock_held() or not _imports.acquire(blocking=False)
    _imports = RLock()


register("imports", Step(before=_take_import_lock, in_parent=_free_import_lock, in_child=_renew_import_lock))
register("logging", Step(before=logging_lock.acquire, in_parent=logging_lock.release))
FORK_HANDLED[0] = 1
os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
