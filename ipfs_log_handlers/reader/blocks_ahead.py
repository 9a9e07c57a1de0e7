"""Get blocks of a daemon or gateway, some of them before they are used, so that latency is not paid for each."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from ipfs_log_handlers.errors import StoreUnavailable
from ipfs_log_handlers.format.cid import Cid

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["BlocksAhead", "wait_for_block"]


def wait_for_block(cid: Cid, coming: Future[bytes]) -> bytes:
    """Wait for a block that was asked for.

    Raises:
        StoreUnavailable: the source was closed meanwhile; else as the source.
    """
    from concurrent.futures import CancelledError

    try:
        return coming.result()
    except CancelledError as error:
        raise StoreUnavailable("the dataset was closed while a block was read", found=cid.text) from error


class BlocksAhead:
    """The blocks of a daemon or gateway.

    Args:
        get: returns a hashed block.
        ask: begins to get a block, many at a time.
    """

    def __init__(self, get: Callable[[Cid], bytes], ask: Callable[[Cid], Future[bytes]]) -> None:
        self._get = get
        self.ask = ask
        """Begins to get a block."""
        self._ahead: dict[Cid, Future[bytes]] = {}
        self._process = os.getpid()

    def __contains__(self, cid: Cid) -> bool:
        return True

    def block(self, cid: Cid) -> bytes:
        """Return a block; if it was asked for ahead, wait for it.

        Raises:
            StoreUnavailable: the source was closed meanwhile; else as `get`.
        """
        coming = self._taken(cid)
        return self._get(cid) if coming is None else wait_for_block(cid, coming)

    def future(self, cid: Cid) -> Future[bytes]:
        """Return the future of a block; if the block was not asked for ahead, begin to get it."""
        return self._taken(cid) or self.ask(cid)

    def prefetch(self, cid: Cid) -> Future[bytes]:
        """Begin to get a block that is used later; return its future, by which it can be given up."""
        coming = self._ahead[cid] = self.future(cid)
        return coming

    def _taken(self, cid: Cid) -> Future[bytes] | None:
        """Return the future of a block that was asked for ahead, once; `None` if it was not, or was given up."""
        coming = self._here().pop(cid, None)
        return None if coming is None or coming.cancelled() else coming

    def _here(self) -> dict[Cid, Future[bytes]]:
        """Return what this process has asked for ahead: in a child, the requests of its parent never end."""
        if self._process != os.getpid():
            self._process, self._ahead = os.getpid(), {}
        return self._ahead

    def close(self) -> None:
        """Forget what was asked for ahead; the requests end with the connection."""
        self._ahead.clear()
