"""Get blocks of a daemon or gateway, some of them before they are used, so that latency is not paid for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ipfs_log_handlers.format.cid import Cid

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["BlocksAhead"]

_IN_FLIGHT: Final = 16
"""Blocks that are asked for at the same time in threads."""


class BlocksAhead:
    """The blocks of a daemon or gateway.

    Args:
        get: returns a hashed block, in any number of threads at once.
        ask: begins to get a block, many at a time; `None`: `get` is called in threads.
    """

    def __init__(self, get: Callable[[Cid], bytes], ask: Callable[[Cid], Future[bytes]] | None) -> None:
        self._get = get
        self._ask = ask
        self._pool: ThreadPoolExecutor | None = None
        self._coming: dict[Cid, Future[bytes]] = {}

    def __contains__(self, cid: Cid) -> bool:
        return True

    def block(self, cid: Cid) -> bytes:
        """Return a block; if it was asked for ahead, wait for it."""
        coming = self._coming.pop(cid, None)
        return self._get(cid) if coming is None else coming.result()

    def ask(self, cid: Cid) -> Future[bytes]:
        """Begin to get a block."""
        if self._ask is not None:
            return self._ask(cid)
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor  # only where blocks are asked for

            self._pool = ThreadPoolExecutor(_IN_FLIGHT, thread_name_prefix="ipfs-logs-reader")
        return self._pool.submit(self._get, cid)

    def prefetch(self, cid: Cid) -> None:
        """Begin to get a block that `block` will return later."""
        if cid not in self._coming:
            self._coming[cid] = self.ask(cid)

    def close(self) -> None:
        """Give up what was asked for ahead."""
        self._coming.clear()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pool = None
