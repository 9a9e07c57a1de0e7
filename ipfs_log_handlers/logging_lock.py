"""logging's own lock, which dictConfig holds while it makes and closes handlers, and its place in our order of locks.

A thread inside dictConfig may wait for our locks; so nobody who holds one of ours may wait for logging's. Importing a
library does: nearly each calls `logging.getLogger`. Hence what is imported late has a lock of its own
(`HomeProcess.importing`), for which nobody inside dictConfig waits.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any

__all__ = ["acquire", "inside_dictconfig", "release"]


def _lock() -> Any:
    return getattr(logging, "_lock", None)


def inside_dictconfig() -> bool:
    """Whether this thread holds it: it is inside dictConfig, and all of logging waits for it."""
    is_owned = getattr(_lock(), "_is_owned", None)
    return bool(is_owned is not None and is_owned())


def acquire() -> None:
    """Take it, before a fork, ahead of ours; logging itself takes it once more behind us."""
    lock = _lock()
    if lock is not None:
        lock.acquire()


def release() -> None:
    """Give it back, in the parent; in a child logging makes it anew."""
    lock = _lock()
    if lock is not None:
        with contextlib.suppress(RuntimeError):  # this module came in between the hooks before the fork and these
            lock.release()
