"""Blocks that have left the home, fetched back from the stores that confirmed them, and rehashed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from ipfs_log_handlers.errors import ConfigurationError, StoreError, StoreUnavailable, VerificationError
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.stores import Store, open_store

__all__ = ["Fetcher"]

_T = TypeVar("_T")


class Fetcher:
    """Asks stores for blocks, one after the other. Nothing is opened before the first question.

    Its event loop runs on a thread of its own, so that a reader may stand inside the running loop of a program; that
    loop waits meanwhile, as it does for the disk.

    Args:
        token: the stores' credential; `None`: that of the environment.
    """

    def __init__(self, token: str | None = None) -> None:
        self._token = token or os.environ.get("IPFS_LOGS_TOKEN")
        self._stores: dict[str, Store] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def get(self, cid: Cid, addresses: Sequence[str]) -> bytes:
        """A block from the first store that has it.

        Raises:
            StoreError: none has it, or none answers.
            VerificationError: what came is not the block.
        """
        failure: Exception = StoreUnavailable("no store is configured that could have the block", found=cid.text)
        for address in addresses:
            try:
                block = self._run(self._store(address).get(cid))
                cid.verify(block)
                return block
            except (StoreError, VerificationError, ConfigurationError) as error:
                failure = error
        raise failure

    def _store(self, address: str) -> Store:
        if address not in self._stores:
            self._stores[address] = open_store(address, token=self._token)
        return self._stores[address]

    def _run(self, question: Coroutine[Any, Any, _T]) -> _T:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="ipfs-logs-fetcher", daemon=True)
            self._thread.start()
        asked = asyncio.run_coroutine_threadsafe(question, self._loop)
        try:
            return asked.result()
        except BaseException:
            asked.cancel()
            raise

    def close(self) -> None:
        """Let connections go."""
        if self._loop is None or self._thread is None:
            return
        for store in self._stores.values():
            with contextlib.suppress(Exception):
                self._run(store.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None
