"""Blocks that have left the home, fetched back from the stores that confirmed them, and rehashed."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence

from ipfs_log_handlers.errors import ConfigurationError, StoreError, StoreUnavailable, VerificationError
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.stores import Store, open_store

__all__ = ["Fetcher"]


class Fetcher:
    """Asks stores for blocks, one after the other. Nothing is opened before the first question.

    Args:
        token: the stores' credential; `None`: that of the environment.
    """

    def __init__(self, token: str | None = None) -> None:
        self._token = token or os.environ.get("IPFS_LOGS_TOKEN")
        self._stores: dict[str, Store] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def get(self, cid: Cid, addresses: Sequence[str]) -> bytes:
        """A block from the first store that has it.

        Raises:
            StoreError: none has it, or none answers.
            VerificationError: what came is not the block.
        """
        failure: Exception = StoreUnavailable("no store is configured that could have the block", found=cid.text)
        for address in addresses:
            try:
                block = self._run(self._store(address), cid)
                cid.verify(block)
                return block
            except (StoreError, VerificationError, ConfigurationError) as error:
                failure = error
        raise failure

    def _store(self, address: str) -> Store:
        if address not in self._stores:
            self._stores[address] = open_store(address, token=self._token)
        return self._stores[address]

    def _run(self, store: Store, cid: Cid) -> bytes:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return self._loop.run_until_complete(store.get(cid))

    def close(self) -> None:
        """Let connections go."""
        if self._loop is None:
            return
        for store in self._stores.values():
            with contextlib.suppress(Exception):
                self._loop.run_until_complete(store.close())
        self._loop.close()
        self._loop = None
