"""Take the lock of the `logging` module in its place in our order of locks.

dictConfig holds this lock while it makes and closes handlers, so a thread inside dictConfig may wait for our locks.
Therefore a thread that holds one of our locks must never wait for logging's lock. An import of a library may wait for
it, because nearly every library calls `logging.getLogger`. Late imports have a lock of their own (`fork.importing`),
for which no thread inside dictConfig waits.
"""

from __future__ import annotations

import logging
from typing import Any

from ipfs_log_handlers.concurrency.threads import is_owned

__all__ = ["acquire", "inside_dictconfig", "release"]


def _lock() -> Any:
    return getattr(logging, "_lock", None)


def inside_dictconfig() -> bool:
    """Return whether the calling thread holds logging's lock: it is inside dictConfig, and all logging waits for it."""
    lock = _lock()
    return lock is not None and is_owned(lock)


def acquire() -> None:
    """Take logging's lock before a fork, before our own locks; logging takes it a second time itself."""
    lock = _lock()
    if lock is not None:
        lock.acquire()


def release() -> None:
    """Release logging's lock in the parent after a fork. In a child, logging makes a new lock."""
    lock = _lock()
    if lock is not None:
        lock.release()
