"""Fetch blocks that have left the home from the stores that confirmed them, and hash them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ipfs_log_handlers.errors import ConfigurationError, StoreError, VerificationError
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.reader.loop_thread import LoopThread
from ipfs_log_handlers.stores import MissingBlockError, Store, open_store
from ipfs_log_handlers.stores.credentials import (
    KUBO_VARIABLE,
    Credentials,
    named_by_environment,
    normalised_addresses,
)

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

__all__ = ["Fetcher"]

_IN_FLIGHT: Final = 16
"""Number of blocks that are asked for at the same time."""


class Fetcher:
    """Ask stores for blocks, one store after the other. No connection is opened before the first request.

    Its event loop runs on a thread of its own, so that a reader may be used inside the running loop of a program; that
    loop waits for the answer, as it waits for the disk.

    A home contains addresses of stores, and may come from a stranger. So only stores that the user named are asked: in
    `IPFS_LOGS_KUBO`, in `stores`, or in a handler that is open in this process. Stores whose address comes only from
    the home are asked only with `fetch`, and get no credential.

    Args:
        stores: addresses of stores that the user named.
        token: the credential for them; `None`: that of the environment.
        fetch: also ask stores whose address is only in the home's files.
        own: addresses that this process has configured, with the token of each.

    Raises:
        ConfigurationError: an address is malformed, or a token was given without an address.
    """

    def __init__(
        self,
        stores: Sequence[str] = (),
        *,
        token: str | None = None,
        fetch: bool = False,
        own: Mapping[str, str | None] | None = None,
    ) -> None:
        given = normalised_addresses(stores, "stores")
        self._credentials = Credentials.named(given, token).with_own(own or {})
        self._named = tuple(dict.fromkeys((*given, *(own or ()), *named_by_environment())))
        self._fetch = fetch
        self._stores: dict[str, Store] = {}
        self._thread = LoopThread()
        self._turns: asyncio.Semaphore | None = None
        """Limits the requests."""
        self._loop: asyncio.AbstractEventLoop | None = None
        """The loop that the stores and the turns belong to."""

    def get(self, cid: Cid, addresses: Sequence[str]) -> bytes:
        """Get a block from the first store that has it.

        Args:
            cid: the block.
            addresses: addresses of the stores that the home names for it, the most likely one first.

        Raises:
            StoreError: no store has the block, or none answers, or none was asked.
            VerificationError: a store sent other bytes.
        """
        return self._thread.run(self._get_in_turn(cid, self._asked(cid, addresses)))

    def ask(self, cid: Cid, addresses: Sequence[str]) -> Future[bytes]:
        """Begin to get a block from the first store that has it.

        Args:
            cid: the block.
            addresses: as for `get`.

        Raises:
            MissingBlockError: there is no store to ask. The future raises as `get`.
        """
        return self._thread.begin(self._get_in_turn(cid, self._asked(cid, addresses)))

    def _asked(self, cid: Cid, addresses: Sequence[str]) -> Sequence[str]:
        """Choose the stores to ask: first those that the user named.

        Raises:
            MissingBlockError: there is none.
        """
        others = [address for address in addresses if address not in self._named]
        first = [address for address in addresses if address in self._named]
        asked = list(dict.fromkeys((*first, *self._named, *(others if self._fetch else ()))))
        if asked:
            return asked
        if others:
            raise MissingBlockError(
                "the payload has left the home, and no store was asked",
                found=", ".join(others),
                hint=f"Use --fetch (fetch=True) to ask its store, or set {KUBO_VARIABLE} to a store of your own.",
            )
        raise MissingBlockError("it is not in the home, and no store is configured", found=cid.text)

    async def _get_in_turn(self, cid: Cid, addresses: Sequence[str]) -> bytes:
        """Get a block once fewer than `_IN_FLIGHT` others are on their way."""
        import asyncio

        if self._turns is None or self._loop is not asyncio.get_running_loop():
            self._loop, self._turns = asyncio.get_running_loop(), asyncio.Semaphore(_IN_FLIGHT)
            self._stores.clear()  # after a fork, their connections are those of another process
        async with self._turns:
            return await self._get_from_first(cid, addresses)

    async def _get_from_first(self, cid: Cid, addresses: Sequence[str]) -> bytes:
        """Ask one store after the other."""
        for address in addresses[:-1]:
            with suppress(StoreError, VerificationError, ConfigurationError):
                return await self._get_from(address, cid)
        return await self._get_from(addresses[-1], cid)

    async def _get_from(self, address: str, cid: Cid) -> bytes:
        block = await self._store(address).get(cid)
        cid.verify(block)
        return block

    def resolve(self, name: str) -> Cid:
        """Ask the first store that the user named where a name leads to now; the answer is not proven.

        Raises:
            StoreError: it does not say it.
            ConfigurationError: the store knows no names.
        """
        address = self._named[0]
        resolve = getattr(self._store(address), "resolve_name", None)
        if resolve is None:
            raise ConfigurationError("this store knows no names", where=address)
        cid: Cid = self._thread.run(resolve(name))
        return cid

    def _store(self, address: str) -> Store:
        if address not in self._stores:
            store = self._stores[address] = open_store(address, token=self._credentials.token(address))
            self._thread.close_at_end(store.close)
        return self._stores[address]

    def close(self) -> None:
        """Close connections."""
        self._thread.stop()
        self._stores.clear()
        self._turns = None
