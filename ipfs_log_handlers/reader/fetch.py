"""Fetch blocks that have left the home from the stores that confirmed them, and hash them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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

__all__ = ["Fetcher"]


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

    def get(self, cid: Cid, addresses: Sequence[str]) -> bytes:
        """Get a block from the first store that has it.

        Args:
            cid: the block.
            addresses: addresses of the stores that the home names for it, the most likely one first.

        Raises:
            StoreError: no store has the block, or none answers, or none was asked.
            VerificationError: a store sent other bytes.
        """
        others = [address for address in addresses if address not in self._named]
        first = [address for address in addresses if address in self._named]
        asked = list(dict.fromkeys((*first, *self._named, *(others if self._fetch else ()))))
        failure: Exception = MissingBlockError("it is not in the home, and no store is configured", found=cid.text)
        if others and not asked:
            failure = MissingBlockError(
                "the payload has left the home, and no store was asked",
                found=", ".join(others),
                hint=f"Use --fetch (fetch=True) to ask its store, or set {KUBO_VARIABLE} to a store of your own.",
            )
        for address in asked:
            try:
                block = self._thread.run(self._store(address).get(cid))
                cid.verify(block)
                return block
            except (StoreError, VerificationError, ConfigurationError) as error:
                failure = error
        raise failure

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
