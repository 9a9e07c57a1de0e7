"""What the keeper imports late, with no fork in between: a child would wait for ever for a module half imported.

Python frees its import lock in a child, but not the lock of each single module; whoever forks while the keeper's thread
imports aiohttp gets a child that hangs at its own `import aiohttp`. So fork waits here, once in the life of a process.
"""

from __future__ import annotations

import contextlib
import os

from ipfs_log_handlers.native import RLock

__all__ = ["load", "load_for_stores"]

_importing = RLock()


def load() -> None:
    """Import what sealing needs; also what `cryptography` leaves until the first signature."""
    with _importing:
        from ipfs_log_handlers.format.checkpoint import SecretKey
        from ipfs_log_handlers.format.payload import Encoder

        SecretKey.generate(bytes(32)).sign(b"")
        Encoder(1).finish()


def load_for_stores() -> None:
    """Import what shipping needs; also the codec of host names, and what the version of this package is read with."""
    with _importing:
        import encodings.idna  # noqa: F401

        from ipfs_log_handlers.stores.kubo_rpc import _own_version

        _own_version()
        import ipfs_log_handlers.stores.kubo  # noqa: F401


def _before_fork() -> None:
    _importing.acquire()


def _after_fork_in_parent() -> None:
    with contextlib.suppress(RuntimeError):  # this module came in between the hooks before the fork and these
        _importing.release()


def _after_fork_in_child() -> None:
    global _importing  # noqa: PLW0603 - the thread that may have held it is not here
    _importing = RLock()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
